"""Recording -> network input, in NumPy and SciPy; importable without Triton and without PyTorch.

    prepared = preprocess.prepare(Path("song.mp3").read_bytes(), "ccmusic", spectrum="cqt")
    prepared.rows  # float32 [n, 3, 224, 224]
    speech = preprocess.prepare_speech(Path("call.mp3").read_bytes())
    speech.wav  # float32 [n, samples], normalised, padded; speech.lengths has the valid samples of each row

`audio` mixes down and resamples (`resample`) what `decode` reads, within `limits`; where options ask for it,
`clean` mends the sound and `hearing` chooses parts of it. For the genre systems `spectrum` transforms, `render`
draws and `profiles` puts them together; `speech` cuts the waveform itself into rows.
"""

from preprocess.audio import Waveform, load
from preprocess.clean import Cleaning
from preprocess.errors import OptionError, RecordingError
from preprocess.hearing import Hearing
from preprocess.limits import Limits
from preprocess.profiles import PROFILES, Prepared, prepare
from preprocess.speech import PreparedSpeech, prepare_speech

__all__ = [
    "PROFILES",
    "Cleaning",
    "Hearing",
    "Limits",
    "OptionError",
    "Prepared",
    "PreparedSpeech",
    "RecordingError",
    "Waveform",
    "load",
    "prepare",
    "prepare_speech",
]
