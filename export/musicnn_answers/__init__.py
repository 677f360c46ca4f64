"""What musicnn 0.1.0 itself computes of three generated recordings, and how that was computed.

The exporter compares its networks with these answers (`export.packaged`), and so do the tests.

They were computed in a separate environment (Python 3.11, tensorflow-cpu 2.15.1, librosa 0.10.2, musicnn 0.1.0):

    python export/musicnn_answers/__init__.py answers.json

The package rounds its spectrogram to float16 before the logarithm, which moves probabilities by up to 3e-5; here
it keeps float32. Of its embeddings only the first patch's is used: by mistake it repeats that for the others.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SR = 16000
SECONDS = (7.0, 12.5, 31.0)
MODELS = {"musicnn_msd": "MSD_musicnn", "musicnn_mtt": "MTT_musicnn"}
FILE = Path(__file__).with_name("answers.json")


def recording(number: int) -> np.ndarray:
    """Six plucked notes over clicks of noise, float32 [n] at 16 kHz."""
    rng = np.random.default_rng(number)
    t = np.arange(int(SR * SECONDS[number])) / SR
    frequencies, phases = 110 * 2.0 ** (rng.integers(0, 36, 6) / 12), rng.uniform(0, 6, 6)
    periods = rng.choice([0.25, 0.5, 1.0], 6)
    notes = zip(frequencies, phases, periods, strict=True)
    y = sum(np.sin(2 * np.pi * f * t + phase) * np.exp(-3 * (t % period)) for f, phase, period in notes)
    y = y + 0.3 * rng.standard_normal(len(t)) * (t % 0.5 < 0.05)
    return (0.5 * y / np.abs(y).max()).astype(np.float32)


def known(system: str) -> Iterator[tuple[tuple[np.ndarray, int], np.ndarray]]:
    """Each recording, as samples and rate, and the probabilities of a system's tags in its patches [n, 50]."""
    content = json.loads(FILE.read_text())
    for number in range(len(SECONDS)):
        yield (recording(number), SR), np.array(content[f"{system} {number}"]["probabilities"])


class Float32:
    """NumPy without its float16."""

    def __getattr__(self, name: str) -> Any:
        return np.float32 if name == "float16" else getattr(np, name)


def main() -> None:
    """Write the file that is named."""
    import soundfile
    from musicnn import extractor

    extractor.np, found = Float32(), {}
    for number in range(len(SECONDS)):
        soundfile.write("recording.wav", recording(number), SR, subtype="FLOAT")
        for system, model in MODELS.items():
            tags, _, features = extractor.extractor("recording.wav", model=model, input_length=3)
            found[f"{system} {number}"] = {
                "probabilities": [[round(float(p), 7) for p in row] for row in tags],
                "embedding": [round(float(x), 6) for x in features["penultimate"][0]],
            }
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
