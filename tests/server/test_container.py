"""The container's files without a container engine: checked by their tools, and run from a temporary root."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from server import installation, preflight
from systems import SYSTEMS
from systems.system import PROCESSES
from systems.version import __version__
from tests.server import nvml
from tests.server.image import COMPOSE, Image, ignored, instructions, interpolate
from tests.support import tiny
from tests.support.project import ROOT
from tests.support.waiting import wait_until

SERVING = ("triton-cpu", "triton-gpu")
DOCKERFILE = (ROOT / "server" / "Dockerfile").read_text()


def test_the_compose_file_follows_the_compose_specification():
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint, "pip install -r requirements/test.txt"
    done = subprocess.run([hadolint, "server/Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_confined_and_has_its_profile(name):
    service = COMPOSE["services"][name]
    assert service["profiles"] == [name.removeprefix("triton-")]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("deploy" in service) == (name != "triton-cpu")
    assert service["build"]["context"] == "."
    assert f" AS {'export' if name == 'export' else 'server'}\n" in DOCKERFILE
    assert "Dockerfile" in service["build"]["dockerfile"]


@pytest.mark.parametrize("name", SERVING)
def test_what_serves_listens_on_this_machine_and_changes_nothing(name):
    service = COMPOSE["services"][name]
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8000", "8001", "8002"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert service["restart"] == "unless-stopped"
    on_gpu = name == "triton-gpu"
    assert service["shm_size"] == ("6gb" if on_gpu else "2gb")
    needs = {system.name: system.task.shm for system in SYSTEMS.values() if system.by_default}
    preflight.check_shared_memory(needs, PROCESSES if on_gpu else None, int(service["shm_size"][0]) * 2**30)
    variant = {"triton-cpu": "onnxruntime", "triton-gpu": "auto"}[name]
    assert service["environment"]["TRITONE_VARIANT"] == f"${{TRITONE_VARIANT:-{variant}}}"


@pytest.mark.parametrize("name", SERVING)
def test_what_serves_is_limited_and_has_the_stack_for_a_large_body(name):
    service = COMPOSE["services"][name]
    assert interpolate(service["mem_limit"], {}) == ("16g" if name == "triton-gpu" else "8g")
    assert interpolate(service["mem_limit"], {"TRITONE_MEMORY": "32g"}) == "32g"
    assert service["pids_limit"] == 4096
    assert service["ulimits"] == {
        "stack": {"soft": 2**30, "hard": 2**30},
        "nofile": {"soft": 65536, "hard": 65536},
    }


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_the_base_image_can_be_named_by_its_digest(name):
    argument = COMPOSE["services"][name]["build"]["args"]["BASE_IMAGE"]
    [default] = re.findall(r"^ARG BASE_IMAGE=(.*)$", DOCKERFILE, flags=re.M)
    [version] = re.findall(r"^ARG TRITON_VERSION=(.*)$", DOCKERFILE, flags=re.M)
    assert interpolate(argument, {}) == default.replace("${TRITON_VERSION}", version)
    assert interpolate(argument, {"TRITON_VERSION": "27.01"}) == default.replace("${TRITON_VERSION}", "27.01")
    digest = f"registry/tritonserver@sha256:{'0' * 64}"
    assert interpolate(argument, {"BASE_IMAGE": digest}) == digest


def test_all_but_pytorch_is_installed_by_hash():
    installs = [line for line in instructions(DOCKERFILE) if line.startswith("RUN pip install")]
    assert [line.removeprefix("RUN pip install ") for line in installs] == [
        "--require-hashes --requirement requirements/container.lock",
        "--require-hashes --requirement requirements/export.lock"
        " && pip install --require-hashes --no-deps --requirement requirements/weights.txt",
        "--requirement requirements/export.txt --constraint requirements/constraints.txt",
    ]


def test_weights_and_the_virtual_environment_stay_out_of_the_build_context():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    sent = {name.split("/")[0] for name in tracked if not ignored(name)}
    assert sent == {"answers", "export", "preprocess", "requirements", "server", "sounds", "systems"}
    assert all(map(ignored, (".venv/bin/python", "model_repository/x/1/model.onnx", "answers/__pycache__/a.pyc")))


@pytest.fixture
def models(tmp_path):
    return tiny.write_repository(tmp_path / "host" / "models")


@pytest.fixture
def server(tmp_path, models):
    """The image that serves, with the tiny system mounted."""
    image = Image(tmp_path / "root", "server")
    image.mount("triton-gpu", {"./model_repository": models}, {})
    assert image.user == "1000:1000"
    return image


def run(image: Image, service: str, words: list[str], **given: str) -> subprocess.CompletedProcess:
    """A command in a service's container; `given` is the user's environment."""
    return subprocess.run(
        image.command(words),
        cwd=image.inside("."),
        env=image.variables(service, given) | {key: given[key] for key in given if key.startswith("LD_")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_container_serves_and_its_health_check_finds_it_well(server, models, tmp_path):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = dict(zip(("http", "grpc", "metrics"), (s.getsockname()[1] for s in sockets), strict=True))
    server.install(installation.find_installation(), ports)
    # A step finds ours as it does in the image, from any folder.
    step = models / "tiny_postprocess/1/model.py"
    step.write_text(
        f"import os, answers.genre\nassert answers.__file__.startswith({str(server.root)!r})\n"
        f'assert "onnxruntime" in os.environ["TRITONE_COMPUTED"]\n{step.read_text()}'
    )
    log = tmp_path / "log.txt"
    container = subprocess.Popen(
        server.command([*server.entrypoint, *COMPOSE["services"]["triton-gpu"]["command"]]),
        cwd=server.inside("."),
        env=server.variables("triton-gpu", {}),
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{ports['http']}"

        def ready():
            assert container.poll() is None, log.read_text()
            try:
                return urllib.request.urlopen(f"{url}/v2/health/ready").status == 200
            except OSError:
                return False

        wait_until(ready)
        assert f"tritone: version {__version__}, starting tiny on onnxruntime" in log.read_text()
        command, *words = COMPOSE["services"]["triton-gpu"]["healthcheck"]["test"]
        assert (command, words[-1]) == ("CMD", "--stop-after=3")  # which would end process 1, here not ours
        healthy = run(server, "triton-gpu", [*words[:-1], f"--url={url}"])
        assert healthy.returncode == 0, healthy.stderr
        with pytest.raises(urllib.error.HTTPError) as closed:
            urllib.request.urlopen(f"{url}/v2/repository/models/tiny_raw/load", b"{}")
        assert closed.value.code == 403
    finally:
        container.send_signal(signal.SIGTERM)
        exit_code = container.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(container.pid, signal.SIGKILL)
    assert exit_code == 0  # of tritonserver itself: it took the place of the process that was started
    sick = run(server, "triton-gpu", [*words[:-1], f"--url={url}"])
    assert sick.returncode == 1


def choose(image: Image, **given: str) -> tuple[int, list[str], str]:
    """Exit code, flags and what is said."""
    done = run(image, "triton-gpu", ["python3", "-m", "server.choose"], **given)
    assert done.stderr.count("\n") == 1, done.stderr
    lines = done.stdout.splitlines()
    if done.returncode == 0:  # for the answers, see server/runtime_info.py
        assert json.loads(lines.pop()).keys() == {"tiny"}
    return done.returncode, lines, done.stderr


def test_what_is_chosen_in_the_container_and_why(server, models, tmp_path):
    repository = f"--model-repository={server.inside('/opt/tritone/model_repository')}"
    assert choose(server)[:2] == (0, [repository, "--load-model=tiny_raw"])
    driver = {"LD_LIBRARY_PATH": str(nvml.build(tmp_path / "nvml"))}

    code, flags, said = choose(server, **driver)
    assert (code, flags) == (0, [repository, "--load-model=tiny_raw"])
    assert "not tensorrt: Variant tensorrt needs the package tensorrt" in said
    assert "not cuda: Variant cuda needs the package onnxruntime-gpu" in said

    folder = models / "tiny_network/1"
    explaining = models / "tiny_explain/1/model.onnx"
    explaining.parent.mkdir(parents=True)
    explaining.write_bytes(b"maps")
    made = {"bytes": 4, "made_from": {"sha256": tiny.sha256(models)}}
    tiny.declare(models, explain=made | {"file": "../../tiny_explain/1/model.onnx"})
    assert choose(server)[1][1:] == ["--load-model=tiny_raw", "--load-model=tiny_explain"]

    server.inside("/opt/tritonserver/backends/onnxruntime/libonnxruntime_providers_cuda.so").touch()
    (folder / "model.fp16.onnx").write_bytes(b"half")
    tiny.declare(models, fp16=made | {"file": "model.fp16.onnx"})
    code, flags, said = choose(server, **driver)
    assert (code, flags[-1]) == (0, "--model-config-name=cuda")
    laid_out = Path(flags[0].partition("=")[2])  # with as many processes as there are cores
    assert flags[0] != repository and (laid_out / "tiny_network").resolve() == (models / "tiny_network").resolve()
    assert "starting tiny on cuda: this machine has a GPU (NVIDIA H200); not tensorrt" in said

    bindings = server.inside("/opt/tritone/tensorrt_cu13_bindings-11.0.0.114.dist-info")
    bindings.mkdir()
    (bindings / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tensorrt_cu13_bindings\nVersion: 11.0.0.114\n"
    )
    (folder / "model.plan").write_bytes(b"plan")
    gpu = {"name": "NVIDIA H200", "compute_capability": "9.0"}
    (folder / "plan.json").write_text(
        json.dumps(made | {"tensorrt": "11.0.0.114", "gpu": gpu, "precision": "fp16"})
    )
    assert choose(server, **driver)[1][-1] == "--model-config-name=tensorrt"

    (folder / "plan.json").write_text(json.dumps(made | {"tensorrt": "10.14.1.48", "gpu": gpu}))
    code, flags, said = choose(server, TRITONE_VARIANT="tensorrt", **driver)
    assert (code, flags) == (2, [])
    assert "TensorRT 10.14.1.48" in said and "TensorRT 11.0.0.114" in said
    assert said.endswith("rebuild it: docker compose run --rm export tiny\n")


@pytest.mark.parametrize("service", SERVING)
def test_a_container_without_weights_ends_before_triton_starts(server, models, service):
    (models / "tiny_network/1/manifest.json").unlink()
    done = run(server, service, server.entrypoint)
    assert done.returncode == 2
    assert "run make export" in done.stderr


@pytest.fixture
def export(tmp_path):
    """The image that exports; its service's entry point takes the place of the image's."""
    image = Image(tmp_path / "root", "export")
    folders = {}
    for name in ("./model_repository", "./weights", "checkpoints", "cache"):
        folders[name] = tmp_path / "host" / name
        folders[name].mkdir(parents=True)
    for name in ("checkpoints", ".cache"):
        assert image.inside(name).is_dir(), "a named volume would begin as root's"
    image.mount("export", folders, {"CHECKPOINTS": "./weights"})
    assert image.user == "1000:1000"
    return image


ENTRYPOINT = COMPOSE["services"]["export"]["entrypoint"]


def test_the_export_command_explains_itself(export):
    done = run(export, "export", [*ENTRYPOINT, "--help"])
    assert done.returncode == 0, done.stderr
    assert "usage: python -m export " in done.stdout
    assert "usage: python -m export tensorrt " in done.stdout
    one = run(export, "export", [*ENTRYPOINT, "explain", "--help"]).stdout
    assert one.startswith("usage: python -m export explain ") and one.count("usage: ") == 1


def test_weights_are_looked_for_where_they_are_mounted(export, tmp_path):
    done = run(export, "export", [*ENTRYPOINT, "vgg19_bn_cqt"], CHECKPOINTS="./weights")
    assert done.returncode == 2
    assert str(export.inside("/opt/tritone/weights")) in done.stderr


def test_without_a_gpu_no_plan_is_built_and_one_line_says_so(export, tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"none")
    done = run(export, "export", ["python3", "-m", "export", "tensorrt"], LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 2
    assert re.fullmatch(r"export tensorrt: there is no NVIDIA GPU here.*\n", done.stderr)
    assert list(export.inside("/opt/tritone/model_repository").iterdir()) == []


def test_every_module_finds_what_it_imports(export):
    """Ours in the folders that the Dockerfile copies, and no package that it does not install."""
    folders = ["preprocess", "answers", "sounds", "export", "server"]
    names = [f"{folder}.{path.stem}" for folder in folders for path in (ROOT / folder).glob("*.py")]
    names = [name for name in names if not name.endswith("__") and name != "export.int8"]  # which needs OpenVINO
    assert len(names) > 40
    program = f"""
import importlib, sys, types
sys.modules["triton_python_backend_utils"] = types.ModuleType("Triton's own")
absent = ["openvino", "pytriton", "librosa", "matplotlib", "tests", "bench", "tuning"]
sys.modules |= dict.fromkeys(absent)
for name in {names}:
    assert importlib.import_module(name).__file__.startswith({str(export.root)!r})
"""
    done = run(export, "export", ["python3", "-c", program])
    assert done.returncode == 0, done.stderr


PACKAGES = {"PIL": "pillow", "google": "protobuf", "pynvml": "nvidia-ml-py"}  # import name -> package
BESIDE = {"triton_python_backend_utils", "rows", "scheduler", "plan", "planned"}  # each model.py that imports them


@pytest.mark.parametrize(
    ("target", "optional"),
    [  # for spectrograms on the GPU, before Python 3.11; for INT8
        ("server", {"torch", "tomli"}),
        ("export", {"openvino"}),
    ],
)
def test_the_image_installs_every_package_that_is_imported(target, optional, tmp_path):
    image = Image(tmp_path / "root", target)
    ours = {path.name for path in image.inside(".").iterdir()} | BESIDE | sys.stdlib_module_names
    seen = set()
    for file in image.inside(".").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            seen |= {name.partition(".")[0] for name in names} - ours
    assert {"numpy", "pynvml"} <= seen
    packages = {PACKAGES.get(name, name).replace("_", "-") for name in seen}
    assert packages <= image.packages | optional


def test_the_bindings_are_those_of_the_libraries_in_the_image(tmp_path):
    from server.tensorrt_bindings import requirement

    parts = {"Major": 11, "Minor": 0, "Patch": 3}
    source = "".join(f"int getInferLib{part}Version(void) {{ return {value}; }}" for part, value in parts.items())
    library = tmp_path / "libnvinfer.so.11"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"]
    subprocess.run(command, input=source, text=True, check=True)
    assert requirement(str(library), "13.3.0.012") == "tensorrt-cu13-bindings==11.0.3.*"


def test_an_image_without_tensorrt_cannot_be_built():
    script = ["-I", "server/tensorrt_bindings.py"]
    done = subprocess.run([sys.executable, *script], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no libnvinfer or no CUDA_VERSION" in done.stderr


def test_the_layout_refuses_what_it_does_not_know(tmp_path):
    lines = instructions("# comment\nRUN a \\\n    # inside\n    && b\n\nCOPY x y\n")
    assert lines == ["RUN a && b", "COPY x y"]
    image = Image(tmp_path / "root", "server")
    with pytest.raises(AssertionError, match="does not know RUN apt-get"):
        image._run("apt-get update")
    with pytest.raises(AssertionError, match="there is none"):
        image._copy("nowhere there")
    with pytest.raises(AssertionError, match="keeps it out"):
        image._copy("README.md there")
