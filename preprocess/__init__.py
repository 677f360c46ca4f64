"""Recording -> network input, in NumPy and SciPy; importable without Triton and without PyTorch.

    prepared = preprocess.prepare(Path("song.mp3").read_bytes(), "ccmusic", spectrum="cqt")
    prepared.rows  # float32 [n, 3, 224, 224]

`audio` decodes, `spectrum` transforms, `render` draws, `profiles` puts them together.
"""

from preprocess.audio import Limits, Waveform, load
from preprocess.errors import RecordingError
from preprocess.profiles import PROFILES, Prepared, prepare

__all__ = ["PROFILES", "Limits", "Prepared", "RecordingError", "Waveform", "load", "prepare"]
