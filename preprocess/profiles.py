"""Turns a recording into rows of a network, as a profile describes (systems/profiles.py): the entry `prepare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import soxr

from preprocess.audio import Waveform, load
from preprocess.enhance import Enhancement, enhance
from preprocess.errors import OptionError, RecordingError, Silent, TooShort
from preprocess.features import features
from preprocess.layouts import RENDER, Spectrogram, slice_seconds
from preprocess.limits import Limits
from preprocess.selection import Selection, sounding_slices
from preprocess.spectrum import NUMPY, SR, Transform, amplitude_to_db, power_to_db
from preprocess.timing import Stopwatch
from systems.profiles import CCMUSIC, FrontEnd, Profile
from systems.profiles import PROFILES as ALL

Array = npt.NDArray[np.float32]

DEFAULT_MAX_ROWS = 32
# The profiles with a spectrogram.
PROFILES: dict[str, Profile] = {name: profile for name, profile in ALL.items() if profile.front_ends}


@dataclass(frozen=True)
class Prepared:
    """Rows of a network, and what the answer reports about them.

    Attributes
    ----------
    rows : float32 [n, *shape of a row]
    slices : (start, end) of each row in seconds of the recording
    slices_total : slices in the recording; more than `rows` if their number is limited
    duration : seconds of the recording
    profile, spectrum : names of the profile and the spectrogram
    notes : sentences for the reader of the answer
    seconds : duration of each stage: decode, downmix, resample, clean, features, spectrogram, picture
    excerpts : (start, end), seconds, of the selected parts that are not silent; None: the profile decided
    enhanced : report of each enhancement step; empty if none was requested
    features : what rules look at (preprocess.features); empty if not requested
    """

    rows: Array
    slices: tuple[tuple[float, float], ...]
    slices_total: int
    duration: float
    profile: str
    spectrum: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    excerpts: tuple[tuple[float, float], ...] | None = None
    enhanced: dict[str, dict] = field(default_factory=dict)
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
    enhancement: Enhancement | None = None,
    selection: Selection | None = None,
    with_features: bool = False,
) -> Prepared:
    """Turn a recording into rows of the network's input.

    Parameters
    ----------
    recording : an encoded file, or (samples float [n] or [n, channels], rate in Hz)
    profile : a profile, or the name of one of `PROFILES`
    spectrum : "cqt" or "mel"; the profile must have it
    max_rows : maximum number of rows; evenly spaced slices are used if the recording has more
    jpeg : for magma images only: whether to apply the JPEG round trip of the training images
    limits : limits of accepted recordings (None: the defaults)
    transform : functions that compute the spectrum
    enhancement : steps that run before any selection (None: none). If the selection or the profile needs only the
        beginning, only that is decoded and enhanced
    selection : the parts to analyse, each as a recording of its own (None: the profile decides)
    with_features : whether to measure features of the selected parts

    Raises
    ------
    RecordingError
        unknown profile or spectrum, or a recording that is not audio, too short, silent or beyond a limit
    """
    profile, spectrum = _known(profile, spectrum)
    if max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, not {max_rows}")
    selection, sr, watch = selection or Selection(), profile.sr, Stopwatch()
    wave = load(recording, sr=sr, seconds=selection.decoded_seconds(profile.seconds), limits=limits, watch=watch)
    if len(wave.samples) < profile.least_seconds * sr:
        raise TooShort(
            f"The recording lasts {len(wave.samples) / sr:.3f} s; at least {profile.least_seconds} s are needed."
        )
    enhanced: dict[str, dict] = {}
    if enhancement and enhancement.on:
        samples, enhanced, notes = enhance(wave.samples, sr, enhancement)
        wave = replace(wave, samples=samples, notes=wave.notes + notes)
        watch.lap("clean")
    parts = (
        selection.parts(wave.samples, sr, profile.seconds, profile.least_seconds, max_rows)
        if selection.on
        else [slice(0, len(wave.samples))]
    )
    measured = {}
    if with_features:
        y = np.concatenate([wave.samples[part] for part in parts])
        measured = features(y if sr == SR else soxr.resample(y, sr, SR, quality="HQ"))
        watch.lap("features")

    def make(wave: Waveform, most: int, subject: str) -> Prepared:
        return _rows(wave, watch, profile, spectrum, most, jpeg, transform, subject)

    if selection.on:
        prepared = _by_parts(wave, parts, max_rows, selection, make)
    else:
        prepared = make(wave, max_rows, "The recording")
    return replace(prepared, enhanced=enhanced, features=measured)


def _known(profile: Profile | str, spectrum: str | None) -> tuple[Profile, str]:
    """Return a profile by its name, with its spectrum; raise OptionError if either is unknown."""
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise OptionError(f"profile {profile!r} is unknown; choose one of {', '.join(PROFILES)}.")
        profile = PROFILES[profile]
    if spectrum is None or spectrum not in profile.front_ends:
        raise OptionError(f"spectrum {spectrum!r} is unknown; choose {' or '.join(profile.front_ends)}.")
    return profile, spectrum


def _by_parts(
    wave: Waveform,
    parts: list[slice],
    max_rows: int,
    selection: Selection,
    make: Callable[[Waveform, int, str], Prepared],
) -> Prepared:
    """Prepare each part by itself and join the rows; skip silent parts, but raise Silent if all are silent."""
    notes = dict.fromkeys(wave.notes)
    if selection.segments and len(parts) < selection.segments:
        notes[
            f"{len(parts)} of {selection.segments} segments were analysed: the recording, or a batch of the"
            f" network, holds no more segments of {selection.segment_seconds:g} s."
        ] = None
    prepared: list[Prepared] = []
    excerpts: list[tuple[float, float]] = []
    silence: RecordingError | None = None
    for part in parts:
        try:
            excerpt = replace(wave, samples=wave.samples[part], notes=())
            own = make(excerpt, max_rows // len(parts) or 1, "A selected part")
        except RecordingError as error:
            silence = error
            continue
        shift = part.start / wave.sr
        prepared.append(replace(own, slices=tuple((start + shift, end + shift) for start, end in own.slices)))
        excerpts.append((shift, part.stop / wave.sr))
        notes |= dict.fromkeys(own.notes)
    if silence and not prepared:
        raise silence
    if len(prepared) < len(parts):
        notes[f"{len(parts) - len(prepared)} of {len(parts)} segments are silent and were skipped."] = None
    rows = np.concatenate([each.rows for each in prepared])
    slices = [times for each in prepared for times in each.slices]
    if selection.skip_silence:
        kept = sounding_slices(wave.samples, wave.sr, slices)
        if len(kept) < len(slices):
            notes[f"{len(slices) - len(kept)} of {len(slices)} slices are silent and were skipped."] = None
            rows, slices = rows[kept], [slices[i] for i in kept]
            excerpts = [
                (begin, end) for begin, end in excerpts if any(begin <= start < end for start, _ in slices)
            ]
    return replace(
        prepared[0],
        rows=rows,
        slices=tuple(slices),
        slices_total=sum(each.slices_total for each in prepared),
        notes=tuple(notes),
        excerpts=tuple(excerpts),
    )


def _rows(
    wave: Waveform,
    watch: Stopwatch,
    profile: Profile,
    spectrum: str,
    max_rows: int,
    jpeg: bool,
    transform: Transform,
    subject: str,
) -> Prepared:
    """Prepare samples; `subject` names them in notes."""
    y, notes, front_end = wave.samples, wave.notes, profile.front_ends[spectrum]
    seconds = len(y) / profile.sr
    needed = slice_seconds(profile, front_end)
    if needed and seconds < needed:  # the official pipeline of ccmusic cannot use such a recording
        y = np.tile(y, int(np.ceil(needed / seconds)))[: int(np.ceil(needed * profile.sr))]
        notes += (f"{subject} lasts {seconds:.4g} s and was repeated to fill {needed:g} s.",)
    values = compute_spectrogram(y, profile.sr, spectrum, front_end, transform)
    _reject_silence(values)
    watch.lap("spectrogram")
    spectrogram = Spectrogram(values, front_end, len(y) / profile.sr, seconds)
    rows, slices, total = RENDER[profile.render](spectrogram, profile, max_rows, jpeg)
    watch.lap("picture")
    if total > len(rows):
        notes += (f"{len(rows)} of {total} slices were used, evenly spaced over the recording.",)
    return Prepared(rows, slices, total, wave.duration, profile.name, spectrum, notes, watch.seconds)


def compute_spectrogram(
    y: Array, sr: int, spectrum: str, front_end: FrontEnd, transform: Transform = NUMPY
) -> Array:
    """Compute the spectrogram of a waveform on the scale of its front end: float32 [n] -> [n_bins, frames]."""
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


def _reject_silence(values: Array) -> None:
    """Raise Silent for a constant spectrogram: a profile cannot scale it, and no class describes it."""
    if values.max() == values.min():
        raise Silent(
            "The recording is silent (no part of its spectrogram is louder than another);"
            " send a recording with sound in it."
        )
