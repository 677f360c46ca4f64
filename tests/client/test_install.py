"""The client alone in an empty virtual environment: it works there, with the newest tritonclient."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.triton import Triton

CLIENT = Path(__file__).parents[2] / "client"


@pytest.mark.slow
def test_it_installs_and_works_alone(triton: Triton, tmp_path: Path, song: Path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    source = tmp_path / "client"  # building writes beside the sources
    subprocess.run(["cp", "-r", CLIENT, source], check=True)
    subprocess.run([environment / "bin" / "pip", "install", "-q", source], check=True, timeout=300)
    for url in (triton.grpc, triton.http):
        command = [environment / "bin" / "tritone", "classify", song, "--url", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0 and "Opera" in done.stdout, done.stderr
    check = "import sys, tritone_client; sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'librosa')))"
    subprocess.run([environment / "bin" / "python", "-c", check], check=True, cwd=tmp_path)
    listed = subprocess.run([environment / "bin" / "pip", "list"], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "librosa", "soundfile"} & {
        line.split()[0] for line in listed.stdout.splitlines()
    }
