"""TensorRT for real, on a GPU: a small network is built, compared, kept, and run through the plan runner."""

import contextlib

import numpy as np
import onnxruntime
import pytest

from export import tensorrt
from export.tensorrt import find_gpu, why_impossible
from server.backends.plan import Plan, load_tensorrt
from server.variants import Machine, why_not
from systems.repository import Repository
from tests.support.plans import SPEECH, SYSTEM, declare, folder_of, report, run, write_repository

GPU = find_gpu()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(why := why_impossible(GPU)), reason=why or "")]


@pytest.fixture
def place(tmp_path):
    return write_repository(tmp_path)


@pytest.mark.parametrize("system", [SYSTEM, SPEECH], ids=lambda system: system.name)
def test_a_plan_is_built_and_answers_like_onnx_runtime(place, system, capfd):
    assert run(place, "--precision=fp32", system=system) == 0
    folder, made = folder_of(place, system), report(place, system)
    assert made["tensorrt"] == load_tensorrt().__version__
    assert made["gpu"] == {"name": GPU.name, "compute_capability": GPU.compute_capability}
    assert made["driver"] == GPU.driver
    assert made["parity"]["agreement"] == 1
    here = Machine(frozenset(), openvino=False, gpu=GPU, tensorrt=made["tensorrt"])
    assert why_not("tensorrt", here, Repository(place / "models"), [system.name]) is None
    assert (folder / "model.plan.log").read_text()
    assert run(place, "--precision=fp32", system=system) == 0
    assert "nothing to do" in capfd.readouterr().out

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    with contextlib.closing(Plan(folder / "model.plan")) as plan:
        for rows in (1, 5, 32, 2):
            feeds = {
                name: np.full((rows, 1), 30000, dtype)
                if dtype == np.int64
                else rng.normal(size=(rows, *(n if n > 0 else 30000 for n in shape[1:]))).astype(dtype)
                for name, (dtype, shape) in plan.inputs.items()
            }
            [found], [expected] = plan.run(feeds, ["LOGITS"]), session.run(["LOGITS"], feeds)
            np.testing.assert_allclose(found, expected, atol=1e-2, rtol=1e-2)  # TF32
        with pytest.raises(ValueError, match="the plan accepts"):
            plan.run({name: np.concatenate([x] * 17) for name, x in feeds.items()}, ["LOGITS"])


def test_timings_are_used_again_and_broken_ones_replaced(place, capfd):
    assert run(place, "--precision=fp32") == run(place, "--precision=fp32", "--force") == 0
    assert "ignoring" not in capfd.readouterr().out
    [timings] = (place / "timings").iterdir()
    timings.write_bytes(b"broken")
    assert run(place, "--precision=fp32", "--force") == 0
    assert f"ignoring {timings}" in capfd.readouterr().out
    assert len(timings.read_bytes()) > len(b"broken")


def test_a_network_that_tensorrt_cannot_parse_is_refused(place, capfd):
    folder = folder_of(place)
    (folder / "model.onnx").write_bytes(b"no network")
    declare(folder)
    assert run(place, "--precision=fp32") == 2
    assert "cannot parse" in capfd.readouterr().err
    assert not list(folder.glob("*plan*json")) and not (folder / tensorrt.PLAN_FILE).exists()
