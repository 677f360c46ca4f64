"""Selection of parts, compared with librosa's silence detection and with worked examples."""

import io
import itertools

import librosa
import numpy as np
import pytest
import soundfile as sf

from preprocess import Enhancement, RecordingError, Selection, prepare
from preprocess.selection import sounding, sounding_slices
from sounds import sound

SR = 22050


def parts(
    seconds: float, selection: Selection, wanted: float | None = None, most: int = 32
) -> list[tuple[float, float]]:
    """Return the selected parts of a tone in seconds; the rate is 1000 Hz so that seconds are exact."""
    y = np.ones(round(seconds * 1000), np.float32)
    found = selection.parts(y, 1000, wanted, 0.5, most)
    return [(part.start / 1000, part.stop / 1000) for part in found]


@pytest.mark.parametrize(
    ("selection", "wanted", "expected"),
    [
        (Selection(crop="first"), None, [(0, 30)]),
        (Selection(crop="middle"), None, [(30, 60)]),
        (Selection(crop="middle", crop_seconds=7.5), 30, [(41.25, 48.75)]),
        (Selection(crop="whole"), 30, [(0, 90)]),
        (Selection(crop="first", crop_seconds=600), None, [(0, 90)]),
        (Selection(skip_silence=True), 30, [(0, 30)]),
        (Selection(segments=1, segment_seconds=10), 30, [(40, 50)]),
        (Selection(segments=3, segment_seconds=15), 30, [(7.5, 22.5), (37.5, 52.5), (67.5, 82.5)]),
        (Selection(segments=2, segment_seconds=10, crop="first"), None, [(2.5, 12.5), (17.5, 27.5)]),
        (Selection(segments=9, segment_seconds=30), None, [(0, 30), (30, 60), (60, 90)]),
        (Selection(segments=3, segment_seconds=120), None, [(0, 90)]),
    ],
)
def test_parts(selection, wanted, expected):
    assert parts(90.0, selection, wanted) == expected


def test_no_more_segments_than_rows():
    assert len(parts(600.0, Selection(segments=32, segment_seconds=10), most=5)) == 5


def test_segments_never_overlap():
    for n in range(1, 33):
        found = parts(97.3, Selection(segments=n, segment_seconds=4.7))
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(found))
        assert len(found) == min(n, 20)


def pauses(seed: int = 0) -> np.ndarray:
    """2 s of silence, 3 s of sound, 4 s of silence, 3 s of sound, 2.5 s of silence."""
    y = sound(2, seed, seconds=6)
    gap = [np.zeros(round(s * SR), np.float32) for s in (2, 4, 2.5)]
    return np.concatenate([gap[0], y[: 3 * SR], gap[1], y[3 * SR :], gap[2]])


def test_sounding_frames_are_librosas():
    y = pauses()
    rms = librosa.feature.rms(y=y, frame_length=2048, hop_length=512, pad_mode="constant")[0]
    np.testing.assert_array_equal(sounding(y), librosa.amplitude_to_db(rms, ref=np.max, top_db=None) > -60)


def test_silence_at_both_ends_is_trimmed():
    y = pauses()
    (part,) = Selection(skip_silence=True).parts(y, SR, None, 0.5, 32)
    _, (start, end) = librosa.effects.trim(y, top_db=60)
    assert (part.start, part.stop) == (start, end)
    assert part.start / SR == pytest.approx(2, abs=0.06) and part.stop / SR == pytest.approx(12, abs=0.06)


def test_a_click_in_silence_keeps_enough_for_the_profile():
    y = np.zeros(10 * SR, np.float32)
    for place in (0, 5 * SR, len(y) - 1):
        y[:], y[place] = 0, 1
        (part,) = Selection(skip_silence=True).parts(y, SR, None, 0.5, 32)
        assert part.start <= place < part.stop and part.stop - part.start >= 0.5 * SR
    assert Selection(skip_silence=True).parts(np.zeros_like(y), SR, None, 0.5, 32) == [slice(0, len(y))]


def test_silent_slices_are_told():
    slices = [(0.0, 2.0), (1.0, 3.0), (2.0, 5.0), (5.5, 8.5), (9.0, 12.0), (12.5, 14.5)]
    assert sounding_slices(pauses(), SR, slices) == [1, 2, 4]
    assert sounding_slices(pauses(), SR, [(0.0, 1.9), (5.2, 8.9), (5.2, 9.1)]) == [2]


def test_segments_are_prepared_as_recordings_of_their_own():
    y = np.concatenate([sound(family, 1, seconds=20) for family in (2, 9, 13)])
    selection = Selection(segments=3)
    prepared = prepare((y, SR), selection=selection)
    expected = [prepare((y[part], SR)).rows for part in selection.parts(y, SR, None, 0.5, 32)]
    np.testing.assert_array_equal(prepared.rows, np.concatenate(expected))
    assert [round(start, 1) for start, _ in prepared.excerpts] == [4.3, 24.3, 44.3]
    assert [s[0] for s in prepared.slices] == pytest.approx([start for start, _ in prepared.excerpts], abs=0.05)
    assert prepared.duration == pytest.approx(60) and prepared.slices_total == 3


def test_a_crop_equals_the_cropped_file():
    y = np.concatenate([sound(family, 1, seconds=20) for family in (2, 9, 13)])
    for crop, part in (("first", slice(0, 30 * SR)), ("middle", slice(15 * SR, 45 * SR)), ("whole", slice(None))):
        for profile in ("ccmusic", "article-b"):
            found = prepare((y, SR), profile, spectrum="mel", selection=Selection(crop=crop))
            whole = profile == "article-b" and crop == "whole"  # which uses no more than 30 s of a file
            expected = prepare(
                (y[part], SR), profile, spectrum="mel", selection=Selection(crop="whole") if whole else None
            )
            np.testing.assert_array_equal(found.rows, expected.rows)


def test_only_the_beginning_is_decoded_where_only_that_is_selected():
    assert Selection(crop="first", crop_seconds=12).decoded_seconds(None) == 12
    assert Selection(crop="first", skip_silence=True).decoded_seconds(30) is None
    assert Selection(segments=3).decoded_seconds(30) is None
    assert Selection().decoded_seconds(30) == 30


def test_silence_is_skipped_and_said():
    y = np.concatenate([sound(2, 1, seconds=12), np.zeros(24 * SR, np.float32), sound(2, 2, seconds=12)])
    all_of_it = prepare((y, SR))
    skipped = prepare((y, SR), selection=Selection(skip_silence=True))
    assert len(all_of_it.rows) == 4 and len(skipped.rows) == 2
    np.testing.assert_array_equal(skipped.rows, all_of_it.rows[[0, 3]])
    assert "2 of 4 slices are silent and were skipped." in skipped.notes
    silent = prepare((y, SR), selection=Selection(segments=4, segment_seconds=8))
    assert len(silent.rows) == 2 and "2 of 4 segments are silent and were skipped." in silent.notes
    assert [round(start) for start, _ in silent.excerpts] == [2, 38]
    y = np.concatenate([sound(2, 1, seconds=12), np.zeros(11 * SR, np.float32), y[: SR // 2], y[: 24 * SR]])
    found = prepare((y, SR), selection=Selection(segments=2, skip_silence=True))  # the first has a click in it
    assert len(found.excerpts) == len(found.rows)
    with pytest.raises(RecordingError, match="is silent"):
        prepare((np.zeros(40 * SR, np.float32), SR), selection=Selection(segments=2))


def test_what_fits_is_told():
    notes = prepare((sound(3, 0, seconds=25), SR), selection=Selection(segments=5)).notes
    assert any(note.startswith("2 of 5 segments were analysed: the recording, or a batch") for note in notes)
    notes = prepare((sound(3, 0, seconds=25), SR), selection=Selection(segments=2, segment_seconds=5)).notes
    assert notes == ("A selected part lasts 5 s and was repeated to fill 11.4 s.",)


def test_enhancement_comes_before_selection():
    """The first second of the recording is the noise, not that of the selected part."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.zeros(SR, np.float32), sound(2, 1, seconds=29)])
    y += 0.05 * rng.standard_normal(len(y), dtype=np.float32)
    file = io.BytesIO()
    sf.write(file, y, SR, "FLOAT", format="WAV")
    enhancement = Enhancement(denoise="first")
    prepared = prepare(
        file.getvalue(), enhancement=enhancement, selection=Selection(crop="middle", crop_seconds=12)
    )
    from preprocess.enhance import enhance

    expected = prepare((enhance(y, SR, enhancement)[0][9 * SR : 21 * SR], SR))
    np.testing.assert_array_equal(prepared.rows, expected.rows)
    assert prepared.enhanced["denoise"]["from"] == "first"
