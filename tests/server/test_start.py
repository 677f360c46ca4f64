"""What is checked and chosen before Triton starts, and the flags."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server import installation, loading, preflight
from server.__main__ import main, restrictions, triton_command
from server.errors import ServerError
from server.installation import Installation
from server.settings import parse_settings
from server.variants import Machine, choose
from systems import SYSTEMS, System
from systems.repository import Repository
from tests.support import tiny
from tests.support.project import ROOT

TWINS = {
    "--http-port": ("TRITONE_HTTP_PORT", "9000", 9000),
    "--grpc-port": ("TRITONE_GRPC_PORT", "9001", 9001),
    "--metrics-port": ("TRITONE_METRICS_PORT", "0", 0),
    "--host": ("TRITONE_HOST", "127.0.0.2", "127.0.0.2"),
    "--model-repository": ("TRITONE_MODEL_REPOSITORY", "/models", Path("/models")),
    "--systems": ("TRITONE_SYSTEMS", "a, b", ["a", "b"]),
    "--variant": ("TRITONE_VARIANT", "openvino", "openvino"),
    "--tuned": ("TRITONE_TUNED", "no", "no"),
    "--cache-size": ("TRITONE_CACHE_SIZE", "0", 0),
    "--log-level": ("TRITONE_LOG_LEVEL", "info", "info"),
    "--probe-seconds": ("TRITONE_PROBE_SECONDS", "7.5", 7.5),
    "--hang-seconds": ("TRITONE_HANG_SECONDS", "90", 90.0),
    "--ready-file": ("TRITONE_READY_FILE", "/tmp/ready", Path("/tmp/ready")),
}


@pytest.fixture(autouse=True)
def no_twins(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TRITONE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("flag", TWINS)
def test_each_flag_has_a_twin_in_the_environment_and_wins_over_it(flag, monkeypatch):
    twin, text, value = TWINS[flag]
    attribute = flag.removeprefix("--").replace("-", "_")
    default = getattr(parse_settings([]), attribute)
    monkeypatch.setenv(twin, text)
    assert getattr(parse_settings([]), attribute) == value != default
    monkeypatch.setenv(twin, "info" if flag == "--log-level" else "auto" if flag == "--variant" else "1")
    assert getattr(parse_settings([flag, text]), attribute) == value


def test_the_help_names_every_flag_twin_and_default():
    text = subprocess.run(
        [sys.executable, "-m", "server", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for flag, (twin, _, _) in TWINS.items():
        assert flag in text
        assert twin in text
    for default in ("8000", "8001", "8002", "127.0.0.1", "256", "warning", "auto"):
        assert f"Default: {default}" in " ".join(text.split())


@pytest.mark.parametrize("flags", [["--http-port=99999"], ["--cache-size=-1"], ["--variant=fast"]])
def test_impossible_values_are_refused(flags):
    with pytest.raises(SystemExit) as end:
        parse_settings(flags)
    assert end.value.code == 2


def test_no_weights(tmp_path, capsys):
    repository = tiny.write_repository(tmp_path / "models")
    (repository / "tiny_network/1/manifest.json").unlink()
    assert main([f"--model-repository={repository}"]) == 2
    assert "No system in" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert "run make export" in said


def test_systems(tmp_path):
    repository = tiny.write_repository(tmp_path)
    assert list(preflight.choose_systems(Repository(repository), [])) == ["tiny"]
    with pytest.raises(ServerError, match="other has no network in .*exported are tiny.*run make export"):
        preflight.choose_systems(Repository(repository), ["tiny", "other"])
    with pytest.raises(ServerError, match="There is no model repository"):
        preflight.choose_systems(Repository(repository / "nowhere"), [])


@pytest.mark.parametrize("lost", ["model.onnx", "manifest.json"])
def test_a_system_whose_export_is_incomplete_is_left_out_with_a_sentence(tmp_path, lost):
    repository = tiny.write_repository(tmp_path)
    for suffix in ("network", "preprocess"):
        shutil.copytree(repository / f"tiny_{suffix}", repository / f"other_{suffix}")
    path = repository / "other_network" / "1" / lost
    path.unlink()
    shutil.copytree(repository / "tiny_network" / "configs", repository / "never_network" / "configs")
    shutil.copy(repository / "tiny_network" / "config.pbtxt", repository / "never_network" / "config.pbtxt")
    sentence = f"other is left out, because {path} is missing: run make export SYSTEMS=other"
    assert preflight.left_out(Repository(repository), []) == [sentence]
    assert preflight.left_out(Repository(repository), ["tiny"]) == []
    assert list(preflight.choose_systems(Repository(repository), [])) == ["tiny"]


def test_the_launcher_says_who_is_left_out_what_is_loaded_and_that_it_stops(launch, tiny_repository):
    (tiny_repository / "other_network" / "1").mkdir(parents=True)
    shutil.copy(tiny_repository / "tiny_network" / "config.pbtxt", tiny_repository / "other_network")
    (tiny_repository / "other_network" / "1" / "manifest.json").write_text("{}")
    launcher = launch().until_ready()
    assert launcher.stop() == 0
    left, starting, loaded, ready, stopping, stopped = launcher.log.splitlines()
    assert left.startswith("tritone: other is left out, because ")
    assert ", starting tiny on " in starting and ready.startswith("tritone: ready: http ")
    assert re.fullmatch(r"tritone: tiny is loaded \(\d+ s\)", loaded)
    assert (stopping, stopped) == ("tritone: stopping; Ctrl-C again stops at once", "tritone: stopped")


def test_no_start_is_silent_for_more_than_five_seconds(monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(loading.time, "monotonic", lambda: clock[0])
    progress = loading.Loading(["a", "b"], lines.append)
    for now in range(1, 22):
        clock[0] = float(now)
        done = [f"{system}_{step}" for system in ("a" * (now >= 7), "b" * (now >= 14)) for step in loading.STEPS]
        progress.report(done)
    assert lines == [
        *("loading a, b (5 s)", "a is loaded (7 s)", "loading b (12 s)"),
        *("b is loaded (14 s)", "testing the systems (19 s)"),
    ]


def declare(**changes: object):
    return lambda repository: tiny.declare(repository, **changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda repository: (repository / "tiny_network/labels.txt").unlink(),
            r"^tiny has no .*labels\.txt, which Triton reads: run make export SYSTEMS=tiny$",
        ),
        (
            lambda repository: (repository / "tiny_network/1/model.onnx").write_bytes(b"cut"),
            r"model\.onnx is not the file that manifest\.json beside it describes: run make export SYSTEMS=tiny$",
        ),
        (
            lambda repository: (repository / "tiny_network/1/manifest.json").write_text("{"),
            r"manifest\.json does not fit this server: it is damaged \(.*\); run make export$",
        ),
        (declare(format=2), r"does not fit this server: its format is 2, not 1; run make export$"),
        (
            declare(like=None),
            "^tiny in .* does not come with Tritone, and its manifest does not name the system that it is like: "
            "export it",
        ),
        (
            declare(like="other"),
            "^tiny in .* does not come with Tritone.*--name tiny, or remove .*tiny_network$",
        ),
    ],
)
def test_a_system_that_triton_would_refuse_or_that_is_not_known_is_one_sentence(
    tmp_path, capsys, change, sentence
):
    repository = tiny.write_repository(tmp_path)
    change(repository)
    with pytest.raises(ServerError, match=sentence):
        preflight.choose_systems(Repository(repository), [])
    assert main([f"--model-repository={repository}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_system_that_is_not_served_may_be_as_it_is(tmp_path):
    repository = tiny.write_repository(tmp_path)
    shutil.copytree(repository / "tiny_network", repository / "other_network")
    tiny.declare(repository, "other", like=None)
    assert list(preflight.choose_systems(Repository(repository), ["tiny"])) == ["tiny"]


def test_a_taken_port_names_who_has_it(tmp_path, capsys):
    repository = tiny.write_repository(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([f"--model-repository={repository}", "--http-port=0", f"--grpc-port={port}"]) == 2
    said = capsys.readouterr().err
    assert f"Port {port} on 127.0.0.1 is taken by" in said
    assert f"(process {os.getpid()})" in said
    assert "choose another with --grpc-port (make serve GRPC_PORT=...)" in said


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT", "METRICS_PORT"])
def test_make_serve_takes_ports(name):
    shown = subprocess.run(["make", "-n", "serve", f"{name}=9123"], cwd=ROOT, capture_output=True, text=True)
    assert f"--{name.lower().replace('_', '-')}=9123" in shown.stdout


def test_a_port_closed_a_moment_ago_and_free_ports():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)  # leaves a connection in TIME_WAIT
    ports = preflight.settle_ports("127.0.0.1", port, 0, 0)
    assert ports[0] == port
    assert len(set(ports)) == 3


def test_shared_memory_too_small(tmp_path):
    """A system of the user's own takes as much as the one that it is like."""
    repository = tiny.write_repository(tmp_path)
    mine = preflight.choose_systems(Repository(repository), [])
    assert mine["tiny"].task is SYSTEMS["vgg19_bn_cqt"].task

    def check(*systems: System, free: int, processes: int | None = None) -> None:
        preflight.check_shared_memory({s.name: s.task.shm for s in systems}, processes, free * 2**20)

    speech, vit = SYSTEMS["emotion2vec_plus_large"], SYSTEMS["vit_b_16_mel"]
    check(mine["tiny"], vit, free=512)
    with pytest.raises(ServerError, match=r"/dev/shm has 64 MiB free, tiny, vit_b_16_mel need 512 MiB to pass"):
        check(mine["tiny"], vit, free=64)
    with pytest.raises(ServerError, match="need 960 MiB"):  # what is said of each frame takes more than pictures
        check(mine["tiny"], speech, free=800)
    with pytest.raises(ServerError, match="need 2432 MiB"):  # and a GPU has more instances of the steps
        check(mine["tiny"], speech, free=2048, processes=8)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("system", ["vgg19_bn_cqt", "emotion2vec_plus_large"])
def test_the_shared_memory_of_a_system_covers_its_instances(system, on_gpu):
    """As many as the configurations say, each with the largest file and as many rows as the network takes."""

    def instances(step: str) -> int:
        model = ROOT / "model_repository" / f"{system}_{step}"
        text = (model / "configs" / "tensorrt.pbtxt" if on_gpu else model / "config.pbtxt").read_text()
        return int(re.search(r"instance_group \[ \{ count: (\d+)", text)[1])

    file, rows, kept, answers = (64, 41, 0, 131) if system.startswith("emotion") else (64, 18.4, 18.4, 0)  # MiB
    needed = instances("preprocess") * (file + rows + kept) + instances("network") * (rows + answers) + 2 * answers
    needed += kept + 2 * kept / 8  # what is kept for an explanation, and the few rows of it that are explained
    shared = SYSTEMS[system].task.shm
    assert needed <= (shared.gpu if on_gpu else shared.cpu) <= 1.25 * needed


@pytest.mark.parametrize(
    ("requested", "features", "openvino", "variant", "reason"),
    [
        ("auto", {"amx_bf16", "avx512_bf16"}, True, "openvino", "AMX"),
        ("auto", {"avx512_bf16"}, True, "openvino", "AVX512_BF16"),
        ("auto", {"avx512f", "avx2"}, True, "onnxruntime", "neither AMX nor AVX512_BF16"),
        ("auto", {"amx_bf16"}, False, "onnxruntime", "not installed"),
        ("onnxruntime", {"amx_bf16"}, True, "onnxruntime", "as requested"),
        ("openvino", set(), True, "openvino", "as requested"),
        ("auto", {"amx_int8", "avx512_vnni"}, True, "onnxruntime", "neither AMX nor AVX512_BF16"),
        ("openvino_int8", {"avx512_vnni"}, True, "openvino_int8", "as requested"),
    ],
)
def test_variant(requested, features, openvino, variant, reason):
    chosen, why = choose(requested, Machine(frozenset(features), openvino), Repository(Path("none")), [])
    assert chosen == variant
    assert reason in why


@pytest.mark.parametrize("variant", ["openvino", "openvino_int8"])
def test_a_variant_that_cannot_run(variant):
    with pytest.raises(ServerError, match=f"Variant {variant} needs the package openvino"):
        choose(variant, Machine(frozenset(), False), Repository(Path("none")), [])


def test_numpy_2():
    installation.check_numpy("1.26.4")
    with pytest.raises(ServerError, match=r"NumPy 2\.3\.0 crashes .*pip install 'numpy<2'"):
        installation.check_numpy("2.3.0")


def test_a_python_without_a_stub_is_told_which_have_one(tmp_path):
    for version in ("3.9", "3.10", "3.12"):
        (tmp_path / "python_backend_stubs" / version).mkdir(parents=True)
    with pytest.raises(ServerError, match=r"Python 3\.14, only with 3\.9, 3\.10, 3\.12"):
        installation.find_stub(tmp_path, (3, 14))


def test_a_static_python(monkeypatch, tmp_path):
    assert installation.find_libpython() is None or installation.find_libpython().is_file()
    monkeypatch.setattr(installation.sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(installation.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(installation.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError()))
    with pytest.raises(ServerError, match=r"has no shared library libpython3\.\d+\.so\.1\.0"):
        installation.find_libpython()


def test_no_wheel(monkeypatch):
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match="pip install --no-deps nvidia-pytriton"):
        installation.find_installation()


def test_the_backend_directory_has_copies_and_is_made_once(tmp_path):
    first = installation.find_installation(tmp_path)
    files = {str(path.relative_to(first.backends)) for path in first.backends.rglob("*") if path.is_file()}
    assert {"python/triton_python_backend_stub", "onnxruntime/model.py", "openvino/rows.py"} <= files
    assert not any(path.is_symlink() for path in first.backends.rglob("*"))
    made = first.backends.stat().st_mtime_ns
    assert installation.find_installation(tmp_path).backends.stat().st_mtime_ns == made
    assert len(list(tmp_path.iterdir())) == 1


def test_the_environment_of_the_server(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = Installation("0", Path("b"), Path("d"), Path("c"), (Path("/libs"),))
    environment = found.environment()
    assert environment["LD_LIBRARY_PATH"].split(":")[0] == "/libs"
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert environment["OMP_NUM_THREADS"] == "3"  # what the user says wins
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert "/libs" not in os.environ.get("LD_LIBRARY_PATH", "")


def test_the_command_has_only_flags_that_this_release_knows():
    found = installation.find_installation()
    settings = parse_settings(["--log-level=verbose"])
    command = [*triton_command(settings, found, ["tiny_raw"], "openvino"), *restrictions("key")]
    known = subprocess.run([found.binary, "--help"], env=found.environment(), capture_output=True, text=True)
    for flag in command[1:]:
        assert f"{flag.partition('=')[0]} <" in known.stderr or f"{flag}\n" in known.stderr
    assert "--model-config-name=openvino" in command
    assert "--cache-config=local,size=268435456" in command
    assert not any("config-name" in flag for flag in triton_command(settings, found, ["tiny_raw"], "onnxruntime"))
    quiet = parse_settings(["--cache-size=0"])
    assert not any("cache-config" in flag for flag in triton_command(quiet, found, ["tiny_raw"], "onnxruntime"))


def test_the_response_cache_can_be_off(launch):
    launcher = launch("--cache-size=0").until_ready()
    assert launcher.classify(tiny.wav(2))["rows"] == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LOG_LEVEL", "debug", "'debug' is not one of error, warning, info, verbose"),
        ("VARIANT", "tensorflow", "'tensorflow' is not one of auto"),
        ("PROBE_SECONDS", "-1", "-1 is not a positive number of seconds"),
        ("HANG_SECONDS", "nan", "nan is not a positive number of seconds"),
    ],
)
def test_the_environment_is_checked_like_the_flags(monkeypatch, capsys, name, value, message):
    for arguments in ([], [f"--{name.lower().replace('_', '-')}={value}"]):
        if arguments:
            monkeypatch.delenv(f"TRITONE_{name}")
        else:
            monkeypatch.setenv(f"TRITONE_{name}", value)
        with pytest.raises(SystemExit):
            parse_settings(arguments)
        assert message in capsys.readouterr().err
