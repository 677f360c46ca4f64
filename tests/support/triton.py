"""A small real Triton for the client's tests: the embedded server on `contract_model.py` and `emotion_model.py`.

No port is fixed, nothing is bound beyond 127.0.0.1, and everything it writes lies in the folder it is given.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from server.errors import ServerError
from server.installation import find_installation

INPUTS = """
input [
  { name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] optional: true },
  { name: "PCM" data_type: TYPE_FP32 dims: [ -1 ] optional: true },
  { name: "SAMPLE_RATE" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
  { name: "OPTIONS" data_type: TYPE_STRING dims: [ 1 ] optional: true }
]
"""
FEATURES = 'input [ { name: "FEATURES" data_type: TYPE_FP32 dims: [ -1 ] } ]'
GENRE = (
    INPUTS
    + """
output [
  { name: "PROBABILITIES" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "LABELS" data_type: TYPE_STRING dims: [ 4 ] },
  { name: "SLICE_PROBABILITIES" data_type: TYPE_FP32 dims: [ -1, 4 ] },
  { name: "EXPLANATION" data_type: TYPE_FP32 dims: [ -1, -1, -1 ] },
  { name: "PICTURES" data_type: TYPE_UINT8 dims: [ -1, -1, -1, -1 ] },
  { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] }
]
"""
)
WITH_EMBEDDING = GENRE.replace("output [", 'output [\n  { name: "EMBEDDING" data_type: TYPE_FP32 dims: [ 8 ] },')
EMOTION = (
    INPUTS
    + """
output [
  { name: "SCORES" data_type: TYPE_FP32 dims: [ 9 ] },
  { name: "LABELS" data_type: TYPE_STRING dims: [ 9 ] },
  { name: "FRAME_SCORES" data_type: TYPE_FP32 dims: [ -1, 9 ] },
  { name: "SEGMENTS" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "EMBEDDING" data_type: TYPE_FP32 dims: [ 1024 ] },
  { name: "FRAME_EMBEDDINGS" data_type: TYPE_FP32 dims: [ -1, 1024 ] },
  { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] }
]
"""
)


def step(tensors: str, instances: int) -> str:
    """Configuration of a Python step with `instances` instances."""
    instance_group = f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]"
    return f'backend: "python"\nmax_batch_size: 0\n{tensors}\n{instance_group}\n'


def ensemble(tensors: str, step: str, task: str = "genre") -> str:
    """Configuration of a system whose only step is `step`."""
    inputs, outputs = (re.findall(r'name: "(\w+)"', part) for part in tensors.split("output ["))
    maps = [f'input_map {{ key: "{n}" value: "{n}" }}' for n in inputs]
    maps += [f'output_map {{ key: "{n}" value: "{n}" }}' for n in outputs]
    body = "\n".join(maps)
    return f"""
platform: "ensemble"
max_batch_size: 0
parameters {{ key: "task" value: {{ string_value: "{task}" }} }}
{tensors}
ensemble_scheduling {{ step [ {{ model_name: "{step}" model_version: -1 {body} }} ] }}
"""


# As in the product: a front with one input, for plain HTTP bodies.
RAW = """
platform: "ensemble"
max_batch_size: 0
input [ { name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] } ]
ensemble_scheduling { step [ { model_name: "vgg19_bn_cqt" model_version: -1
  input_map { key: "AUDIO" value: "AUDIO" } output_map { key: "RESULT" value: "RESULT" } } ] }
"""


def write_repository(folder: Path) -> Path:
    """A model repository: `vgg19_bn_cqt`, `musicnn_msd`, `narrow`, `emotion2vec_plus_large`.

    `musicnn_msd` is the first with embeddings; `narrow` has one instance, and a queue of one.
    """
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 1 timeout_action: REJECT } }"
    models = {
        "vgg19_bn_cqt": ensemble(GENRE, "vgg19_bn_cqt_preprocess"),
        "vgg19_bn_cqt_preprocess": step(GENRE, 4),
        "vgg19_bn_cqt_raw": RAW,
        "vgg19_bn_cqt_explain": RAW,
        "musicnn_msd": ensemble(WITH_EMBEDDING, "musicnn_msd_preprocess"),
        "musicnn_msd_preprocess": step(WITH_EMBEDDING, 1),
        "narrow": ensemble(GENRE, "narrow_preprocess"),
        "narrow_preprocess": step(GENRE, 1) + queue,
        "emotion2vec_plus_large": ensemble(EMOTION, "emotion2vec_plus_large_preprocess", "emotion"),
        "emotion2vec_plus_large_preprocess": step(EMOTION, 1),
        "emotion2vec_plus_large_postprocess": step(EMOTION.replace(INPUTS, FEATURES), 1),
    }
    for name, config in models.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        if "ensemble" not in config:
            source = "emotion_model.py" if name.startswith("emotion") else "contract_model.py"
            shutil.copy(Path(__file__).with_name(source), folder / name / "1" / "model.py")
    return folder


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Triton:
    """A tritonserver process of the tests; `with Triton(folder) as triton:` starts and stops it."""

    def __init__(self, folder: Path, flags: Sequence[str] = (), ports: Sequence[int] | None = None) -> None:
        self.folder, self.flags = folder, flags
        self.http_port, self.grpc_port = ports or free_ports(2)
        self.shared_memory = f"client-tests-{self.http_port}-"
        self.installation = find_installation()
        self.repository = folder / "models"
        if not self.repository.exists():
            write_repository(self.repository)

    @property
    def grpc(self) -> str:
        """Address for gRPC."""
        return f"grpc://127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """Address for HTTP."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start and wait until every model is ready."""
        command = [
            self.installation.binary,
            f"--model-repository={self.repository}",
            f"--backend-directory={self.installation.backends}",
            *("--http-address=127.0.0.1", f"--http-port={self.http_port}"),
            *("--grpc-address=127.0.0.1", f"--grpc-port={self.grpc_port}"),
            "--allow-metrics=false",
            "--exit-timeout-secs=1",  # a stopping Triton waits for idle HTTP connections, which clients keep
            *("--model-control-mode=explicit", "--load-model=*"),
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory}",
            *self.flags,
        ]
        self.log = (self.folder / "log.txt").open("ab")
        self.process = subprocess.Popen(
            command, env=self.installation.environment(), stdout=self.log, stderr=self.log, start_new_session=True
        )
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log.txt").read_text())
            if self.ready():
                return
            time.sleep(0.1)
        raise RuntimeError("Triton was not ready within 30 s")

    def ready(self) -> bool:
        """Whether the server says that it and all its models are ready."""
        try:
            with urllib.request.urlopen(f"{self.http}/v2/health/ready", timeout=1) as response:
                return response.status == 200
        except OSError:
            return False

    def post(self, path: str) -> None:
        """Call Triton's repository API, `load` or `unload` of a model."""
        request = urllib.request.Request(f"{self.http}/v2/repository/models/{path}", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def stop(self, end: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process and wait for its end."""
        self.process.send_signal(end)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # stubs outlive a killed server and hold its connections
        for region in Path("/dev/shm").glob(f"{self.shared_memory}*"):
            region.unlink()
        self.log.close()

    def __enter__(self) -> "Triton":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def running(kind: type[Triton], folder: Path) -> Iterator[Triton]:
    """One for the life of a fixture; the tests are skipped, with the reason, where Triton is not installed."""
    try:
        server = kind(folder)
    except ServerError as error:
        pytest.skip(str(error))
    with server:
        yield server
