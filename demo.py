"""`make demo`: starts Triton, classifies a recording with the client, and stops Triton.

By default the recording is generated, and the tagger that recognises instruments analyses it. A recording of the
user's own is analysed by both taggers. The first tagger is asked twice: the second answer comes from the cache.
The last lines report how long everything took since make began (environment variable STARTED, seconds since 1970),
and what to do next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from server.embedded import embedded
from server.process import HURRY
from sounds.examples import write_all

INSTRUMENTS, GENRES = "musicnn_mtt", "musicnn_msd"
EXAMPLES = Path("examples")
NEXT = """The weights of the taggers are trained. Next:
  make export    # the other systems, about 5 minutes; installs PyTorch
  make serve     # Triton on 127.0.0.1, until Ctrl-C; then, in another terminal:
  make web       # http://127.0.0.1:7860, or: .venv/bin/tritone classify examples/song.mp3 --model musicnn_mtt"""


def main(arguments: list[str]) -> int:
    """Run the demo; return the highest exit code of its `tritone classify` commands.

    Parameters
    ----------
    arguments : the user's recording, or empty for a generated one
    """
    if not arguments:
        write_all(EXAMPLES)
        song = EXAMPLES / "song.mp3"
        print(f"{song}: 38 s of generated music, a prelude by Bach on plucked strings", flush=True)
    elif not (song := Path(*arguments)).is_file():
        print(f"demo: there is no file {song}; set SONG to the path of a recording", file=sys.stderr)
        return 2
    os.environ[HURRY] = "1"  # each network runs once, which takes less time than warming it
    taggers = [INSTRUMENTS, GENRES] if arguments else [INSTRUMENTS]
    with embedded(f"--systems={','.join(taggers)}", "--log-level=error") as server:
        print()
        codes = [classify(song, tagger, server.grpc) for tagger in taggers]
        print("\nThe same question again; the answer comes from Triton's response cache:", flush=True)
        codes.append(classify(song, INSTRUMENTS, server.grpc))
    took = f"That took {time.time() - float(os.environ['STARTED']):.0f} s. " if "STARTED" in os.environ else ""
    print(f"\n{took}{NEXT}", flush=True)
    return max(codes)


def classify(song: Path, model: str, address: str) -> int:
    """Print and run a `tritone classify` command; return its exit code."""
    command = ["classify", str(song), "--url", f"grpc://{address}", "--model", model]
    print(f"$ tritone {' '.join(command)}", flush=True)
    return subprocess.run([str(Path(sys.executable).with_name("tritone")), *command]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
