"""Generates music: the first bars of Bach's Prelude in C (BWV 846) on plucked strings.

`make demo` and the web page use it, because trained taggers recognise it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

# The five notes of each bar, lowest first, as MIDI numbers.
BARS = (
    *((60, 64, 67, 72, 76), (60, 62, 69, 74, 77), (59, 62, 67, 74, 77), (60, 64, 67, 72, 76)),
    *((60, 64, 69, 76, 81), (60, 62, 66, 69, 74), (59, 62, 67, 74, 79), (59, 60, 64, 67, 72)),
    *((57, 60, 64, 67, 72), (50, 57, 62, 66, 72), (55, 59, 62, 67, 71)),
)
# The index of the note on each sixteenth of a bar.
PATTERN = (0, 1, 2, 3, 4, 2, 3, 4) * 2
OCTAVE = 12
SIXTEENTH = 0.2  # seconds
RINGS = 2.5  # seconds that a string sounds
PLUCKED = 0.17  # plucking point, as a share of the string's length
STIFFNESS = 2e-5  # B, the inharmonicity of a string: it makes partials sharp


def prelude(sr: int = 22050) -> npt.NDArray[np.float32]:
    """Return the piece, float32 [n], 37.7 s long; the loudest sample is 0.8."""
    notes = [bar[place] - OCTAVE for bar in BARS for place in PATTERN]
    y = np.zeros(round((len(notes) * SIXTEENTH + RINGS) * sr))
    for k, note in enumerate(notes):
        string = plucked(note, sr)
        start = round(k * SIXTEENTH * sr)
        y[start : start + len(string)] += string
    return (0.8 / np.abs(y).max() * y).astype(np.float32)


@cache
def plucked(note: int, sr: int) -> npt.NDArray[np.float64]:
    """Return a plucked string as the sum of its partials.

    After Fletcher and Rossing, The Physics of Musical Instruments, 1998, chapter 2: partial k of a stiff string
    has the frequency f k sqrt(1 + B k^2), and if the string is plucked at the share p of its length, the amplitude
    sin(pi k p) / k as a velocity. Higher partials decay faster.

    Parameters
    ----------
    note : MIDI number; 69 is 440 Hz
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
