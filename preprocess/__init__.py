"""Turns a recording into network input, with NumPy and SciPy; importable without Triton and without PyTorch.

    prepared = preprocess.prepare(Path("song.mp3").read_bytes(), "ccmusic", spectrum="cqt")
    prepared.rows  # float32 [n, 3, 224, 224]
    speech = preprocess.prepare_speech(Path("call.mp3").read_bytes())
    speech.wav  # float32 [n, samples], normalised, padded; speech.lengths has the valid samples of each row

`decode` reads a file within `limits`; `audio` mixes it down and resamples it (`mix`, `resample`). If options ask
for it, `enhance` denoises and levels the sound and `selection` selects parts of it. For genre systems `spectrum`
computes spectrograms, `layouts` and `render` turn them into rows, and `profiles` runs these steps; for speech
systems `speech` cuts the waveform itself into rows.

The package exports what other folders call; the rest is imported from its module.
"""

from preprocess.audio import Waveform, load
from preprocess.enhance import Enhancement
from preprocess.errors import OptionError, RecordingError
from preprocess.limits import Limits
from preprocess.profiles import PROFILES, Prepared, prepare
from preprocess.selection import Selection
from preprocess.speech import PreparedSpeech, prepare_speech

__all__ = [
    "PROFILES",
    "Enhancement",
    "Limits",
    "OptionError",
    "Prepared",
    "PreparedSpeech",
    "RecordingError",
    "Selection",
    "Waveform",
    "load",
    "prepare",
    "prepare_speech",
]
