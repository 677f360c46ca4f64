"""All that is asked of TensorRT, TensorRT-RTX and CUDA exists in their real Python modules.

TensorRT-RTX is installed. The wheels of TensorRT 10.12 and 11 come from the package registry, without the
libraries: its bindings import where ten functions of them are found, so a compiler makes those. What is looked up
is what the fakes recorded and what the source names.
"""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export import engine
from server.backends import plan
from tests.support.plans import SPEECH, folder_of, run, write_plan
from tests.support.project import ROOT
from tests.support.rtx import real

CACHE = ROOT / ".cache" / "tests" / "wheels"
PINS = dict(
    line.partition(" ")[0].split("==")
    for file in ("tensorrt.txt", "plan.txt")
    for line in (ROOT / "requirements" / file).read_text().splitlines()
    if re.match(r"[\w-]+==", line)
)
BINDINGS = {
    10: ["tensorrt-cu12-bindings==10.12.0.36"],  # the oldest that export.tensorrt accepts
    11: [f"tensorrt-cu13-bindings=={PINS['tensorrt-cu13-bindings']}"],
}
CUDA = [f"{name}=={PINS[name]}" for name in ("cuda-bindings", "cuda-pathfinder")]
SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins", "getInferLibVersion"),
)
SOURCES = [Path(module.__file__) for module in (engine, plan)]

LOOK_UP = """
import json, re, sys
import plan
used = json.load(sys.stdin)
trt = getattr(plan, sys.argv[1] if len(sys.argv) > 1 else "load_tensorrt")()
HOME = trt.ILogger.__module__
TYPES = {
    "int": {"int", "typing.SupportsInt"},
    "bytes": {"buffer", "typing_extensions.Buffer"},
    "tuple": {"tuple", f"{HOME}.Dims"},
    "IRuntimeCache": {"nvinfer1::IRuntimeCache"},
}
problems = []

def signatures(owner, name):
    # Parameters of every overload, without self: [(name, type, whether it may be left out)]
    for line in getattr(owner, name).__doc__.splitlines():
        if found := re.match(rf"\\s*(?:\\d+\\. )?{name}\\((.*)\\) -> .+", line):
            parts = [part for part in re.split(r", (?![^\\[]*\\])", found[1])]
            named = [re.match(r"(\\w+): ([\\w.:]+)( = .*)?", part) for part in parts if ": " in part][1:]
            yield [(part[1], part[2], bool(part[3])) for part in named]

def fits(parameters, positional, keywords):
    names = [name for name, *_ in parameters]
    given = dict(zip(names, positional)) | keywords
    if len(positional) > len(names) or not set(given) <= set(names):
        return False
    for name, wanted, optional in parameters:
        found = given.get(name)
        if found is None and not optional:
            return False
        if found and wanted not in TYPES.get(found, {found, f"{HOME}.{found}"}):
            return False
    return True

for name in used["names"]:
    value = trt
    for part in name.split("."):
        value = getattr(value, part, None)
    if value is None:
        problems.append(f"there is no {name}")
for owner, name in used["touched"]:
    if not hasattr(getattr(trt, owner), name):
        problems.append(f"{owner} has no {name}")
for owner, name, positional, keywords in used["calls"]:
    if name.endswith(" ="):
        known = getattr(trt, owner).__dict__.get(name[:-2])
        if getattr(known, "fset", None) is None:
            problems.append(f"{owner}.{name[:-2]} cannot be set")
    elif not any(fits(s, positional, keywords) for s in signatures(getattr(trt, owner), name)):
        problems.append(f"{owner}.{name} does not take {positional} {keywords}")
for owner, name, parameters in used["overrides"]:
    if not any([n for n, *_ in s] == parameters for s in signatures(getattr(trt, owner), name)):
        problems.append(f"{owner}.{name} is not called with {parameters}")
print(json.dumps({
    "problems": problems,
    "version": trt.__version__,
    "flags": sorted(trt.BuilderFlag.__members__),
    "strongly typed": "STRONGLY_TYPED" in trt.NetworkDefinitionCreationFlag.__members__,
}))
"""

SUBCLASSES = """
import json
from collections import deque
from plan import load_tensorrt, make_logger
from export.engine import _interruptible
trt, errors, lines = load_tensorrt(), deque(), []
logger = make_logger(trt, errors, lines.append)
for severity in ("ERROR", "INTERNAL_ERROR", "WARNING", "VERBOSE"):
    logger.log(getattr(trt.ILogger.Severity, severity), severity.lower())

class Builder:
    def build_serialized_network(self, network, config):
        assert isinstance(config.progress_monitor, trt.IProgressMonitor)
        config.progress_monitor.phase_start("all", None, 1)
        config.progress_monitor.phase_finish("all")
        return config.progress_monitor.step_complete("all", 0)

class Config:
    pass

print(json.dumps([list(errors), lines, _interruptible(trt, Builder(), None, Config())]))
"""


def wheels(requirements: list[str]) -> Path:
    """A folder with the unpacked wheels of this Python, kept for the next time."""
    folder = CACHE / f"{requirements[0]}-{sys.implementation.cache_tag}"
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.partial")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        done = subprocess.run([*command, "-d", unfinished, *requirements], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip cannot fetch {' '.join(requirements)}: {done.stderr.strip().splitlines()[-1]}")
        for wheel in unfinished.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unfinished)
            wheel.unlink()
        unfinished.rename(folder)
    return folder


def python(
    script: str, *paths: Path, libraries: Path | None = None, stdin: str = "", arguments: tuple[str, ...] = ()
) -> object:
    """What a script prints, as JSON, run with the packages of these folders."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            map(str, (*paths, ROOT / "server" / "backends", ROOT, os.environ.get("PYTHONPATH", "")))
        )
    }
    if libraries:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], input=stdin, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=BINDINGS)
def bindings(request, tmp_path):
    """Runs a script that can import the real bindings of a TensorRT; its major version."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler (cc) to make TensorRT's functions with")
    folder, libraries = wheels(BINDINGS[request.param]), tmp_path / "libraries"
    libraries.mkdir()
    source = libraries / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        name = f"lib{library}.so.{request.param}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", libraries / name, source]
        subprocess.run(command, check=True)
    return request.param, lambda script, stdin="": python(script, folder, libraries=libraries, stdin=stdin)


def chains(variables: set[str], sources: list[Path] = SOURCES, without: str = "") -> set[str]:
    """Dotted names behind variables in the source, but for one class: `trt.A.B` and `self._trt.A.B` are A.B."""
    found = set()
    for source in sources:
        tree = ast.parse(source.read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", None) != without]
        inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node not in inner:
                parts = ast.unparse(node).removeprefix("self._").split(".")
                if parts[0] in variables and len(parts) > 1:
                    found.add(".".join(parts[1:]))
    return found


def overrides(value: object, owner: str) -> list[tuple[str, str, list[str]]]:
    """Methods that a class of ours defines in place of TensorRT's: class, name, parameters."""
    methods = inspect.getmembers(type(value), inspect.isfunction)
    return [
        (owner, name, list(inspect.signature(method).parameters)[1:])
        for name, method in methods
        if not name.startswith("_") and name in vars(type(value))
    ]


@pytest.fixture
def used(place, trt, monkeypatch):
    """What one build and its comparison, and all that can be refused, ask of TensorRT."""
    assert run(place) == 0
    for name, value in {"parser_errors": ["no"], "build_error": "no", "no_room": True}.items():
        with monkeypatch.context() as spoilt:
            spoilt.setattr(trt, name, value)
            assert run(place, "--force") == 2
    assert run(place, system=SPEECH) == 0
    rows = np.zeros((33, 3, 224, 224), np.float32)
    with pytest.raises(ValueError, match="the plan accepts"):
        plan.Plan(folder_of(place) / "model.plan").run({"ROWS": rows}, ["LOGITS"])
    [logger, *_] = (args[0] for owner, name, args, _ in trt.CALLS if (owner, name) == ("Builder", "__init__"))
    [monitor, *_] = (args[0] for _, name, args, _ in trt.CALLS if name == "progress_monitor =")
    return {
        "names": sorted(chains({"trt"}, without="RtxPlan")),
        **recorded(trt),
        "overrides": overrides(logger, "ILogger") + overrides(monitor, "IProgressMonitor"),
    }


def recorded(trt) -> dict[str, object]:
    """What the fake has noted: attributes that were touched, and calls with the types of their arguments."""

    def kind(value):
        return trt._real_name(type(value)) if isinstance(value, trt.Recorded) else type(value).__name__

    calls = {
        (owner, name, tuple(map(kind, args)), tuple((key, kind(value)) for key, value in kwargs.items()))
        for owner, name, args, kwargs in trt.CALLS
        if hasattr(trt, owner) and (owner, name) not in MADE_BY_TENSORRT
    }
    called = [(owner, name, args, dict(kwargs)) for owner, name, args, kwargs in calls]
    return {"touched": sorted(trt.TOUCHED), "calls": called}


MADE_BY_TENSORRT = {
    (owner, "__init__")
    for owner in (
        *(
            "INetworkDefinition",
            "ITensor",
            "ParserError",
            "IOptimizationProfile",
            "ITimingCache",
            "IBuilderConfig",
        ),
        *("ICudaEngine", "IExecutionContext", "IRuntimeCache", "IRuntimeConfig"),
    )
} | {("ILogger", "log")}


def test_all_that_is_used_exists_with_these_arguments(bindings, used):
    major, script = bindings
    found = script(LOOK_UP, json.dumps(used))
    assert found["version"].startswith(f"{major}.")
    assert not found["problems"]
    assert found["strongly typed"]
    assert "TF32" in found["flags"] and ("FP16" in found["flags"]) == (major == 10)
    assert len(used["calls"]) > 25 and {"ILogger.Severity.ERROR", "TensorIOMode.INPUT"} <= set(used["names"])


def test_all_that_is_used_of_tensorrt_rtx_s_runtime_exists(tmp_path, trt):
    """Its builder is used for real, in tests/export/test_tensorrt_rtx.py."""
    real()
    path = write_plan(tmp_path / "model.rtx.plan")
    for _ in range(2):  # the second begins with what the first has kept
        engine = plan.RtxPlan(path)
        engine.run({"ROWS": np.zeros((3, 3), np.float32)}, ["LOGITS"])
        engine.close()
    used = {"names": sorted(chains({"trt"}, [Path(plan.__file__)])), **recorded(trt.rtx), "overrides": []}
    found = python(LOOK_UP, stdin=json.dumps(used), arguments=("load_tensorrt_rtx",))
    assert not found["problems"]
    made = {name for _, name, *_ in used["calls"]}
    assert made >= {"deserialize", "serialize", "set_runtime_cache", "cuda_graph_strategy =", "execute_async_v3"}
    assert "DynamicShapesKernelSpecializationStrategy.LAZY" in used["names"]


@pytest.mark.parametrize(
    ("part", "entry", "problem"),
    [
        ("names", "BuilderFlag.FP17", "there is no BuilderFlag.FP17"),
        ("touched", ["Builder", "platform"], "Builder has no platform"),
        ("calls", ["Builder", "create_network", ["str"], {}], "create_network does not take ['str']"),
        (
            "calls",
            ["Builder", "create_network", ["int", "int"], {}],
            "create_network does not take ['int', 'int']",
        ),
        ("calls", ["OnnxParser", "parse_from_file", [], {}], "parse_from_file does not take []"),
        ("calls", ["ITimingCache", "serialize", [], {"to": "str"}], "serialize does not take [] {'to': 'str'}"),
        ("calls", ["INetworkDefinition", "num_inputs =", ["int"], {}], "num_inputs cannot be set"),
        (
            "overrides",
            ["IProgressMonitor", "step_complete", ["step"]],
            "step_complete is not called with ['step']",
        ),
    ],
)
def test_what_does_not_exist_is_found(bindings, part, entry, problem):
    nothing = {"names": [], "touched": [], "calls": [], "overrides": []}
    [found] = bindings[1](LOOK_UP, json.dumps(nothing | {part: [entry]}))["problems"]
    assert problem in found


def test_the_classes_derived_from_tensorrts_work(bindings):
    errors, lines, built = bindings[1](SUBCLASSES)
    assert errors == ["error", "internal_error"]
    assert lines == ["ERROR error", "INTERNAL_ERROR internal_error", "WARNING warning"]
    assert built is True


LOOK_UP_CUDA = """
import inspect, json, re, sys
from plan import load_cuda
cuda, used, problems = load_cuda(), json.load(sys.stdin), []
for name in used["names"]:
    value = cuda
    for part in name.split("."):
        value = getattr(value, part, None)
    if value is None:
        problems.append(f"there is no {name}")
for name, count in used["calls"]:
    parameters = re.match(rf"{name}\\((.*?)\\)", getattr(cuda, name).__doc__)[1]
    if len([part for part in parameters.split(",") if part.strip()]) != count:
        problems.append(f"{name} does not take {count} arguments but {parameters}")
error, count = cuda.cudaGetDeviceCount()
text = cuda.cudaGetErrorString(cuda.cudaError_t.cudaErrorMemoryAllocation)[1].decode()
print(json.dumps([problems, text, int(cuda.cudaStream_t()), cuda.cudaError_t.cudaSuccess == 0]))
"""


def test_all_that_is_used_of_cuda_exists(used):
    fake = sys.modules["cuda.bindings.runtime"]
    calls = {(name, len(args)) for name, args, _ in fake.CALLS}
    asked = {"names": sorted(chains({"cuda"})), "calls": sorted(calls)}
    assert {"cudaMalloc", "cudaMemcpyKind.cudaMemcpyHostToDevice"} <= set(asked["names"])
    problems, text, stream, _ = python(LOOK_UP_CUDA, wheels(CUDA), stdin=json.dumps(asked))
    assert not problems
    assert text == "out of memory" and stream == 0


def test_a_folder_named_tensorrt_is_not_taken_for_it(tmp_path):
    """Triton's stub puts the folder of all backends on the path."""
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt_bindings.py").write_text("Runtime = 1\n")
    script = "import json; from plan import load_tensorrt; print(json.dumps(load_tensorrt().__name__))"
    assert python(script, tmp_path) == "tensorrt_bindings"
