"""Checkpoint file -> checked state dict -> module; code in a file is never executed.

Common variations are normalised to the names of torchvision and Emotion2Vec: a wrapper dictionary around the state
dict, prefixes of wrapping modules, the names of torchvision before 0.13, tensors of the pre-training, half
precision. After that the check is strict: no tensor may be missing, unexpected, of another shape or type, or not
finite.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from export.emotion2vec import AUDIO
from export.errors import CheckpointError
from export.files import load
from systems.architectures import ARCHITECTURES
from systems.files import atomically
from systems.system import Architecture

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "model.", "vgg_model.")
LEGACY = re.compile(r"(?<=\.mlp\.)linear_([12])(?=\.)")
# data2vec's decoder, which only pre-training needs.
PRETRAINING = f"{AUDIO}decoder."


def load_model(path: Path, architecture: Architecture, classes: int) -> nn.Module:
    """Load a checkpoint into its module, in eval mode, float32, on the CPU.

    Parameters
    ----------
    path : .pt, .pth or .safetensors file
    architecture : architecture of the system
    classes : number of labels of the system

    Raises
    ------
    CheckpointError
        If the file is unreadable, holds code, has another architecture or number of outputs, or has a missing,
        unexpected, misshapen or non-finite tensor.
    """
    try:
        return build(read(path), architecture, classes)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__


def read(path: Path) -> State:
    """Read the state dict of a checkpoint file, with the modules' names and floating point values as float32."""
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickle protocols; the error follows
                # mmap: pages are read when they are needed instead of copying the file to memory first
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise CheckpointError("no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "it is damaged or holds more than tensors (possibly code, which is never loaded);"
            " save the model's state_dict() with torch.save or safetensors"
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise CheckpointError(f"it cannot be read ({reason}); is it complete?") from error
    return normalise(content)


def store_weights(model: nn.Module, path: Path, kept: Path, log: Callable[[str], object]) -> None:
    """Store the weights separately if their checkpoint holds much else, for example the state of an optimizer.

    Parameters
    ----------
    model : result of `load_model` for `path`
    path : the checkpoint
    kept : file to write (.safetensors); nothing is done if it exists, or if two thirds of `path` are weights
    log : reports what is done
    """
    state = model.state_dict()
    size = sum(value.numel() * value.element_size() for value in state.values())
    if kept.is_file() or path.stat().st_size < 1.5 * size:
        return
    log(f"storing its {size / 1e6:.0f} MB of weights in {kept}")
    with atomically(kept) as partial:
        save_file({name: value.contiguous() for name, value in state.items()}, partial)


def normalise(content: object) -> State:
    """Unwrap a loaded checkpoint, rename its keys to the modules' names, and convert floating point to float32."""
    while isinstance(content, Mapping) and (inner := next((k for k in WRAPPERS if k in content), None)):
        content = content[inner]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"it holds {type(content).__name__}, expected a state dict of named tensors")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"its entry {name} is {type(value).__name__}, expected a tensor")
    state = dict(content)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    state = {
        LEGACY.sub(lambda match: {"1": "0", "2": "3"}[match[1]], name.removeprefix("d2v_model.")): (
            value.float() if value.is_floating_point() else value
        )
        for name, value in state.items()
    }
    state = {name: value for name, value in state.items() if not name.startswith(PRETRAINING)}
    if (scale := state.get(f"{AUDIO}alibi_scale")) is not None and scale.ndim == 4:  # older versions
        state[f"{AUDIO}alibi_scale"] = scale[None]
    return state


def build(state: State, architecture: Architecture, classes: int) -> nn.Module:
    """Create the module of a state dict and load it strictly; raises as `load_model`."""
    if architecture.key not in state:
        found = next((kind.name for kind in ARCHITECTURES.values() if kind.key in state), "no known network")
        known = ", ".join(
            f"{kind.name} has {kind.key}" for kind in (ARCHITECTURES | {architecture.name: architecture}).values()
        )
        raise CheckpointError(f"it is {found}, expected {architecture.name} ({known})")
    with torch.device("meta"):
        model = load(architecture.module).of(state)
    _check(state, model.state_dict())
    model.load_state_dict(state, strict=True, assign=True)
    outputs = list(model.modules())[-1].out_features
    if outputs != classes:
        raise CheckpointError(
            f"it has {outputs} outputs for {classes} labels; name them in a labels.json beside it, or with"
            " --checkpoint and --labels"
        )
    return model.eval().requires_grad_(False)


def _check(state: State, expected: Mapping[str, Tensor]) -> None:
    """Raise if a state dict is not exactly what the module expects; the message names the tensors."""
    if missing := expected.keys() - state.keys():
        raise CheckpointError(f"the checkpoint has no tensor {_named(missing)}")
    if extra := state.keys() - expected.keys():
        raise CheckpointError(f"the checkpoint has an unexpected tensor {_named(extra)}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            shapes = f"{list(value.shape)}, expected {list(expected[name].shape)}"
            raise CheckpointError(f"{name} has the shape {shapes}")
        if value.dtype != expected[name].dtype:
            raise CheckpointError(f"{name} is {value.dtype}, expected {expected[name].dtype}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{name} holds NaN or infinite values")


def _named(names: set[str]) -> str:
    """Return up to three of the names, sorted, and the number of further ones."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more
