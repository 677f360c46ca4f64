"""The served systems: one file declares each of them, and everything else is derived from the declarations.

This package needs only the standard library and imports no other folder, because the exporter, the steps, the
server and the benchmarks all read it. `python -m systems` writes model_repository/ from it. Manifests describe the
systems that users export under their own names (`own`).
"""

from importlib import import_module
from pkgutil import iter_modules

from systems.system import System


def _declared() -> list[System]:
    """Return SYSTEM of each module that has one: systems with images first, then by name."""
    modules = [import_module(f"systems.{each.name}") for each in iter_modules(__path__) if each.name != "__main__"]
    found = [module.SYSTEM for module in modules if hasattr(module, "SYSTEM")]
    return sorted(found, key=lambda system: (not system.task.has_images, system.name))


SYSTEMS: dict[str, System] = {system.name: system for system in _declared()}

__all__ = ["SYSTEMS", "System"]
