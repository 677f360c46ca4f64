"""What a GPU changes: how it is found, which variant is chosen on it, and each refusal with its sentence."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from server import gpu, variants
from server.errors import ServerError
from server.gpu import Gpu, find_gpu
from server.variants import Machine
from systems.repository import Repository
from tests.server import nvml
from tests.support import tiny
from tests.support.launcher import infer
from tests.support.project import ROOT

H200 = Gpu("NVIDIA H200", "9.0", 150754820096, "580.65.06")
TENSORRT = "11.4.0.106"
AMX = frozenset({"amx_bf16"})
WHOLE = Machine(AMX, True, H200, onnxruntime_cuda=True, tensorrt=TENSORRT)
RTX = "1.7.1.116"
RTX4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9", 25757220864, "580.65.06")
DESKTOP = replace(WHOLE, gpu=RTX4090, tensorrt=None, tensorrt_rtx=RTX)


def choose(requested: str, machine: Machine, models: Path, systems: list[str]) -> tuple[str, str]:
    """As the server's start, which reads the models anew."""
    return variants.choose(requested, machine, Repository(models), systems)


def why_unfit(models: Path, here: Gpu = H200) -> str | None:
    return variants.why_not("tensorrt", replace(WHOLE, gpu=here), Repository(models), ["tiny"])


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Folder of a libnvidia-ml.so.1."""
    return nvml.build(tmp_path_factory.mktemp("nvml"))


def found(library: Path | None, visible: str | None) -> dict | None:
    """What `find_gpu` finds in a process of its own."""
    program = "import json; from server.gpu import find_gpu; g = find_gpu(); print(json.dumps(g and vars(g)))"
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment |= {"LD_LIBRARY_PATH": str(library)} if library else {}
    environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("visible", [None, "0", "0,1", nvml.UUID])
def test_the_gpu_is_found_through_its_driver(driver, visible):
    assert found(driver, visible) == asdict(H200)


@pytest.mark.parametrize("visible", ["1", "", "-1", "GPU-other"])
def test_a_gpu_that_is_hidden_or_not_there_is_not(driver, visible):
    assert found(driver, visible) is None


def test_cuda_numbers_gpus_as_the_driver_does(monkeypatch):
    """By itself it calls the fastest 0: a plan would be built on one and described as another's."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    find_gpu()
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.delenv("CUDA_DEVICE_ORDER")


def test_no_driver_and_no_package(monkeypatch, tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")  # found before that of a machine which has one
    assert found(tmp_path, None) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.find_gpu() is None


@pytest.mark.gpu
def test_the_gpu_of_this_machine():
    here = gpu.find_gpu()
    if here is None:
        pytest.skip("this machine has no NVIDIA GPU")
    query = ["nvidia-smi", "--id=0", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    assert said.split(", ") == [here.name, here.compute_capability, here.driver]


@pytest.fixture
def models(tiny_repository):
    """The tiny system with an FP16 network and a plan, as export leaves them."""
    folder = tiny_repository / "tiny_network" / "1"
    (folder / "model.fp16.onnx").write_bytes(b"half")
    (folder / "model.plan").write_bytes(b"plan")
    of = tiny.sha256(tiny_repository)
    write(folder / "manifest.json", fp16=made("model.fp16.onnx", of))
    report = made("model.plan", of) | {"tensorrt": TENSORRT, "gpu": asdict(H200), "precision": "fp16"}
    write(folder / "plan.json", **report)
    (folder / "model.rtx.plan").write_bytes(b"plan")
    capabilities = ["8.6", "8.9", "12.0", "12.1"]
    report = made("model.rtx.plan", of) | {"tensorrt_rtx": RTX, "compute_capabilities": capabilities}
    write(folder / "plan.rtx.json", **report)
    return tiny_repository


def made(file: str, of: str) -> dict:
    return {"file": file, "bytes": 4, "made_from": {"sha256": of}}


def write(path: Path, **entries: object) -> None:
    """Add to a JSON file, or replace in it."""
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(before | entries))


@pytest.mark.parametrize(
    ("machine", "variant", "reasons"),
    [
        (WHOLE, "tensorrt", ["a GPU (NVIDIA H200)"]),
        (
            replace(WHOLE, tensorrt=None),
            "cuda",
            ["a GPU (NVIDIA H200)", "not tensorrt: Variant tensorrt needs the package"],
        ),
        (replace(WHOLE, onnxruntime_cuda=False), "tensorrt", ["a GPU (NVIDIA H200)"]),
        (
            replace(WHOLE, tensorrt="11.0.0.114", onnxruntime_cuda=False),
            "openvino",
            ["this CPU has AMX", "not tensorrt: tiny: model.plan was", "not cuda: Variant cuda needs the package"],
        ),
        (
            DESKTOP,
            "tensorrt_rtx",
            ["a GPU (NVIDIA GeForce RTX 4090); not tensorrt: Variant tensorrt needs the package"],
        ),
        (replace(DESKTOP, tensorrt=TENSORRT), "tensorrt_rtx", ["not tensorrt: tiny: model.plan was built"]),
        (
            replace(DESKTOP, tensorrt_rtx=None),
            "cuda",
            ["not tensorrt_rtx: Variant tensorrt_rtx needs TensorRT-RTX and the embedded server; install it"],
        ),
        (
            replace(WHOLE, tensorrt=None, tensorrt_rtx=RTX),
            "cuda",
            [
                "not tensorrt_rtx: Variant tensorrt_rtx is for GPUs of compute capability 7.5, 8.6, 8.9, 12.0,"
                " 12.1; this machine has 9.0 (NVIDIA H200); start with --variant auto"
            ],
        ),
        (replace(WHOLE, gpu=None), "openvino", ["this CPU has AMX, with which OpenVINO computes in bfloat16"]),
    ],
)
def test_the_best_that_can_run_is_chosen_and_why_no_better_one(models, machine, variant, reasons):
    chosen, why = choose("auto", machine, models, ["tiny"])
    assert chosen == variant
    for reason in reasons:
        assert reason in why
    assert why.count("not ") >= sum("not " in reason for reason in reasons)


@pytest.mark.parametrize(("variant", "machine"), [("tensorrt", WHOLE), ("cuda", WHOLE), ("tensorrt_rtx", DESKTOP)])
def test_what_was_asked_for_and_can_run(models, variant, machine):
    assert choose(variant, machine, models, ["tiny"]) == (variant, "as requested")


@pytest.mark.parametrize("capability", ["8.6", "12.0", "12.1"])
def test_one_plan_of_tensorrt_rtx_is_for_every_later_card(models, capability):
    machine = replace(DESKTOP, gpu=replace(RTX4090, compute_capability=capability))
    assert choose("auto", machine, models, ["tiny"])[0] == "tensorrt_rtx"


def test_a_plan_that_tensorrt_rtx_cannot_run_here_is_refused_with_the_command(models):
    def why(machine):
        return variants.why_not("tensorrt_rtx", machine, Repository(models), ["tiny"])

    turing = replace(DESKTOP, gpu=Gpu("Tesla T4", "7.5", 1 << 34, "580.65.06"))
    assert why(turing) == (
        "tiny: model.rtx.plan was built with TensorRT-RTX 1.7.1.116 for compute capability 8.6, 8.9, 12.0, 12.1,"
        " this machine has TensorRT-RTX 1.7.1.116 and 7.5 (Tesla T4); rebuild it:"
        " python -m export tensorrt_rtx tiny --turing"
    )
    newer = why(replace(DESKTOP, tensorrt_rtx="1.8.0.1"))
    assert "this machine has TensorRT-RTX 1.8.0.1 and 8.9" in newer and newer.endswith("export tensorrt_rtx tiny")
    report = models / "tiny_network" / "1" / "plan.rtx.json"
    write(report, compute_capabilities=None)
    assert why(DESKTOP) == (
        "tiny: plan.rtx.json does not say what built model.rtx.plan; rebuild it:"
        " python -m export tensorrt_rtx tiny"
    )
    report.unlink()
    assert why(DESKTOP) == (
        f"tiny has no TensorRT-RTX plan of its present weights in {models}: run python -m export tensorrt_rtx tiny"
    )


@pytest.mark.parametrize(
    ("variant", "machine", "sentence"),
    [
        ("tensorrt", replace(WHOLE, gpu=None), "Variant tensorrt needs an NVIDIA GPU, .*nvidia-smi"),
        ("cuda", replace(WHOLE, gpu=None), "Variant cuda needs an NVIDIA GPU"),
        ("tensorrt", replace(WHOLE, tensorrt=None), "Variant tensorrt needs the package tensorrt; .*make gpu"),
        (
            "cuda",
            replace(WHOLE, onnxruntime_cuda=False),
            "Variant cuda needs the package onnxruntime-gpu .*make gpu",
        ),
    ],
)
def test_a_machine_that_cannot_run_what_was_asked_for(models, variant, machine, sentence):
    with pytest.raises(ServerError, match=sentence):
        choose(variant, machine, models, ["tiny"])


def test_a_plan_of_another_tensorrt_and_gpu_is_refused_with_both_versions_and_the_command(models, monkeypatch):
    folder = models / "tiny_network" / "1"
    a100 = {"name": "NVIDIA A100", "compute_capability": "8.0", "driver": "535"}
    write(folder / "plan.json", tensorrt="10.14.1.48", gpu=a100)
    sentence = (
        "tiny: model.plan was built with TensorRT 10.14.1.48 for compute capability 8.0 (NVIDIA A100), this "
        "machine has TensorRT 11.4.0.106 and 9.0 (NVIDIA H200); rebuild it: python -m export tensorrt tiny"
    )
    assert why_unfit(models) == sentence
    write(folder / "plan.json", tensorrt=TENSORRT)  # the GPU alone
    assert "for compute capability 8.0 (NVIDIA A100)" in why_unfit(models)
    write(folder / "plan.json", tensorrt="11.4.0.99", gpu=asdict(H200))  # TensorRT alone, another build of it
    monkeypatch.setenv("TRITONE_EXPORT_COMMAND", "docker compose run --rm export")
    said = why_unfit(models)
    assert said.endswith("rebuild it: docker compose run --rm export tiny")


def test_a_plan_of_another_gpu_with_the_same_compute_capability_fits(models):
    h100 = Gpu("NVIDIA H100", "9.0", 85899345920, "570")
    assert why_unfit(models, h100) is None


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "model.plan").unlink(),
        lambda folder: (folder / "plan.json").unlink(),
        lambda folder: (folder / "model.plan").write_bytes(b"cut"),
        lambda folder: (folder / "plan.json").write_text("{"),
        lambda folder: (folder / "plan.json").write_text("[1]"),
        lambda folder: (folder / "plan.json").write_text("{}"),
        lambda folder: write(folder / "manifest.json", onnx={"sha256": "b"}),
    ],
)
def test_a_plan_that_is_not_whole_or_of_other_weights_is_refused(models, break_it):
    assert why_unfit(models) is None
    break_it(models / "tiny_network" / "1")
    assert why_unfit(models) == (
        f"tiny has no TensorRT plan of its present weights in {models}: run python -m export tensorrt tiny"
    )


@pytest.mark.parametrize("gpu", [None, "H200", {"name": "NVIDIA H200"}])
def test_a_plan_of_which_nobody_says_what_built_it_is_refused(models, gpu):
    write(models / "tiny_network" / "1" / "plan.json", gpu=gpu)
    assert why_unfit(models) == (
        "tiny: plan.json does not say what built model.plan; rebuild it: python -m export tensorrt tiny"
    )


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "model.fp16.onnx").unlink(),
        lambda folder: (folder / "model.fp16.onnx").write_bytes(b"cut"),
        lambda folder: write(folder / "manifest.json", fp16=None),
        lambda folder: write(folder / "manifest.json", onnx={"sha256": "b"}),
    ],
)
def test_cuda_needs_the_fp16_network_of_the_present_weights(models, break_it):
    break_it(models / "tiny_network" / "1")
    sentence = "tiny has no FP16 network of its present weights in .*: run python -m export fp16 tiny"
    with pytest.raises(ServerError, match=sentence):
        choose("cuda", WHOLE, models, ["tiny"])


def test_every_served_system_must_have_a_plan(models, tmp_path):
    other = tiny.write_repository(tmp_path / "other") / "tiny_network"
    other.rename(models / "other_network")
    variant, why = choose("auto", WHOLE, models, ["tiny", "other"])
    assert variant == "openvino"
    assert "not tensorrt: other has no TensorRT plan" in why
    assert "not cuda: other has no FP16 network" in why
    config = models / "other_network" / "configs" / "tensorrt.pbtxt"
    config.write_text(tiny.NETWORK % ("other_network", "onnxruntime"))  # from model.onnx, on purpose
    assert choose("auto", WHOLE, models, ["tiny", "other"])[0] == "tensorrt"


def test_the_packages_are_looked_for_only_where_there_is_a_gpu(monkeypatch, tmp_path):
    for name in ("onnxruntime", "openvino"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(variants, "find_gpu", lambda: None)
    monkeypatch.setattr(variants, "version_of", lambda _: pytest.fail("looked for TensorRT without a GPU"))
    assert Machine.here().gpu is None
    monkeypatch.setattr(variants, "find_gpu", lambda: H200)
    monkeypatch.setattr(variants, "version_of", {variants.BINDINGS: TENSORRT, variants.RTX_BINDINGS: RTX}.get)
    here = Machine.here()
    assert (here.gpu, here.tensorrt, here.tensorrt_rtx) == (H200, TENSORRT, RTX)
    provider = (
        Path(importlib.metadata.distribution("numpy").locate_file("onnxruntime/capi")) / variants.CUDA_PROVIDER
    )
    assert here.onnxruntime_cuda == provider.is_file()
    in_the_image = replace(here, openvino=True, onnxruntime_cuda=False, tensorrt_rtx=None)
    assert Machine.here(tmp_path) == in_the_image
    (tmp_path / "onnxruntime" / variants.CUDA_PROVIDER).touch()
    assert Machine.here(tmp_path).onnxruntime_cuda
    (tmp_path / "openvino").rmdir()
    assert not Machine.here(tmp_path).openvino


def test_the_version_of_tensorrt_is_read_without_importing_it(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "tensorrt_bindings" not in sys.modules
    for name, version in (("tensorrt", "9.0"), ("tensorrt_cu13_bindings", "10.13.3.9.post1")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    assert variants.version_of(variants.BINDINGS) == "10.13.3.9"
    assert "tensorrt_bindings" not in sys.modules


def test_the_launcher_refuses_before_triton_starts(launch, tiny_repository):
    if gpu.find_gpu():
        pytest.skip("this machine has an NVIDIA GPU")
    launcher = launch("--variant=tensorrt")
    assert launcher.process.wait(20) == 2
    assert launcher.log.count("\n") == 1
    assert "Variant tensorrt needs an NVIDIA GPU" in launcher.log


@pytest.mark.gpu
def test_served_by_onnxruntime_on_a_gpu(launch, models):
    if not Machine.here().onnxruntime_cuda:
        pytest.skip("this machine has no NVIDIA GPU, or onnxruntime-gpu is not installed: make gpu")
    folder = models / "tiny_network"
    shutil.copy(folder / "1/model.onnx", folder / "1/model.fp16.onnx")
    size = (folder / "1/model.fp16.onnx").stat().st_size
    write(folder / "1/manifest.json", fp16=made("model.fp16.onnx", tiny.sha256(models)) | {"bytes": size})
    config = (tiny.NETWORK % ("tiny_network", "onnxruntime")).replace("model.onnx", "model.fp16.onnx")
    (folder / "configs/cuda.pbtxt").write_text(config.replace("KIND_CPU", "KIND_GPU"))
    launcher = launch("--variant=cuda").until_ready()
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    np.testing.assert_allclose(infer(launcher, rows), rows @ tiny.WEIGHTS + tiny.BIAS, atol=0.01)
    assert launcher.classify(tiny.wav(2))["rows"] == 2
