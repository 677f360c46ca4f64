"""Debian's Chromium without a window, and the page of `tritone web` in it."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.command import TRITONE

CHROMIUM = Path("/usr/bin/chromium")
JSON = {"Content-Type": "application/json"}
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a microphone that beeps
]
EXAMPLE = "a `$` {{song}} <b>"  # its file's name; no code to those who take names for such
ANSWER = ".tritone-answer"
PROBLEM = "#t-result .t-problem"


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def tritone_web(*flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`tritone web` on a free port, with the address that it prints. Its log must be empty at the end."""
    command = [TRITONE, "web", "--port=0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(process.stderr.read())
        yield line.split()[-1], process
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    lines = [line for line in log.splitlines() if "has no authentication" not in line]
    assert lines == [], log


@contextmanager
def visit(browser: Browser, url: str, **context: object) -> Iterator[Page]:
    """A visitor. Nothing may have been asked of any other server at the end, nor have failed in the console."""
    wrong: list[str] = []
    visitor: BrowserContext = browser.new_context(**context)
    visitor.set_default_timeout(15_000)
    page = visitor.new_page()
    page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else wrong.append(r.url))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#t-system label")
    yield page
    visitor.close()
    assert wrong == []


def give(page: Page, content: bytes, name: str = "song.mp3") -> None:
    """Choose a file."""
    page.set_input_files(".t-file", [{"name": name, "mimeType": "", "buffer": content}])


def overflow(page: Page) -> int:
    """Pixels that the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def put(url: str, data: list[object], session: str = "s", language: str = "en") -> dict[str, Any]:
    """Put inputs to the handler that asks, as the page's script does; how that ends."""
    with urllib.request.urlopen(f"{url}/{language}/config") as response:
        (handler,) = (d["id"] for d in json.load(response)["dependencies"] if len(d["inputs"]) == len(data))
    body = json.dumps({"data": data, "fn_index": handler, "session_hash": session}).encode()
    api = f"{url}/{language}/gradio_api/queue"
    urllib.request.urlopen(urllib.request.Request(f"{api}/join", body, JSON)).close()
    with urllib.request.urlopen(f"{api}/data?session_hash={session}", timeout=120) as events:
        for line in events:
            if b"process_completed" in line:
                return json.loads(line.removeprefix(b"data:"))
    raise AssertionError("no end")


def upload(url: str, content: bytes) -> str:
    """Send a recording as the page's script does; the name by which a question names it."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/upload", content), timeout=60) as response:
        return json.load(response)["upload"]


def question(source: object) -> list[object]:
    """The inputs of the handler that asks about a recording, with the page's first options."""
    return [source, "vgg19_bn_cqt", "", 0, "", 0.7, 1, True, None]


def status(address: str, data: bytes | None = None, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=20) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
