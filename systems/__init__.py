"""The served systems: each is declared in one file here; everything else is derived from the declarations.

Standard library only, and nothing of the other folders: the exporter, the steps, the server and the benchmarks all
read this. `python -m systems` writes model_repository/ from it.
"""

from systems.emotion2vec_plus_large import SYSTEM as EMOTION2VEC_PLUS_LARGE
from systems.system import System
from systems.vgg19_bn_cqt import SYSTEM as VGG19_BN_CQT
from systems.vit_b_16_mel import SYSTEM as VIT_B_16_MEL

SYSTEMS: dict[str, System] = {
    system.name: system for system in (VGG19_BN_CQT, VIT_B_16_MEL, EMOTION2VEC_PLUS_LARGE)
}

PICTURE_SYSTEMS = tuple(name for name, system in SYSTEMS.items() if system.task.has_pictures)
"""Those whose networks look at pictures: they can be explained, tuned, and quantised to INT8."""

__all__ = ["PICTURE_SYSTEMS", "SYSTEMS", "System"]
