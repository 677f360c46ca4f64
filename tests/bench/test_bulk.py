"""The benchmark of bulk runs: what it measures of one, and what it makes of the figures."""

from pathlib import Path

import pytest

from bench import bulk
from bench.bulk_report import bulk_section
from bench.errors import BenchError
from tests.support.triton import Triton, free_ports

SCALE = bulk.Scale(recordings=3, rounds=1, seconds=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        (tmp_path / f"{i}.mp3").write_text(f"song {i}")
    return tmp_path


def test_a_run_is_measured_by_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with Triton(folder) as server:
        rate, cpu = bulk.bulk(server.grpc, folder, SCALE)
    rows = (folder / "out.jsonl").read_bytes().count(b"\n")
    assert rows > bulk.WARM and 0 < rate <= rows / SCALE.seconds
    assert 0 < cpu * rate < 4000  # ms of CPU in a second: of a loop and of gRPC's threads
    names = (folder / "names.txt").read_text().splitlines()
    assert len(set(names)) == bulk.FILES and {Path(name).resolve().name for name in names[:3]} == {
        *("0.mp3", "1.mp3", "2.mp3")
    }
    assert all(Path(name).is_file() for name in names[:: bulk.FILES // 50])


def test_a_run_that_ends_is_an_error(folder: Path):
    with pytest.raises(BenchError, match="tritone bulk exited with code 2: tritone: No server can be reached"):
        bulk.bulk(f"127.0.0.1:{free_ports(1)[0]}", folder, SCALE)


def test_the_section_tells_the_median_of_the_ratios():
    figures = {
        **{"system": "vgg19_bn_cqt", "in_flight": 16, "variant": "openvino", "recordings": 32, "mb": 0.62},
        **{"perf_analyzer": [10.0, 20.0, 40.0], "bulk": [9.9, 19.0, 44.0], "cpu_ms": [2.0, 3.0, 7.0]},
        "cached": {"bulk": 673.4, "cpu_ms": 1.43},
    }
    about = {"command": "python -m bench.bulk", "date": "2026-11-22", "machine": "AMD", "versions": {}}
    text = bulk_section({"bulk": figures, **about})
    assert "It reached 99% of perf_analyzer's rate." in text.replace("\n", " ")
    assert "| perf_analyzer | 20.0 (10.0–40.0) |  |" in text
    assert "| `tritone bulk` | 19.0 (9.90–44.0) | 3.00 |" in text
    assert "| `tritone bulk`, answers from the cache | 673 | 1.43 |" in text
