"""A plain Triton: a straightforward model repository on the same tritonserver as ours.

One Python step with librosa, then ONNX Runtime in float32 with dynamic batching, and Triton's defaults for
everything else. It returns logits, which is less work than probabilities, labels and a ranking.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.baselines import BaselineError
from server.control import Control
from server.embedded import READY_SECONDS, Embedded
from server.installation import find_installation
from server.preflight import settle_ports
from server.process import SharedMemory, Triton
from server.variants import PORTABLE
from sounds import recording
from systems.variants import MANIFEST_FILE, ONNX_FILE

MODEL = "plain"

ENSEMBLE = """
name: "plain"
platform: "ensemble"
max_batch_size: 0
input [ { name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ -1, CLASSES ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "plain_preprocess"
      model_version: -1
      input_map { key: "AUDIO" value: "AUDIO" }
      output_map { key: "ROWS" value: "ROWS" }
    },
    {
      model_name: "plain_network"
      model_version: -1
      input_map { key: "ROWS" value: "ROWS" }
      output_map { key: "LOGITS" value: "LOGITS" }
    }
  ]
}
"""

PREPROCESS = """
name: "plain_preprocess"
backend: "python"
max_batch_size: 0
input [ { name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "ROWS" data_type: TYPE_FP32 dims: [ -1, 3, 224, 224 ] } ]
"""

NETWORK = """
name: "plain_network"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "ROWS" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
output [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ CLASSES ] } ]
instance_group [ { kind: KIND_CPU } ]
dynamic_batching {}
"""


def write_plain_repository(path: Path, onnx: Path) -> str:
    """Write a plain model repository.

    Parameters
    ----------
    path : folder to write
    onnx : exported float32 network; linked, not copied

    Returns
    -------
    name of the model: AUDIO BYTES [1], an encoded file -> LOGITS FP32 [1, classes]

    Raises
    ------
    BaselineError
        If the network or its manifest.json is missing.
    """
    manifest = onnx.with_name(MANIFEST_FILE)
    if missing := next((file for file in (onnx, manifest) if not file.is_file()), None):
        raise BaselineError(f"A plain repository needs an exported network, {missing} is missing: run make export")
    classes = json.loads(manifest.read_text(encoding="utf-8"))["output"]["classes"]
    for name, config in ((MODEL, ENSEMBLE), (f"{MODEL}_preprocess", PREPROCESS), (f"{MODEL}_network", NETWORK)):
        (path / name / "1").mkdir(parents=True)
        (path / name / "config.pbtxt").write_text(config.replace("CLASSES", str(classes)))
    shutil.copy(Path(__file__).with_name("plain_preprocess.py"), path / f"{MODEL}_preprocess" / "1" / "model.py")
    (path / f"{MODEL}_network" / "1" / ONNX_FILE).symlink_to(onnx.resolve())
    return MODEL


@contextmanager
def plain_server(repository: Path) -> Iterator[Embedded]:
    """Run the embedded tritonserver on a plain repository, on free ports of 127.0.0.1.

    It has answered a recording before the block starts, because librosa compiles functions at their first call.
    The `pid` is that of tritonserver, the parent of its steps; there is no supervisor.

    Raises
    ------
    BaselineError
        If it exited or did not become ready.
    server.errors.ServerError
        If tritonserver is not installed.
    """
    installation = find_installation()
    http, grpc, metrics = settle_ports("127.0.0.1", 0, 0, 0)
    command = [
        str(installation.binary),
        f"--model-repository={repository}",
        f"--backend-directory={installation.backends}",
        *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
        *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        "--log-info=false",
    ]
    shared_memory = SharedMemory()
    triton = Triton(command, installation.environment(), shared_memory)
    try:
        _wait(triton, Control(f"http://127.0.0.1:{http}", {}))
        ask(f"127.0.0.1:{http}", recording(0, seed=1))
        hosts = {"http": http, "grpc": grpc, "metrics": metrics}
        here: dict[str, Any] = {name: f"127.0.0.1:{port}" for name, port in hosts.items()}
        yield Embedded(**here, pid=triton.pid, variant=PORTABLE)
    finally:
        triton.stop()
        shared_memory.close()


def ask(http: str, data: bytes) -> npt.NDArray[np.float32]:
    """Send an encoded recording as the body of an HTTP request; return logits, float32 [classes]."""
    request = urllib.request.Request(
        f"http://{http}/v2/models/{MODEL}/infer", data, {"Inference-Header-Content-Length": "0"}
    )
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
        header = int(answer.headers["Inference-Header-Content-Length"])  # length of the JSON before the tensor
        return np.frombuffer(answer.read()[header:], np.float32)


def _wait(triton: Triton, control: Control) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not control.ready():
        if triton.exit_code is not None:
            raise BaselineError(f"the plain Triton stopped: {triton.reason()}")
        if time.monotonic() > deadline:
            raise BaselineError(f"the plain Triton was not ready within {READY_SECONDS} s")
        time.sleep(0.1)
