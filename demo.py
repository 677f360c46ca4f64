"""`make demo`: a recording is generated and encoded to MP3, Triton starts, the client asks, Triton stops."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from server.embedded import embedded
from sounds import FAMILIES, recording
from systems.label_set import label_set

MODEL = "vgg19_bn_cqt"
FAMILY = 2


def main() -> int:
    """Returns the exit code of `tritone classify`."""
    name, label = list(FAMILIES)[FAMILY], label_set("ccmusic").labels[FAMILY].en
    with tempfile.TemporaryDirectory(prefix="tritone-") as folder:
        song = Path(folder) / "demo.mp3"
        song.write_bytes(recording(FAMILY, seed=2026))
        print(f"{song}: 30 s of generated sound, {name!r}; demo weights call it {label!r}.", flush=True)
        with embedded(f"--systems={MODEL}") as server:
            command = ["classify", str(song), "--url", f"grpc://{server.grpc}", "--model", MODEL]
            print(f"$ tritone {' '.join(command)}", flush=True)
            return subprocess.run([str(Path(sys.executable).with_name("tritone")), *command]).returncode


if __name__ == "__main__":
    sys.exit(main())
