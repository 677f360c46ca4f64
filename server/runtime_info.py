"""Device, precision and backend of each network; the steps read them from their environment and report them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from server.variants import BFLOAT16_FEATURES, INT8, ON_GPU, OPENVINO, PORTABLE, Machine
from systems.repository import Network, Plan, Repository, configuration
from systems.variants import VARIANTS

# JSON, system -> {"device", "precision", "backend"}; answers/step.py reads it.
VARIABLE = "TRITONE_COMPUTED"
PLAN_PRECISIONS = {"fp16": "float16", "fp32": "float32", "int8": "int8"}


def runtime_info(variant: str, machine: Machine, repository: Repository, systems: Iterable[str]) -> str:
    """Return the value of `VARIABLE` for systems that are served as a variant."""
    return json.dumps({system: _runtime_info(variant, machine, repository.network(system)) for system in systems})


def _runtime_info(variant: str, machine: Machine, network: Network) -> dict[str, str]:
    if not configuration(network.model, variant).is_file():
        variant = PORTABLE  # as Triton falls back to config.pbtxt
    elif variant == INT8 and network.product(VARIANTS[variant]) is network.onnx:
        variant = OPENVINO
    product = network.product(VARIANTS[variant])
    if isinstance(product, Plan):
        precision = PLAN_PRECISIONS[product.description["precision"]]
    else:
        openvino = "bfloat16" if machine.features & BFLOAT16_FEATURES.keys() else "float32"
        precision = VARIANTS[variant].precision or openvino
    device = machine.gpu.name if variant in ON_GPU and machine.gpu else "CPU"
    return {"device": device, "precision": precision, "backend": VARIANTS[variant].backend}
