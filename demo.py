"""`make demo`: Triton starts, the client asks about a recording, Triton stops.

Without a recording of the user's own one is generated, and the tagger is asked that hears instruments. Both
taggers are asked about the user's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from server.embedded import embedded
from server.process import HURRY
from sounds.examples import written

INSTRUMENTS, GENRES = "musicnn_mtt", "musicnn_msd"
DEMO = "vgg19_bn_cqt"
EXAMPLES = Path(".cache/examples")


def main(arguments: list[str]) -> int:
    """Returns the worst exit code of `tritone classify`.

    Parameters
    ----------
    arguments : the user's recording, or none
    """
    if not arguments:
        song = written("prelude.mp3", EXAMPLES)
        print(f"{song}: 38 s of generated music, a prelude by Bach on plucked strings", flush=True)
    elif not (song := Path(*arguments)).is_file():
        print(f"demo: there is no file {song}: name one with SONG=", file=sys.stderr)
        return 2
    os.environ[HURRY] = "1"  # each is asked once, which takes less time than to warm it
    trained = [INSTRUMENTS, GENRES] if arguments else [INSTRUMENTS]
    with embedded(f"--systems={','.join((*trained, DEMO))}", "--log-level=error") as server:
        print("\nTrained weights:", flush=True)
        codes = [classify(song, model, server.grpc) for model in trained]
        print("\nA system of the articles, with demo weights until you give it yours:", flush=True)
        return max(*codes, classify(song, DEMO, server.grpc))


def classify(song: Path, model: str, address: str) -> int:
    """Type `tritone classify` for the reader; its exit code."""
    command = ["classify", str(song), "--url", f"grpc://{address}", "--model", model]
    print(f"$ tritone {' '.join(command)}", flush=True)
    return subprocess.run([str(Path(sys.executable).with_name("tritone")), *command]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
