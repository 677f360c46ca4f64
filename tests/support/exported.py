"""A network in a model repository as `python -m export` leaves it, and what a command has made of it."""

import hashlib
import json
from pathlib import Path


def entry(path: Path) -> dict[str, object]:
    """What a manifest says of a file: its digest and size."""
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def declare(folder: Path, **more: object) -> None:
    """Write the manifest of `model.onnx`, with further entries."""
    manifest = {"format": 1, "onnx": {"file": "model.onnx", **entry(folder / "model.onnx")}, **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def state(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name: the same before and after means that nothing was written."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
