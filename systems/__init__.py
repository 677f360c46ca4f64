"""The served systems: each is declared in one file here; everything else is derived from the declarations.

Standard library only, and nothing of the other folders: the exporter, the steps, the server and the benchmarks all
read this. `python -m systems` writes model_repository/ from it. Systems that users export under names of their own
(`own`) are known by their manifests.
"""

from importlib import import_module
from pkgutil import iter_modules

from systems.system import System


def _declared() -> list[System]:
    """SYSTEM of each module that has one; those that look at pictures first, by name."""
    modules = [import_module(f"systems.{each.name}") for each in iter_modules(__path__) if each.name != "__main__"]
    found = [module.SYSTEM for module in modules if hasattr(module, "SYSTEM")]
    return sorted(found, key=lambda system: (not system.task.has_images, system.name))


SYSTEMS: dict[str, System] = {system.name: system for system in _declared()}

__all__ = ["SYSTEMS", "System"]
