"""Generated music: the first bars of Bach's Prelude in C (BWV 846), plucked on strings.

`make demo` and the page offer it, since trained taggers hear what it is.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

# The five notes of each bar, from the lowest; numbers of MIDI.
BARS = (
    *((60, 64, 67, 72, 76), (60, 62, 69, 74, 77), (59, 62, 67, 74, 77), (60, 64, 67, 72, 76)),
    *((60, 64, 69, 76, 81), (60, 62, 66, 69, 74), (59, 62, 67, 74, 79), (59, 60, 64, 67, 72)),
    *((57, 60, 64, 67, 72), (50, 57, 62, 66, 72), (55, 59, 62, 67, 71)),
)
# Which of them sounds when, in sixteenths.
PATTERN = (0, 1, 2, 3, 4, 2, 3, 4) * 2
OCTAVE = 12
SIXTEENTH = 0.2  # seconds
RINGS = 2.5  # seconds that a string is heard
PLUCKED = 0.17  # where, as a share of the string's length
STIFFNESS = 2e-5  # of a string, which makes its partials sharp


def prelude(sr: int = 22050) -> npt.NDArray[np.float32]:
    """The piece, float32 [n], 37.7 s long; its loudest sample is 0.8."""
    notes = [bar[place] - OCTAVE for bar in BARS for place in PATTERN]
    y = np.zeros(round((len(notes) * SIXTEENTH + RINGS) * sr))
    for k, note in enumerate(notes):
        string = plucked(note, sr)
        start = round(k * SIXTEENTH * sr)
        y[start : start + len(string)] += string
    return (0.8 / np.abs(y).max() * y).astype(np.float32)


@cache
def plucked(note: int, sr: int) -> npt.NDArray[np.float64]:
    """A plucked string, by its partials.

    As in Fletcher and Rossing, The Physics of Musical Instruments, 1998, chapter 2.
    Partial k of a stiff string has the frequency f k sqrt(1 + B k^2); one that is plucked at the share p of its
    length sounds with sin(pi k p) / k, seen as a velocity. Higher partials die away faster.

    Parameters
    ----------
    note : number of MIDI, 69 is 440 Hz
    sr : Hz

    Returns
    -------
    float64 [RINGS * sr]
    """
    f, t = 440.0 * 2 ** ((note - 69) / 12), np.arange(round(RINGS * sr)) / sr
    k = np.arange(1, min(40, int(0.45 * sr / f)))[:, None]
    frequencies = f * k * np.sqrt(1 + STIFFNESS * k**2)
    partials = np.sin(np.pi * k * PLUCKED) / k * np.exp(-(0.8 + 0.4 * k) * t) * np.sin(2 * np.pi * frequencies * t)
    return partials.sum(axis=0) * (1 - np.exp(-2000 * t))
