"""Weights -> `model_repository/<system>_network/`: model.onnx, labels.txt and, last, manifest.json.

The server does not start without a manifest. The export removes it before it replaces any file that the manifest
describes, so an interrupted export leaves either the former network or none.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from export import inputs
from export.errors import ExportError
from export.files import exclusive, sha256
from export.sources import Log, Source, Weights
from systems import System
from systems.__main__ import write
from systems.files import atomically
from systems.label_set import LabelSet
from systems.manifest import FORMAT, NETWORK, Manifest
from systems.own import declaration
from systems.repository import Network, Repository
from systems.version import __version__

# Version of the exporter. Increase it with every change that should replace exported networks.
EXPORTER = 1
# Weights extracted from checkpoints that hold much else, named by the SHA-256 of the checkpoint.
CONVERTED = Path(__file__).resolve().parent.parent / "checkpoints" / "converted"
# Generated sounds that no demo weights were fitted to.
PARITY_SEED = 2000


def export(system: System, source: Source, repository: Path, *, force: bool, log: Log) -> bool:
    """Bring a system's network in the repository up to date.

    Parameters
    ----------
    repository : folder of the models; `<system>_network/` is written below it
    force : export a network that is up to date, too

    Returns
    -------
    False if there was nothing to do

    Raises
    ------
    ExportError
        If there are no usable weights, another export is running, or the network does not agree with PyTorch.
    """
    weights = source.get(system, log)
    if len(weights.labels) != len(system.labels):
        raise ExportError(
            f"{system.name} has {len(system.labels)} classes, the labels name {len(weights.labels)}; export these"
            f" weights under another name: python -m export {system.name} --checkpoint ... --name ..."
        )
    description = _description(system, weights)
    network = Repository(repository).network(system.name)
    with exclusive(network.model):
        exported = network.manifest.content if network.manifest and network.why_not is None else {}
        if not force and description.items() <= exported.items():
            if system.is_own:
                write(system, repository)
            log(f"nothing to do: {network.folder} holds these weights")
            return False
        _write(system, weights, description, network, log)
    return True


def keep_user_weights(system: System, repository: Path, log: Log) -> bool:
    """Keep a network that was exported from the user's own weights; return False if it was not.

    Raises
    ------
    ExportError
        If such a network is incomplete.
    """
    network = Repository(repository).network(system.name)
    if network.manifest is None or network.manifest.content.get("demo", True):
        return False
    source = network.manifest.content.get("source", {})
    if source.get("origin") == "package":  # can be exported again at any time
        return False
    own = f"your own weights ({source.get('origin')} {source.get('location')})"
    instead = "" if system.is_own else "; --demo replaces them by demo weights"
    if not network.onnx.is_current:
        raise ExportError(f"{network.onnx.path} is incomplete and was made from {own}: name them again{instead}")
    if not network.labels.is_file():
        log(f"writing {network.labels}, which was missing")
        _write_labels(network, LabelSet.of_manifest(network.manifest.content))
    log(f"nothing to do: the network has {own}{instead}")
    return True


def _description(system: System, weights: Weights) -> dict[str, Any]:
    """Return the part of the manifest that is known before the export and decides whether one is necessary."""
    description = {
        "format": FORMAT,
        "exporter": EXPORTER,
        "system": system.name,
        **({"like": system.like} if system.like else {}),
        **declaration(system),
        **({"activation": system.activation} if system.activation != "softmax" else {}),
        "architecture": system.architecture.name,
        "spectrum": system.spectrum,
        "profile": system.profile.name,
        "input": system.task.row(system.profile),
        "output": {"name": "LOGITS", "classes": len(weights.labels)}
        | ({"embedding": system.embedding} if system.embedding else {}),
        **weights.labels.manifest(),
        "source": weights.source,
        "demo": weights.held_out is not None,
        "precision": "fp32",
    }
    if weights.held_out is not None:
        description["held_out"] = weights.held_out
    return json.loads(json.dumps(description))  # turns tuples into lists, as in a manifest read from a file


def _write(system: System, weights: Weights, description: dict[str, Any], network: Network, log: Log) -> None:
    from export import onnx_export, packaged  # ONNX: a second to import, not needed where nothing is to be done

    is_packaged = weights.source["origin"] == "package"
    path = network.onnx.path
    with atomically(path) as partial:
        log(f"writing {path} from {weights.source['file']}")
        parity = (packaged.write if is_packaged else _write_by_pytorch)(system, weights, partial, log)
        log(f"largest difference in probability {parity['max_probability_difference']:.1e}")
        network.withdraw()
    if system.is_own:
        log(f"writing its configurations to {network.repository}")
        write(system, network.repository)
    _write_labels(network, weights.labels)
    size = path.stat().st_size
    description |= {
        NETWORK: {"file": path.name, "sha256": sha256(path), "bytes": size, "opset": onnx_export.OPSET},
        "parity": parity,
        "versions": {"tritone": __version__}
        | {name: version(name) for name in ("onnx", *(() if is_packaged else ("torch",)))}
        | {"onnxruntime": onnx_export.onnxruntime.__version__},  # the package is named after its device
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    Manifest(network.folder, description).write()


def _write_by_pytorch(system: System, weights: Weights, path: Path, log: Log) -> dict[str, Any]:
    """Write the network to `path`, compare it with PyTorch, and return the entry `parity` of the manifest."""
    from export import onnx_export
    from export.checkpoint import load_model, store_weights  # PyTorch: seconds to import

    kept = CONVERTED / f"{weights.source['sha256']}.safetensors"
    file = kept if kept.is_file() else weights.path
    model = load_model(file, system.architecture, len(weights.labels))
    if system.embedding and model.embedding_size != system.embedding:
        raise ExportError(
            f"{weights.path} has embeddings of {model.embedding_size} values, the config.pbtxt of {system.name}"
            f" declares {system.embedding}"
        )
    store_weights(model, weights.path, kept, log)
    graph = onnx_export.graph_of(system)
    rows = [inputs.example_row(system, family, PARITY_SEED) for family in range(max(onnx_export.BATCHES))]
    # One by one, before the export: so the comparison shows that neither traced lengths nor padding matter.
    expected = np.concatenate([onnx_export.logits(model, row) for row in rows])

    onnx_export.to_onnx(model, graph, path)
    log("comparing ONNX Runtime with PyTorch")
    return onnx_export.parity(path, graph, inputs.pad_batch(rows), expected, system.activation)


def _write_labels(network: Network, labels: LabelSet) -> None:
    with atomically(network.labels) as partial:
        partial.write_text("".join(f"{label.en}\n" for label in labels.labels), encoding="utf-8")
