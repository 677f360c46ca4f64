"""`make demo`: starts Triton, classifies a recording with the client, and stops Triton.

By default the recording is generated, and the tagger that recognises instruments analyses it. A recording of the
user's own is analysed by both taggers.
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
    """Run the demo; return the highest exit code of its `tritone classify` commands.

    Parameters
    ----------
    arguments : the user's recording, or empty for a generated one
    """
    if not arguments:
        song = written("prelude.mp3", EXAMPLES)
        print(f"{song}: 38 s of generated music, a prelude by Bach on plucked strings", flush=True)
    elif not (song := Path(*arguments)).is_file():
        print(f"demo: there is no file {song}; set SONG to the path of a recording", file=sys.stderr)
        return 2
    os.environ[HURRY] = "1"  # each system answers once, which takes less time than warming its network
    trained = [INSTRUMENTS, GENRES] if arguments else [INSTRUMENTS]
    with embedded(f"--systems={','.join((*trained, DEMO))}", "--log-level=error") as server:
        print("\nTrained weights:", flush=True)
        codes = [classify(song, model, server.grpc) for model in trained]
        print("\nA system from the articles, with demo weights until you export your own:", flush=True)
        return max(*codes, classify(song, DEMO, server.grpc))


def classify(song: Path, model: str, address: str) -> int:
    """Print and run a `tritone classify` command; return its exit code."""
    command = ["classify", str(song), "--url", f"grpc://{address}", "--model", model]
    print(f"$ tritone {' '.join(command)}", flush=True)
    return subprocess.run([str(Path(sys.executable).with_name("tritone")), *command]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
