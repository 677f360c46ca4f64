"""What several folders of tests share: the model repository with demo weights, and servers on it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from server.embedded import Embedded, embedded
from tests.support.project import REPOSITORY, ROOT, SPEECH, SYSTEMS, UNASKED, written

EXPORTING = pytest.StashKey[dict[str, Future[Path]]]()


EXPORTS = {"repository": ("model_repository", SYSTEMS), "speech_repository": ("speech_repository", (SPEECH,))}
"""Fixture -> folder and systems of a repository with demo weights."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of tests that need an exported network run after the others: the first export takes minutes."""
    waiting = {item.path for item in items if EXPORTS.keys() & set(getattr(item, "fixturenames", ()))}
    items.sort(key=lambda item: item.path in waiting)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Export meanwhile what the tests need."""
    names = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    pool = ThreadPoolExecutor(1)
    exporting = {name: pool.submit(exported, *EXPORTS[name]) for name in EXPORTS if name in names}
    session.config.stash[EXPORTING] = exporting


@pytest.fixture(scope="session")
def repository(request: pytest.FixtureRequest) -> Path:
    """The model repository with demo weights of the genre systems, exported by the command a user calls.

    It lies in .cache/ so that nobody's own weights are touched, and is kept: a second run exports nothing.
    """
    return _exported(request, "repository")


@pytest.fixture(scope="session")
def speech_repository(request: pytest.FixtureRequest) -> Path:
    """Likewise, with the speech system."""
    return _exported(request, "speech_repository")


def _exported(request: pytest.FixtureRequest, fixture: str) -> Path:
    """What is exported meanwhile; or exported now, where a test asks for it that did not say so beforehand."""
    meanwhile = request.config.stash[EXPORTING].get(fixture)
    return meanwhile.result() if meanwhile else exported(*EXPORTS[fixture])


def exported(name: str, systems: tuple[str, ...]) -> Path:
    target = ROOT / ".cache" / "tests" / name
    shutil.copytree(REPOSITORY, target, ignore=written, dirs_exist_ok=True)
    command = ["nice", sys.executable, "-m", "export", "--demo", f"--repository={target}", *systems]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return target


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def server(request, repository, tmp_path_factory) -> Iterator[Embedded]:
    """The embedded server with both genre systems, one variant after the other."""
    log = tmp_path_factory.mktemp("server") / f"{request.param}.log"
    with embedded(f"--model-repository={repository}", f"--variant={request.param}", UNASKED, log=log) as running:
        assert running.variant == request.param
        yield running
