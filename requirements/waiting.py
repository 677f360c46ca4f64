"""`python -m requirements.waiting COMMAND ...`: runs a command, and prints a dot every 5 s while it runs."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

SECONDS = 5.0


def main(command: list[str], seconds: float = SECONDS) -> int:
    """Run a command; return its exit code, or 130 after Ctrl-C, which the command receives, too.

    Parameters
    ----------
    seconds : time between two dots
    """
    process, dots = subprocess.Popen(command), 0
    try:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
            dots += 1
            print(".", end="", flush=True)
    except KeyboardInterrupt:
        process.wait()
        return 130
    finally:
        if dots:
            print(f" {dots * seconds:.0f} s", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
