"""`python -m server.choose`: selects what to serve in the container, and how, and prints flags for tritonserver.

Prints the flags to stdout, followed by the value of `TRITONE_COMPUTED` (server/runtime_info.py), and the reason to
stderr. Reads the environment variables of `python -m server`. If the requested variant cannot run, it prints one
sentence and exits with code 2, before Triton is started.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from server import overlay, preflight, variants
from server.errors import ServerError
from server.installation import ROOT
from server.runtime_info import runtime_info
from server.settings import parse_settings
from systems.repository import Repository
from systems.version import __version__

BACKENDS = ROOT.parent / "tritonserver" / "backends"  # both installations are in /opt


def main() -> int:
    """Print the flags; return the exit code."""
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
            served = Path(tempfile.mkdtemp(prefix="tritone-"))  # exists as long as the container
            overlay.lay_out(repository, served, list(systems), variant, processes)
    except ServerError as error:
        print(f"tritone: {error}", file=sys.stderr)
        return 2
    for line in preflight.left_out(repository, settings.systems):
        print(f"tritone: {line}", file=sys.stderr)
    print(f"tritone: version {__version__}, starting {', '.join(systems)} on {variant}: {why}", file=sys.stderr)
    print(f"--model-repository={served}")
    print(*(f"--load-model={model}" for model in preflight.models(repository, systems)), sep="\n")
    if variant != variants.PORTABLE:
        print(f"--model-config-name={variant}")
    print(runtime_info(variant, machine, repository, systems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
