"""The systems of a server: their steps, their state, and the client's method that asks each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tritone_client.errors import UnknownModel, reading_answer

STEPS = ("preprocess", "network", "postprocess")
"""A system S is the ensemble S of these steps: S_preprocess, S_network, S_postprocess."""

Method = Literal["classify", "emotion"]
METHODS: dict[str, Method] = {"genre": "classify", "emotion": "emotion"}
"""The parameter `task` in a system's configuration -> the client's method that asks such a system."""


@dataclass(frozen=True)
class System:
    """A served system, and whether it takes requests.

    `platform` names what runs its network, such as `onnxruntime_onnx`; empty while the network is not loaded.
    `explains` says whether the network behind the option `explain` is loaded.
    """

    name: str
    version: str
    ready: bool
    platform: str
    explains: bool = False


@dataclass(frozen=True)
class Kind:
    """The client's method that asks a system, and its number of labels; None if that is not fixed."""

    method: Method
    labels: int | None


@dataclass(frozen=True)
class Health:
    """Whether the server is live, whether all its models take requests, and whether each system does."""

    live: bool
    ready: bool
    systems: dict[str, bool]


def systems(models: Collection[str]) -> list[str]:
    """Return the names of the systems that have a step among `models`, themselves loaded or not."""
    return sorted(
        {name.removesuffix(f"_{step}") for name in models for step in STEPS if name.endswith(f"_{step}")}
    )


def served_system(
    name: str, ready: bool, served: Mapping[str, Mapping[str, Any]], network: Mapping[str, Any]
) -> System:
    """Return a system, from Triton's statistics of all models and its metadata of the system's network."""
    with reading_answer():
        version = served[name]["version"] if name in served else ""
        platform = str(network["platform"]) if network else ""
        return System(name, str(version), ready, platform, f"{name}_explain" in served)


def method_of(model: str, config: Mapping[str, Any]) -> Method:
    """Return the method that asks `model`, by its configuration. Raises `UnknownModel` if it is not a system."""
    with reading_answer():
        task = config.get("parameters", {}).get("task", {}).get("string_value", "")
    if task not in METHODS:
        raise UnknownModel(f"Model '{model}' takes no recordings: `tritone models` lists the systems that do.")
    return METHODS[task]


def kind_of(model: str, config: Mapping[str, Any]) -> Kind:
    """Return the kind of a system, by its configuration. Raises `UnknownModel` if it is not a system."""
    method = method_of(model, config)
    with reading_answer():
        shapes = {output["name"]: [int(size) for size in output["dims"]] for output in config["output"]}
        labels = shapes.get("LABELS", [-1])[0]
    return Kind(method, labels if labels > 0 else None)
