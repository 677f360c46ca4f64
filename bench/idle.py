"""The processor time of an idle server: `python -m bench.idle`, 2.5 minutes.

A server without clients probes each system every few seconds at first, and less often after a minute. The
benchmark starts a server with all exported systems, and measures launcher, Triton and steps together before and
after that.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench.processes import cpu_seconds
from server.embedded import embedded
from server.supervisor import QUIET_PERIODS

PROBE_SECONDS = 2.0  # the default of --probe-seconds


def main() -> int:
    """Print the share of a core that an idle server uses; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="length of a measurement (default: %(default)s)"
    )
    seconds = parser.parse_args().seconds
    try:
        with embedded(f"--probe-seconds={PROBE_SECONDS}") as server:
            print(f"after the start: {100 * used(server.pid, seconds):.2f} % of a core", flush=True)
            time.sleep(max(0.0, (QUIET_PERIODS + 2) * PROBE_SECONDS - seconds))
            print(f"idle: {100 * used(server.pid, seconds):.2f} % of a core", flush=True)
    except RuntimeError as error:
        print(f"bench.idle: {error}", file=sys.stderr)
        return 2
    return 0


def used(pid: int, seconds: float) -> float:
    """Return the CPU seconds per second of a process and its descendants."""
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
