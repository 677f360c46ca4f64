"""The picture of the web page in README.md: `python -m bench.screenshot [FILE]`, about 30 s.

The real server with the trained tagger `musicnn_mtt` answers the generated prelude on the page of `tritone web`,
and Chromium takes the picture. Needs the exported system (`make export SYSTEMS=musicnn_mtt`), the packages of the
tests (`make test` installs them), and of Debian chromium and fonts-wqy-microhei, for the labels' Chinese names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from server.embedded import embedded
from server.installation import ROOT
from sounds.examples import write_all

SYSTEM = "musicnn_mtt"
SONG = "Prelude · music"
PICTURE = ROOT / "docs" / "images" / "page.png"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SIZE = {"width": 1280, "height": 900}
ANSWER = ".tritone-answer"
ANSWER_MS = 60_000
LOADED = "document.fonts.ready && [...document.images].every((image) => image.complete)"


def main() -> int:
    """Take the picture. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshot", description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE, help="PNG (default: %(default)s)")
    file = parser.parse_args().file
    examples = ROOT / "examples"
    try:
        if not CHROMIUM.exists():
            raise BenchError(f"{CHROMIUM} is missing: apt-get install chromium")
        write_all(examples)
        with (
            embedded(f"--systems={SYSTEM}", "--log-level=warning") as server,
            page_of(server.grpc, examples) as address,
        ):
            shoot(address, file)
    except (BenchError, RuntimeError) as error:
        print(f"bench.screenshot: {error}", file=sys.stderr)
        return 2
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
    return 0


@contextmanager
def page_of(server: str, examples: Path) -> Iterator[str]:
    """Serve the page on a free port; its address.

    Parameters
    ----------
    server : host:port of its gRPC
    examples : folder of the recordings that the page offers
    """
    tritone = Path(sys.executable).with_name("tritone")
    command = [str(tritone), "web", "--port=0", f"--url={server}", f"--examples={examples}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise BenchError("tritone web has not started")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(20)


def shoot(address: str, file: Path) -> None:
    """Ask about the prelude in a light, English browser and write what it shows to a PNG of `SIZE`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SIZE, locale="en-GB", color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.wait_for_selector("#t-system label")
        page.get_by_role("button", name=SONG, exact=True).click()
        page.wait_for_selector(ANSWER, timeout=ANSWER_MS)
        page.wait_for_function(LOADED)
        page.mouse.move(0, 0)
        file.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=file, animations="disabled")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
