"""One Chromium, one small Triton and one page for all tests of the page, which need the extra `web`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.triton import Triton, running

pytest.importorskip("gradio", reason="the page needs Gradio: requirements/web.txt")
pytest.importorskip("playwright", reason="the page's tests need Playwright: requirements/test.txt")

from tests.web.browser import CHROMIUM, EXAMPLE, chromium, tritone_web


@pytest.fixture(scope="module")  # not longer: asyncio.run() is refused while Playwright's loop is there
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"the page's tests need {CHROMIUM}: apt-get install chromium")
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    yield from running(Triton, tmp_path_factory.mktemp("triton"))


@pytest.fixture(scope="package")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    (folder / f"{EXAMPLE}.wav").write_bytes(b"an example")
    (folder / "call.wav").write_bytes(bytes([3] * 60))
    (folder / "song.mp3").write_bytes(b"a song")
    (folder / "notes.txt").write_bytes(b"not one")
    return folder


@pytest.fixture(scope="package")
def url(triton: Triton, examples: Path) -> Iterator[str]:
    with tritone_web(f"--url={triton.grpc}", f"--examples={examples}") as (address, _):
        yield address
