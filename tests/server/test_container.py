"""The container's files, as far as they can be checked without an engine."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.server import tiny

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "server" / "Dockerfile").read_text()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_each_service(device):
    service = COMPOSE["services"][f"triton-{device}"]
    assert service["profiles"] == [device]
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8000", "8001", "8002"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["restart"] == "unless-stopped"
    assert service["shm_size"] == "2gb"
    for volume in service["volumes"]:
        source, _, mode = volume.split(":")
        assert (ROOT / source).is_dir()
        assert mode == "ro"
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert ("deploy" in service) == (device == "gpu")
    variant = {"cpu": "onnxruntime", "gpu": "cuda"}[device]
    assert service["environment"]["TRITONE_VARIANT"] == f"${{TRITONE_VARIANT:-{variant}}}"


def test_the_health_check_is_the_script_in_the_image():
    _, _, script, *_ = COMPOSE["services"]["triton-cpu"]["healthcheck"]["test"]
    assert f"COPY server/{Path(script).name} " in DOCKERFILE
    assert script.startswith("/opt/tritone/server/")


def test_what_the_image_copies_exists_and_it_runs_as_nobody_special():
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
    assert re.search(r"^USER (?!root)\w", DOCKERFILE, re.M)


def run_entrypoint(tmp_path: Path, models: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The entry point with a tritonserver that prints its arguments, on another folder than /models."""
    fake = tmp_path / "tritonserver"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    script = (ROOT / "server" / "entrypoint.sh").read_text().replace("/models", str(models))
    command = ["sh", "-c", script, "entrypoint", *arguments]
    return subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True)


def test_the_entry_point_loads_the_exported_systems(tmp_path):
    models = tiny.write_repository(tmp_path / "models")
    done = run_entrypoint(tmp_path, models, "--log-info=false")
    assert done.returncode == 0
    flags = done.stdout.splitlines()
    keys = [
        re.search("model-repository.*:tritone-key=([0-9a-f]{32})$", flag) for flag in flags if "restricted" in flag
    ]
    assert len(keys) == 2 and all(keys)
    assert "--model-config-name=onnxruntime" in flags
    assert {"--load-model=tiny_raw", f"--model-repository={models}", "--log-info=false"} <= set(flags)


def test_the_entry_point_without_weights(tmp_path):
    (tmp_path / "models").mkdir()
    done = run_entrypoint(tmp_path, tmp_path / "models")
    assert done.returncode == 2
    assert "run make export" in done.stderr
