"""`python -m server.choose`: what to serve in the container, and how, as flags for tritonserver.

The flags go to stdout, behind them the value of `TRITONE_COMPUTED` (server/computed.py); the reason to stderr.
Reads the environment variables of `python -m server`. Where the wanted variant cannot run, one sentence and exit
code 2: Triton is not started to find that out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from server import overlay, preflight, variants
from server.computed import computed
from server.errors import ServerError
from server.installation import ROOT
from server.settings import parse_settings
from systems.repository import Repository
from systems.version import __version__

BACKENDS = ROOT.parent / "tritonserver" / "backends"  # NVIDIA's and ours lie side by side, in /opt


def main() -> int:
    """Print the flags; the exit code."""
    settings = parse_settings([])
    repository = Repository(settings.model_repository)
    try:
        systems = preflight.choose_systems(repository, settings.systems)
        machine = variants.Machine.here(BACKENDS)
        variant, why = variants.choose(settings.variant, machine, repository, systems)
        needs = {name: system.task.shm for name, system in systems.items()}
        processes = overlay.for_this_machine(needs) if variant in variants.ON_GPU else None
        preflight.check_shared_memory(needs, processes)
        served = settings.model_repository
        if processes:
            served = Path(tempfile.mkdtemp(prefix="tritone-"))  # for as long as the container
            overlay.lay_out(repository, served, list(systems), variant, processes)
    except ServerError as error:
        print(f"tritone: {error}", file=sys.stderr)
        return 2
    print(f"tritone: version {__version__}, starting {', '.join(systems)} on {variant}: {why}", file=sys.stderr)
    print(f"--model-repository={served}")
    print(*(f"--load-model={model}" for model in preflight.models(repository, systems)), sep="\n")
    if variant != variants.PORTABLE:
        print(f"--model-config-name={variant}")
    print(computed(variant, machine, repository, systems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
