"""The client alone in an empty virtual environment: it works there, with the newest of the few things it needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.triton import Triton

pytestmark = pytest.mark.slow  # installs from the registry

CLIENT = Path(__file__).parents[2] / "client"
ASK = """
import asyncio, sys
from tritone_client import AsyncClient, Client

async def ask(url, song):
    async with AsyncClient(url) as client:
        return (await client.classify(song)).label

grpc, http, song = sys.argv[1:]
with Client(http) as client:
    prediction = client.classify(song)
print(prediction.label, asyncio.run(ask(grpc, song)), "<div" in prediction._repr_html_())
"""
SERVERS = {"torch", "scipy", "librosa", "soundfile", "onnxruntime", "openvino"}
EXTRAS = {"matplotlib", "pyarrow", "gradio", "pandas", "fastapi"}


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a virtual environment with the client, as `pip install ./client` makes it."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run(["cp", "-r", CLIENT, folder / "client"], check=True)  # building writes beside the sources
    pip = [folder / "venv" / "bin" / "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, folder / "client"], check=True, timeout=300)
    return folder / "venv" / "bin"


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, cwd=cwd)


def test_it_works_alone(bin_folder: Path, triton: Triton, tmp_path: Path, song: Path):
    for url in (triton.grpc, triton.http):
        done = run(bin_folder / "tritone", "classify", song, "--url", url, cwd=tmp_path)
        assert done.returncode == 0 and "Opera" in done.stdout, done.stderr
    done = run(bin_folder / "python", "-c", ASK, triton.grpc, triton.http, song, cwd=tmp_path)
    assert done.stdout == "Opera Opera True\n", done.stderr
    out = tmp_path / "out.jsonl"
    done = run(bin_folder / "tritone", "bulk", song.parent, "--out", out, "--url", triton.grpc, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["Opera"]


def test_it_brings_only_what_it_needs(bin_folder: Path, tmp_path: Path):
    listed = run(bin_folder / "pip", "list", "--format=json", cwd=tmp_path)
    names = {entry["name"].lower() for entry in json.loads(listed.stdout)}
    assert "tritone-client" in names and not names & (SERVERS | EXTRAS), names
    metadata = run(bin_folder / "pip", "show", "tritone-client", cwd=tmp_path)
    requires = next(line for line in metadata.stdout.splitlines() if line.startswith("Requires:"))
    assert requires == "Requires: numpy, tritonclient, typer"


@pytest.mark.parametrize(
    ("command", "extra"), [(("bulk", ".", "--out", "a.parquet"), "parquet"), (("web",), "web")]
)
def test_a_missing_extra_is_named(bin_folder: Path, triton: Triton, tmp_path: Path, command, extra):
    done = run(bin_folder / "tritone", *command, "--url", triton.grpc, cwd=tmp_path)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert f"pip install 'tritone-client[{extra}]'" in done.stderr and done.stderr.count("\n") == 1
