"""The named ways from a recording to the network's input, and the one entry point `prepare`.

| profile     | seconds          | spectrogram            | picture                                     |
|-------------|------------------|------------------------|---------------------------------------------|
| `ccmusic`   | whole file in    | cqt 84/512 or          | magma 496x369, JPEG, 224x224, [-1, 1];      |
|             | 11.4 s slices    | mel 128/2048/512, dB   | what the released genre weights expect      |
| `article-a` | first 30         | cqt 84/512, dB         | grey x3, whole range squashed to 224x224,   |
|             |                  | or mel 128/2048/512    | [0, 1], low frequencies at the top          |
| `article-b` | first 30         | mel 40/1024/256, dB    | grey x3, centre 224 frames (2.6 s), bands   |
|             |                  | or cqt 84/256          | stretched to 224 rows, [0, 1]               |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from preprocess.audio import Waveform, load
from preprocess.clean import Cleaning, clean
from preprocess.errors import RecordingError
from preprocess.features import features
from preprocess.hearing import Hearing, sounding_slices
from preprocess.limits import Limits
from preprocess.render import SIZE, grey_picture, magma_picture, resize_bilinear
from preprocess.spectrum import NUMPY, SR, Transform, amplitude_to_db, power_to_db

Array = npt.NDArray[np.float32]
Spectrum = Literal["cqt", "mel"]

MIN_SECONDS = 0.5  # the lowest CQT filter (C1, Q = 17.3) is 0.53 s long: less is no music to any profile
SLICE_SECONDS = 11.4
ARTICLE_SECONDS = 30.0
DEFAULT_MAX_ROWS = 32


@dataclass(frozen=True)
class Prepared:
    """The network's input and what the answer needs to explain itself.

    Attributes
    ----------
    rows : float32 [n, 3, 224, 224]
    slices : (start, end) of each row in seconds of the recording
    slices_total : slices that the recording has; more than rows where their number is bounded
    duration : seconds of the recording
    profile, spectrum : how it was prepared
    notes : sentences about anything a reader of the answer should know
    seconds : what each stage took: decode, downmix, resample, clean, features, spectrogram, picture
    heard : (start, end) in seconds of the parts that options chose and that sound; None: the profile chose
    cleaned : what cleaning did, by step; empty where it was not asked for
    features : what rules look at (preprocess.features), empty where it was not asked for
    """

    rows: Array
    slices: tuple[tuple[float, float], ...]
    slices_total: int
    duration: float
    profile: str
    spectrum: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    heard: tuple[tuple[float, float], ...] | None = None
    cleaned: dict[str, dict] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)

    @property
    def seconds_used(self) -> float:
        """Seconds of the recording that reached the network."""
        return sum(end - start for start, end in self.slices)


def prepare(
    recording: bytes | tuple[npt.NDArray, int],
    profile: str = "ccmusic",
    *,
    spectrum: str = "cqt",
    max_rows: int = DEFAULT_MAX_ROWS,
    jpeg: bool = True,
    limits: Limits | None = None,
    transform: Transform = NUMPY,
    cleaning: Cleaning | None = None,
    hearing: Hearing | None = None,
    with_features: bool = False,
) -> Prepared:
    """Turn a recording into rows of the network's input.

    Parameters
    ----------
    recording : an encoded file, or (samples float [n] or [n, channels], rate in Hz)
    profile : "ccmusic", "article-a" or "article-b"
    spectrum : "cqt" or "mel"
    max_rows : most rows; slices beyond it are left out evenly over the recording
    jpeg : `ccmusic` only: the JPEG round trip of the training pictures
    limits : what is accepted (None: the defaults)
    transform : what computes the spectrum
    cleaning : what is done to the sound before anything is chosen of it (None: nothing); to its beginning alone
        where no more is heard, and decoded
    hearing : which parts of the recording the profile gets, each as a recording of its own (None: its own choice)
    with_features : whether the features of what is heard are wanted

    Raises
    ------
    RecordingError
        unknown profile or spectrum, or a recording that is not audio, too short, silent or beyond a limit
    """
    if profile not in PROFILES:
        raise RecordingError(f"profile {profile!r} is unknown; choose one of {', '.join(PROFILES)}.")
    if spectrum not in ("cqt", "mel"):
        raise RecordingError(f"spectrum {spectrum!r} is unknown; choose cqt or mel.")
    if max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, not {max_rows}")
    hearing = hearing or Hearing()
    wanted = None if profile == "ccmusic" else ARTICLE_SECONDS
    wave = load(recording, sr=SR, seconds=hearing.decoded_seconds(wanted), limits=limits)
    if len(wave.samples) < MIN_SECONDS * SR:
        raise RecordingError(
            f"The recording lasts {len(wave.samples) / SR:.3f} s; at least {MIN_SECONDS} s are needed."
        )
    cleaned = {}
    if cleaning and cleaning.on:
        samples, cleaned, notes = clean(wave.samples, SR, cleaning)
        wave = replace(wave, samples=samples, notes=wave.notes + notes)
        wave.watch.lap("clean")
    parts = (
        hearing.parts(wave.samples, SR, wanted, MIN_SECONDS, max_rows)
        if hearing.on
        else [slice(0, len(wave.samples))]
    )
    found = {}
    if with_features:
        found = features(np.concatenate([wave.samples[part] for part in parts]))
        wave.watch.lap("features")

    def make(wave: Waveform, most: int) -> Prepared:
        return PROFILES[profile](wave, spectrum, most, jpeg, transform)

    prepared = _by_parts(wave, parts, max_rows, hearing, make) if hearing.on else make(wave, max_rows)
    return replace(prepared, cleaned=cleaned, features=found)


def _by_parts(
    wave: Waveform, parts: list[slice], max_rows: int, hearing: Hearing, make: Callable[[Waveform, int], Prepared]
) -> Prepared:
    """Prepare each part by itself, and join them; a silent one is left out unless all are."""
    notes = dict.fromkeys(wave.notes)
    if hearing.segments and len(parts) < hearing.segments:
        notes[
            f"{len(parts)} of {hearing.segments} segments were heard: the recording, or a batch of the network,"
            f" holds no more of {hearing.segment_seconds:g} s."
        ] = None
    prepared, heard, silence = [], [], None
    for part in parts:
        try:
            one = make(replace(wave, samples=wave.samples[part], notes=()), max_rows // len(parts) or 1)
        except RecordingError as error:
            silence = error
            continue
        shift = part.start / SR
        prepared.append(replace(one, slices=tuple((start + shift, end + shift) for start, end in one.slices)))
        heard.append((shift, part.stop / SR))
        notes |= dict.fromkeys(
            note.replace("The recording lasts", "A part that was heard lasts") for note in one.notes
        )
    if not prepared:
        raise silence
    if len(prepared) < len(parts):
        notes[f"{len(parts) - len(prepared)} of {len(parts)} segments are silent and were left out."] = None
    rows = np.concatenate([one.rows for one in prepared])
    slices = [times for one in prepared for times in one.slices]
    if hearing.skip_silence:
        kept = sounding_slices(wave.samples, SR, slices)
        if len(kept) < len(slices):
            notes[f"{len(slices) - len(kept)} of {len(slices)} slices are silent and were left out."] = None
            rows, slices = rows[kept], [slices[i] for i in kept]
            heard = [(begin, end) for begin, end in heard if any(begin <= start < end for start, _ in slices)]
    return replace(
        prepared[0],
        rows=rows,
        slices=tuple(slices),
        slices_total=sum(one.slices_total for one in prepared),
        notes=tuple(notes),
        heard=tuple(heard),
    )


def _ccmusic(wave: Waveform, spectrum: Spectrum, max_rows: int, jpeg: bool, transform: Transform) -> Prepared:
    """Official pipeline of ccmusic-database/music_genre: dB relative to the file's peak, 11.4 s slices.

    A recording shorter than a slice, which the official one cannot use, is repeated to fill one.
    """
    y, notes = wave.samples, wave.notes
    seconds = len(y) / SR
    if seconds < SLICE_SECONDS:
        y = np.tile(y, int(np.ceil(SLICE_SECONDS / seconds)))[: int(np.ceil(SLICE_SECONDS * SR))]
        notes += (f"The recording lasts {seconds:.4g} s and was repeated to fill {SLICE_SECONDS} s.",)
    if spectrum == "cqt":
        amplitude = transform.cqt(y)
        db = amplitude_to_db(amplitude, ref=float(amplitude.max()))
    else:
        power = transform.mel(y)
        db = power_to_db(power, ref=float(power.max()))
    _refuse_silence(db)
    wave.watch.lap("spectrogram")

    frames = db.shape[1]
    step = int(SLICE_SECONDS * frames / (len(y) / SR))
    total = max(1, frames // step)
    begin = max(0, (frames - total * step) // 2)
    taken = np.arange(total) if total <= max_rows else (np.arange(max_rows) * 2 + 1) * total // (2 * max_rows)
    if total > max_rows:
        notes += (f"{max_rows} of {total} slices were used, evenly spaced over the recording.",)
    starts = [begin + int(k) * step for k in taken]
    rows = np.stack([magma_picture(db[:, start : start + step], jpeg=jpeg) for start in starts])
    wave.watch.lap("picture")
    per_frame = min(seconds, len(y) / SR) / frames
    slices = tuple((start * per_frame, (start + step) * per_frame) for start in starts)
    return Prepared(rows, slices, total, wave.duration, "ccmusic", spectrum, notes, wave.watch.seconds)


def _article_a(wave: Waveform, spectrum: Spectrum, max_rows: int, jpeg: bool, transform: Transform) -> Prepared:
    """Article A: the first 30 s in one grey picture, dB with reference 1, min-max to [0, 1]."""
    db = (
        amplitude_to_db(transform.cqt(wave.samples))
        if spectrum == "cqt"
        else power_to_db(transform.mel(wave.samples))
    )
    _refuse_silence(db)
    wave.watch.lap("spectrogram")
    picture = _min_max(resize_bilinear(db, SIZE, SIZE))
    return _one_row(picture, (0.0, len(wave.samples) / SR), wave, "article-a", spectrum)


def _article_b(wave: Waveform, spectrum: Spectrum, max_rows: int, jpeg: bool, transform: Transform) -> Prepared:
    """Article B: dB relative to the peak of the first 30 s, min-max, centre 224 frames or repeated to 224.

    The article stops at [40, 224], which no ViT-B/16 accepts: here the bands are stretched to 224 rows by
    bilinear interpolation and the picture is repeated in the three channels, as article A does.
    """
    hop_length = 256
    if spectrum == "mel":
        power = transform.mel(wave.samples, n_fft=1024, hop_length=hop_length, n_mels=40)
        db = power_to_db(power, ref=float(power.max()))
    else:
        amplitude = transform.cqt(wave.samples, hop_length=hop_length)
        db = amplitude_to_db(amplitude, ref=float(amplitude.max()))
    _refuse_silence(db)
    wave.watch.lap("spectrogram")
    scaled, frames = _min_max(db), db.shape[1]
    begin = max(0, (frames - SIZE) // 2)
    scaled = np.tile(scaled, -(-SIZE // frames))[:, begin : begin + SIZE]
    end = min(begin + SIZE, frames)
    times = (begin * hop_length / SR, min(end * hop_length / SR, len(wave.samples) / SR))
    return _one_row(resize_bilinear(scaled, SIZE, SIZE), times, wave, "article-b", spectrum)


def _one_row(picture: Array, times: tuple[float, float], wave: Waveform, profile: str, spectrum: str) -> Prepared:
    rows = grey_picture(picture)[None]
    wave.watch.lap("picture")
    return Prepared(rows, (times,), 1, wave.duration, profile, spectrum, wave.notes, wave.watch.seconds)


def _min_max(values: Array) -> Array:
    """Scale to [0, 1]; a picture that is constant after resizing becomes 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _refuse_silence(db: Array) -> None:
    """A flat spectrogram has no range that a profile could scale, and no class is meant by it."""
    if db.max() == db.min():
        raise RecordingError(
            "The recording is silent (no part of its spectrogram is louder than another);"
            " send a recording with sound in it."
        )


PROFILES: dict[str, Callable[[Waveform, Spectrum, int, bool, Transform], Prepared]] = {
    "ccmusic": _ccmusic,
    "article-a": _article_a,
    "article-b": _article_b,
}
