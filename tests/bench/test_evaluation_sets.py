"""The generated evaluation sets are what their names say."""

import csv
import io
import sys

import numpy as np
import pytest
import soundfile as sf
from scipy import signal

from bench import evaluation_sets
from bench.evaluation_sets import FIRST_SEED, GROUPS, SR, main, recording, write
from export import demo, fp16, int8
from sounds import FAMILIES, sound
from systems.label_set import label_set

BELLS = list(FAMILIES).index("bells")
KICK = list(FAMILIES).index("kick and hat")


def samples(group: str, family: int = 0, seed: int = FIRST_SEED) -> np.ndarray:
    """What a recording holds before it is encoded."""
    return GROUPS[group](family, seed, np.random.default_rng([family, seed]))[0]


def db(power: float) -> float:
    return 10 * np.log10(power)


def test_files_and_table(tmp_path):
    table = write(tmp_path, seeds=2, groups=["short"])
    rows = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
    assert len(rows) == len({row["file"] for row in rows}) == 2 * len(FAMILIES)
    assert {row["group"] for row in rows} == {"short"}
    for row, name, label in zip(rows, FAMILIES, label_set("ccmusic").labels, strict=False):
        assert (row["file"], row["label"]) == (f"short/{name.replace(' ', '-')}-6000.wav", label.en)
    for row in rows:
        assert 1 <= sf.info(tmp_path / row["file"]).duration <= 3


def test_other_labels(tmp_path):
    table = write(tmp_path, seeds=1, labels="acousticsense", groups=["short"])
    labels = [row["label"] for row in csv.DictReader(table.open(encoding="utf-8"))]
    assert labels == [label.en for label in label_set("acousticsense").labels]


@pytest.mark.parametrize("group", [name for name in GROUPS if name[:6] != "noise-" or name == "noise-0"])
def test_a_recording_can_be_played_and_is_the_same_each_time(group):
    family = BELLS
    y, form = GROUPS[group](family, FIRST_SEED, np.random.default_rng([family, FIRST_SEED]))
    np.testing.assert_array_equal(y, samples(group, family))
    data, suffix = recording(group, family, FIRST_SEED)
    played, sr = sf.read(io.BytesIO(data))
    assert (sf.info(io.BytesIO(data)).format, sr) == (suffix[1:].upper(), form.sr)
    assert np.isfinite(played).all() and 0.2 < np.abs(played).max() < 1.05
    assert len(played) == pytest.approx(len(y), abs=0.06 * sr)  # MP3 comes in blocks


def test_seeds_differ_and_bytes_do_not():
    one, again, other = (recording("short", BELLS, seed)[0] for seed in (FIRST_SEED, FIRST_SEED, FIRST_SEED + 1))
    assert one == again != other


def test_no_network_has_met_these_seeds():
    used = [*demo.TRAINING_SEEDS, *demo.HELD_OUT_SEEDS, *int8.CALIBRATION_SEEDS]
    # Held-out sounds are counted up from their seed, one row each, of which there are 1000 at most.
    assert max(*used, int8.HELD_OUT_SEED + 999, fp16.HELD_OUT_SEED + 999) < FIRST_SEED


@pytest.mark.parametrize("snr", [30, 20, 10, 5, 0])
@pytest.mark.parametrize("family", [0, 1, 2])  # white, pink and fan noise
def test_noise_is_as_strong_as_named_and_alone_at_first(family, snr):
    y = samples(f"noise-{snr}", family).astype(np.float64)
    lead_in, rest = y[: int(1.49 * SR)], y[int(2 * SR) : int(8.5 * SR)]
    noise = np.mean(lead_in**2)
    sound_alone = np.mean(rest**2) - noise
    assert db(sound_alone / noise) == pytest.approx(snr, abs=1.5)  # the noise of 1.5 s, one part of the sound


def test_noise_pauses_and_kinds():
    kinds = {}
    for family in range(3):
        lead_ins = [samples(f"noise-{snr}", family)[: int(1.49 * SR)] for snr in (20, 0)]
        assert np.corrcoef(lead_ins)[0, 1] > 0.999999  # all grades have the same noise
        freqs, power = signal.welch(lead_ins[0], SR, nperseg=4096)
        kinds[family] = [power[(freqs > low) & (freqs < 2 * low)].mean() for low in (100, 1000, 2000)]
    levels = {tuple(np.round([db(a / k[0]) for a in k[1:]])) for k in kinds.values()}
    white, pink, fan = sorted(levels, reverse=True)
    assert white == pytest.approx((0, -1), abs=2)
    assert pink == pytest.approx((-10, -13), abs=2)  # 3 dB per octave
    assert fan[1] < -25
    y = samples("noise-30", 0)
    quiet = signal.convolve(y**2, np.full(SR // 10, 10 / SR), "valid") < np.mean(y**2) / 100
    starts = np.flatnonzero(np.diff(quiet.astype(int)) == 1) / SR
    assert quiet[0] and len(starts) == 2 and 9 <= starts[0] < 11.1 and 19 <= starts[1] < 21.1


def test_clipping_is_graded():
    for family, gain in {0: 6, 1: 12, 2: 20}.items():
        y, original = samples("clipping", family), sound(family, FIRST_SEED)
        limit = np.abs(original).max() / 10 ** (gain / 20)
        clipped = np.abs(original) >= limit
        assert clipped.mean() > 0.01
        np.testing.assert_allclose(np.abs(y[clipped]), 0.9, rtol=1e-5)
        np.testing.assert_allclose(y[~clipped], original[~clipped] * 0.9 / limit, rtol=1e-4, atol=1e-6)


def test_low_bitrate_is_graded():
    rates, srs = [], []
    for family in range(3):
        data, _ = recording("low-bitrate", family, FIRST_SEED)
        info = sf.info(io.BytesIO(data))
        rates.append(8 * len(data) / info.duration / 1000)
        srs.append(info.samplerate)
    assert rates == pytest.approx([32, 16, 64], rel=0.02)
    assert srs == [22050, 16000, 8000]
    kick, sr = sf.read(io.BytesIO(recording("low-bitrate", KICK, FIRST_SEED)[0]))
    assert sr == 8000
    freqs, power = signal.welch(kick, sr, nperseg=2048)
    assert power[freqs < 150].sum() < 0.2 * power.sum()  # nearly all of it before


def test_mixture_has_another_family_so_far_below():
    for family, below in {6: 3, 7: 6, 8: 10}.items():
        y, own = samples("mixture", family).astype(np.float64), sound(family, FIRST_SEED).astype(np.float64)
        other = y - np.dot(y, own) / np.dot(own, own) * own
        assert db(np.sum((y - other) ** 2) / np.sum(other**2)) == pytest.approx(below, abs=0.5)


def test_medley_is_mostly_its_family_but_does_not_begin_with_it(monkeypatch):
    def tone(family, seed, *, seconds, sr):
        return np.sin(2 * np.pi * 200 * (family + 1) * np.arange(round(seconds * sr)) / sr).astype(np.float32)

    monkeypatch.setattr(evaluation_sets, "sound", tone)
    for family in range(0, 16, 3):
        freqs, times, power = signal.spectrogram(samples("medley", family), SR, nperseg=4410, noverlap=0)
        heard = np.round(freqs[power.argmax(axis=0)] / 200).astype(int) - 1
        assert 79 < times[-1] < 91
        assert 0.49 < np.mean(heard == family) < 0.66
        introduction = heard[times < 26.8]
        assert len(set(introduction)) == 1 and introduction[0] != family
        changes = heard[np.flatnonzero(np.diff(heard, prepend=-1))]
        assert len(changes) == 6 and list(changes[1::2]) == [family] * 3 and len(set(changes)) == 4


def test_silence_before_between_and_after():
    for family, floor in {0: 0.0, 1: 10 ** (-90 / 20)}.items():
        y = samples("silence", family)
        assert np.sqrt(np.mean(y[: 12 * SR] ** 2)) == pytest.approx(floor, rel=0.02)
        sounding = signal.convolve(np.abs(y), np.full(SR // 2, 2 / SR), "same") > 1e-3
        lengths = np.diff(np.flatnonzero(np.diff(sounding.astype(int), prepend=-1, append=-1))) / SR
        assert len(lengths) == 5  # silence, sound, silence, sound, silence
        assert 11 < lengths[0] < 20.5 and 16 < lengths[1] + lengths[3] < 22
        assert all(5 < pause < 9.5 for pause in lengths[2::2])


def test_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluation_sets", str(tmp_path / "new"), "--seeds=1", "--groups", "short"])
    assert main() == 0
    assert capsys.readouterr().out == f"16 recordings; their labels are in {tmp_path / 'new' / 'labels.csv'}\n"
    monkeypatch.setattr(sys, "argv", ["evaluation_sets", str(tmp_path), "--seeds=0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--seeds must be at least 1, not 0" in capsys.readouterr().err
