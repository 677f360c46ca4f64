"""Generates a voice: a sentence spoken in three moods by a source-filter synthesiser.

After Klatt, Software for a cascade/parallel formant synthesizer, JASA 67, 1980: pulses of the vocal folds and
noise of the breath pass through a cascade of resonators, whose frequencies move from sound to sound. The sentence
has no sounds but vowels, glides, nasals and h, which need no other source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

Array = npt.NDArray[np.float64]

FRAME = 0.005  # seconds between two changes of the resonators
GLIDE = 0.05  # seconds in which one sound passes into the next
BANDWIDTHS = (70, 90, 130, 220, 300)  # Hz of the five resonators
HIGHEST = (3500, 4500)  # Hz of the fourth and fifth resonator, which do not move
PAUSE = 0.35  # seconds after each repetition
LINE = 1e-3  # noise of the line, RMS; the loudest sample of the voice is 0.8

# Sound -> the first three formants in Hz, loudness of the voice, loudness of the breath.
SOUNDS = {
    " ": ((500, 1500, 2500), 0.0, 0.0),
    "h": ((600, 1500, 2500), 0.0, 0.15),
    "e": ((550, 1770, 2490), 1.0, 0.01),
    "a": ((740, 1250, 2500), 1.0, 0.01),
    "ae": ((690, 1660, 2490), 1.0, 0.01),
    "o": ((540, 950, 2400), 1.0, 0.01),
    "u": ((320, 900, 2300), 0.8, 0.01),
    "i": ((300, 2200, 2950), 0.8, 0.01),
    "l": ((360, 1100, 2700), 0.5, 0.0),
    "r": ((340, 1100, 1600), 0.6, 0.0),
    "w": ((300, 650, 2200), 0.5, 0.0),
    "j": ((270, 2250, 3000), 0.5, 0.0),
    "m": ((260, 1000, 2200), 0.25, 0.0),
}
# "Hello? How are you? I am well.": (sound, milliseconds, semitones from the speaker's pitch).
SENTENCE = (
    *(("h", 70, 0), ("e", 70, 1), ("l", 70, 2), ("o", 130, 4), ("u", 120, 7), (" ", 300, 7)),
    *(("h", 70, 3), ("a", 110, 4), ("u", 70, 3), ("a", 90, 1), ("r", 80, 1), ("j", 70, 0), ("u", 200, -3)),
    *((" ", 320, 0), ("a", 110, 3), ("i", 90, 2), ("ae", 120, 0), ("m", 90, 0)),
    *(("w", 80, 2), ("e", 120, 1), ("l", 190, -5), (" ", 100, -6)),
)


@dataclass(frozen=True)
class Mood:
    """How a sentence is spoken.

    Attributes
    ----------
    pitch : mean pitch, Hz
    melody : factor of the sentence's intervals
    tempo : factor of its speed
    loudness : factor of its amplitude
    """

    pitch: float
    melody: float
    tempo: float
    loudness: float


CALM, EXCITED, WEARY = Mood(115, 1.0, 1.0, 0.6), Mood(185, 1.7, 1.25, 1.0), Mood(92, 0.5, 0.75, 0.35)


def voice(sr: int = 16000) -> npt.NDArray[np.float32]:
    """Return the sentence in a calm, an excited and a weary voice, float32 [n], 9.4 s."""
    rng = np.random.default_rng(2027)
    y = np.concatenate([spoken(mood, sr, rng) for mood in (CALM, EXCITED, WEARY)])
    y = 0.8 / np.abs(y).max() * y + LINE * rng.standard_normal(len(y))
    return y.astype(np.float32)


def spoken(mood: Mood, sr: int, rng: np.random.Generator) -> Array:
    """Return the sentence, float64 [n], followed by a pause."""
    ends = np.cumsum([ms / 1000 / mood.tempo for _, ms, _ in SENTENCE])
    frames = np.arange(0, ends[-1] + PAUSE, FRAME)
    current = np.minimum(np.searchsorted(ends, frames, side="right"), len(SENTENCE) - 1)
    targets = np.array([(*SOUNDS[name][0], *SOUNDS[name][1:], tone) for name, _, tone in SENTENCE])[current]
    glide = signal.windows.hann(round(GLIDE / mood.tempo / FRAME) + 2)
    padded = np.pad(targets, ((len(glide) // 2, (len(glide) - 1) // 2), (0, 0)), mode="edge")
    tracks = signal.convolve(padded, (glide / glide.sum())[:, None], mode="valid")  # [frames, 6]

    step = round(FRAME * sr)
    samples = np.arange(len(frames) * step) / step
    voiced, breath, tone = (np.interp(samples, np.arange(len(frames)), track) for track in tracks.T[3:])
    drift = signal.lfilter([0.002], [1, -0.998], rng.standard_normal(len(samples)))  # no voice keeps its pitch
    pitch = mood.pitch * 2 ** (mood.melody * tone / 12 + drift)
    source = voiced * pulses(pitch, sr) + breath * rng.standard_normal(len(samples))
    return mood.loudness * resonated(source.reshape(-1, step), tracks[:, :3], sr).ravel()


def pulses(pitch: Array, sr: int) -> Array:
    """Return the change of the air flow through the vocal folds, float64 [n]; Rosenberg's pulse, closed for 40 %.

    Parameters
    ----------
    pitch : Hz at each sample
    """
    phase = np.cumsum(pitch) / sr % 1
    opening, closing = phase / 0.4, (phase - 0.4) / 0.2
    flow = np.where(phase < 0.4, 3 * opening**2 - 2 * opening**3, np.where(phase < 0.6, 1 - closing**2, 0))
    return np.diff(flow, prepend=0) * sr / pitch / 10


def resonated(source: Array, formants: Array, sr: int) -> Array:
    """Return the source after the five resonators, float64 [frames, samples].

    Parameters
    ----------
    source : float64 [frames, samples]
    formants : float64 [frames, 3], Hz
    """
    state = np.zeros((len(BANDWIDTHS), 2))
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / sr)
    out = np.empty_like(source)
    for k, frequencies in enumerate(formants):
        b = 2 * radius * np.cos(2 * np.pi * np.array([*frequencies, *HIGHEST]) / sr)
        c = -(radius**2)
        zero, one = np.zeros_like(b), np.ones_like(b)
        out[k], state = signal.sosfilt(np.stack([1 - b - c, zero, zero, one, -b, -c], axis=1), source[k], zi=state)
    return out
