"""Marks on the frequency axis of the images that a profile makes: pitches of a CQT, Hz of a mel spectrogram."""

from __future__ import annotations

import numpy as np

from preprocess.spectrum import BINS_PER_OCTAVE, C1, N_OCTAVES, mel_corners
from systems.profiles import Profile

MARKS_HZ = {"250 Hz": 250, "500 Hz": 500, "1 kHz": 1e3, "2 kHz": 2e3, "4 kHz": 4e3, "8 kHz": 8e3}


def ticks(profile: Profile, spectrum: str) -> list[dict[str, object]]:
    """Return marks of an image, from the lowest frequency on.

    Parameters
    ----------
    profile : how the image was made
    spectrum : of what, "cqt" or "mel"

    Returns
    -------
    objects with `at`, from 0 at the bottom of the image to 1 at its top, and `label`
    """
    front_end = profile.front_ends[spectrum]
    if spectrum == "cqt":
        centres = C1 * 2 ** (np.arange(N_OCTAVES * BINS_PER_OCTAVE) / BINS_PER_OCTAVE)
        marks = {f"C{octave + 1}": C1 * 2**octave for octave in range(N_OCTAVES)}
    else:
        centres = mel_corners(profile.sr, front_end.n_mels)[1:-1]
        marks = {label: hz for label, hz in MARKS_HZ.items() if centres[0] <= hz <= centres[-1]}
    places = (np.arange(len(centres)) + 0.5) / len(centres)  # every bin is equally high
    found = np.interp(list(marks.values()), centres, places)
    if profile.render != "magma":  # the networks of the other profiles see low frequencies at the top
        found = 1 - found
    return [{"at": round(float(at), 4), "label": label} for label, at in zip(marks, found, strict=True)]
