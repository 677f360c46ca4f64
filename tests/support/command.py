"""The command `tritone` as it is installed."""

import subprocess
import sys
from pathlib import Path

TRITONE = str(Path(sys.executable).with_name("tritone"))


def tritone(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run it for a minute at most; what it prints is captured."""
    return subprocess.run([TRITONE, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)
