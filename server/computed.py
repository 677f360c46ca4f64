"""Where and how each network computes, for the answers: the steps are told in their environment."""

from __future__ import annotations

import json
from collections.abc import Iterable

from server.variants import BFLOAT16_FEATURES, CUDA, INT8, ON_GPU, OPENVINO, PORTABLE, Machine
from systems.repository import Network, Plan, Repository, configuration
from systems.variants import VARIANTS

VARIABLE = "TRITONE_COMPUTED"
"""JSON, system -> {"device", "precision", "backend"}; answers/step.py reads it."""
BACKEND = {INT8: OPENVINO, CUDA: PORTABLE}
"""Variant -> Triton's name of the backend, where it is another."""
PLAN_PRECISIONS = {"fp16": "float16", "fp32": "float32", "int8": "int8"}


def computed(variant: str, machine: Machine, repository: Repository, systems: Iterable[str]) -> str:
    """The value of `VARIABLE` for systems that are served as a variant."""
    return json.dumps({system: _computed(variant, machine, repository.network(system)) for system in systems})


def _computed(variant: str, machine: Machine, network: Network) -> dict[str, str]:
    if not configuration(network.model, variant).is_file():
        variant = PORTABLE  # as Triton falls back to config.pbtxt
    elif variant == INT8 and network.product(VARIANTS[variant]) is network.onnx:
        variant = OPENVINO
    product = network.product(VARIANTS[variant])
    if isinstance(product, Plan):
        precision = PLAN_PRECISIONS[product.description["precision"]]
    elif variant == OPENVINO:
        precision = "bfloat16" if machine.features & BFLOAT16_FEATURES.keys() else "float32"
    else:
        precision = {INT8: "int8", CUDA: "float16"}.get(variant, "float32")
    device = machine.gpu.name if variant in ON_GPU and machine.gpu else "CPU"
    return {"device": device, "precision": precision, "backend": BACKEND.get(variant, variant)}
