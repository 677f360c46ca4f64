"""Recording -> rows of a network, as a profile (systems/profiles.py) says: the entry point `prepare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import soxr

from preprocess.audio import Waveform, load
from preprocess.clean import Cleaning, clean
from preprocess.errors import OptionError, RecordingError, Silent, TooShort
from preprocess.features import features
from preprocess.hearing import Hearing, sounding_slices
from preprocess.layouts import RENDER, Heard, slice_seconds
from preprocess.limits import Limits
from preprocess.spectrum import NUMPY, SR, Transform, amplitude_to_db, power_to_db
from systems.profiles import CCMUSIC, FrontEnd, Profile
from systems.profiles import PROFILES as ALL

Array = npt.NDArray[np.float32]

DEFAULT_MAX_ROWS = 32
PROFILES: dict[str, Profile] = {name: profile for name, profile in ALL.items() if profile.front_ends}
"""Those that have a spectrogram."""


@dataclass(frozen=True)
class Prepared:
    """The network's input and what the answer needs to explain itself.

    Attributes
    ----------
    rows : float32 [n, *shape of a row]
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
    profile: Profile | str = CCMUSIC,
    *,
    spectrum: str | None = "cqt",
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
    profile : how, or the name of one of `PROFILES`
    spectrum : "cqt" or "mel", whichever the profile has
    max_rows : most rows; slices beyond it are left out evenly over the recording
    jpeg : pictures in magma only: the JPEG round trip of the training pictures
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
    profile, spectrum = _known(profile, spectrum)
    if max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, not {max_rows}")
    hearing, sr = hearing or Hearing(), profile.sr
    wave = load(recording, sr=sr, seconds=hearing.decoded_seconds(profile.seconds), limits=limits)
    if len(wave.samples) < profile.least_seconds * sr:
        raise TooShort(
            f"The recording lasts {len(wave.samples) / sr:.3f} s; at least {profile.least_seconds} s are needed."
        )
    cleaned: dict[str, dict] = {}
    if cleaning and cleaning.on:
        samples, cleaned, notes = clean(wave.samples, sr, cleaning)
        wave = replace(wave, samples=samples, notes=wave.notes + notes)
        wave.watch.lap("clean")
    parts = (
        hearing.parts(wave.samples, sr, profile.seconds, profile.least_seconds, max_rows)
        if hearing.on
        else [slice(0, len(wave.samples))]
    )
    found = {}
    if with_features:
        y = np.concatenate([wave.samples[part] for part in parts])
        found = features(y if sr == SR else soxr.resample(y, sr, SR, quality="HQ"))
        wave.watch.lap("features")

    def make(wave: Waveform, most: int, subject: str) -> Prepared:
        return _rows(wave, profile, spectrum, most, jpeg, transform, subject)

    if hearing.on:
        prepared = _by_parts(wave, sr, parts, max_rows, hearing, make)
    else:
        prepared = make(wave, max_rows, "The recording")
    return replace(prepared, cleaned=cleaned, features=found)


def _known(profile: Profile | str, spectrum: str | None) -> tuple[Profile, str]:
    """The profile of a name, and its spectrum; a RecordingError where there is no such profile or spectrum."""
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise OptionError(f"profile {profile!r} is unknown; choose one of {', '.join(PROFILES)}.")
        profile = PROFILES[profile]
    if spectrum is None or spectrum not in profile.front_ends:
        raise OptionError(f"spectrum {spectrum!r} is unknown; choose {' or '.join(profile.front_ends)}.")
    return profile, spectrum


def _by_parts(
    wave: Waveform,
    sr: int,
    parts: list[slice],
    max_rows: int,
    hearing: Hearing,
    make: Callable[[Waveform, int, str], Prepared],
) -> Prepared:
    """Prepare each part by itself, and join them; a silent one is left out unless all are."""
    notes = dict.fromkeys(wave.notes)
    if hearing.segments and len(parts) < hearing.segments:
        notes[
            f"{len(parts)} of {hearing.segments} segments were analysed: the recording, or a batch of the network,"
            f" holds no more segments of {hearing.segment_seconds:g} s."
        ] = None
    prepared: list[Prepared] = []
    heard: list[tuple[float, float]] = []
    silence: RecordingError | None = None
    for part in parts:
        try:
            heard_part = replace(wave, samples=wave.samples[part], notes=())
            one = make(heard_part, max_rows // len(parts) or 1, "A selected part")
        except RecordingError as error:
            silence = error
            continue
        shift = part.start / sr
        prepared.append(replace(one, slices=tuple((start + shift, end + shift) for start, end in one.slices)))
        heard.append((shift, part.stop / sr))
        notes |= dict.fromkeys(one.notes)
    if silence and not prepared:
        raise silence
    if len(prepared) < len(parts):
        notes[f"{len(parts) - len(prepared)} of {len(parts)} segments are silent and were skipped."] = None
    rows = np.concatenate([one.rows for one in prepared])
    slices = [times for one in prepared for times in one.slices]
    if hearing.skip_silence:
        kept = sounding_slices(wave.samples, sr, slices)
        if len(kept) < len(slices):
            notes[f"{len(slices) - len(kept)} of {len(slices)} slices are silent and were skipped."] = None
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


def _rows(
    wave: Waveform, profile: Profile, spectrum: str, max_rows: int, jpeg: bool, transform: Transform, subject: str
) -> Prepared:
    """Prepare samples; `subject` is what they are called in a note."""
    y, notes, front_end = wave.samples, wave.notes, profile.front_ends[spectrum]
    seconds = len(y) / profile.sr
    needed = slice_seconds(profile, front_end)
    if needed and seconds < needed:  # which the official pipeline of ccmusic cannot use
        y = np.tile(y, int(np.ceil(needed / seconds)))[: int(np.ceil(needed * profile.sr))]
        notes += (f"{subject} lasts {seconds:.4g} s and was repeated to fill {needed:g} s.",)
    values = spectrogram(y, profile.sr, spectrum, front_end, transform)
    _refuse_silence(values)
    wave.watch.lap("spectrogram")
    heard = Heard(values, front_end, len(y) / profile.sr, seconds)
    rows, slices, total = RENDER[profile.render](heard, profile, max_rows, jpeg)
    wave.watch.lap("picture")
    if total > len(rows):
        notes += (f"{len(rows)} of {total} slices were used, evenly spaced over the recording.",)
    return Prepared(rows, slices, total, wave.duration, profile.name, spectrum, notes, wave.watch.seconds)


def spectrogram(y: Array, sr: int, spectrum: str, front_end: FrontEnd, transform: Transform = NUMPY) -> Array:
    """Spectrogram of a waveform on the scale of its front end: float32 [n] -> [n_bins, frames]."""
    to_db: Callable[..., Array]
    if spectrum == "cqt":
        values, to_db = transform.cqt(y, hop_length=front_end.hop_length), amplitude_to_db
    else:
        numbers = {"n_fft": front_end.n_fft, "hop_length": front_end.hop_length, "n_mels": front_end.n_mels}
        values, to_db = transform.mel(y, sr=sr, **numbers), power_to_db
    if front_end.scale == "log":
        power = np.square(values) if spectrum == "cqt" else values
        return np.log10(np.float32(10000) * power + np.float32(1))
    return to_db(values, ref=float(values.max()) if front_end.ref is None else front_end.ref)


def _refuse_silence(values: Array) -> None:
    """A flat spectrogram has no range that a profile could scale, and no class is meant by it."""
    if values.max() == values.min():
        raise Silent(
            "The recording is silent (no part of its spectrogram is louder than another);"
            " send a recording with sound in it."
        )
