"""A server whose every word is markup: the page shows it as it is, and no script of it runs."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Page
from tritone_client import InvalidRecording
from tritone_client.answers.emotion import EmotionPrediction, parse_emotion
from tritone_client.answers.prediction import Prediction, parse_prediction
from tritone_client.web.app import build_app
from tritone_client.web.uploads import Uploads

from tests.support.answers import tensor
from tests.web.browser import ANSWER, PROBLEM, give

RAN = "window.ran = (window.ran || 0) + 1"
MARKUP = (
    f"\"'></title></style></svg><img src=x onerror='{RAN}'><script>{RAN}</script><svg onload='{RAN}'></svg>"
    f"<a href='javascript:{RAN}'>here</a><b class=hostile>"
    f"${{{RAN}}}`${{{RAN}}}`{{{{value}}}}{{{{#if value}}}}seen{{{{/if}}}}"  # Gradio's templates
)
SYSTEMS = ("vgg19_bn_cqt", "emotion2vec_plus_large", f"another {MARKUP}")
LABELS = tuple(f"{place} {MARKUP}" for place in range(3))
FACTS = {
    "model": MARKUP,
    "profile": MARKUP,
    "duration": 20.0,
    "notes": [MARKUP],
    "weights": {"origin": MARKUP, "source": MARKUP, "sha256": MARKUP, "demo": True},
    "computed": {"device": MARKUP, "precision": MARKUP, "backend": MARKUP},
    "uncertainty": {"entropy": 0.9, MARKUP: 0.9},
    "review": {"by": MARKUP, "threshold": 0.7},
    "needs_review": True,
    MARKUP: MARKUP,
}


def shares(rows: int) -> np.ndarray:
    return np.tile(np.array([0.5, 0.3, 0.2], np.float32), (rows, 1))


def genre(**changed: object) -> Prediction:
    first = {"label": LABELS[0], "probability": 0.5}
    result = {
        **FACTS,
        **first,
        "top": [
            {"label": label, "label_zh": f"中 {MARKUP}", "probability": share}
            for label, share in zip(LABELS, (0.5, 0.3, 0.2), strict=True)
        ],
        "vote": {"label": LABELS[0], "share": 0.6},
        "slices": [{"start": 10.0 * i, "end": 10.0 * (i + 1), **first} for i in range(2)],
        "slices_total": 2,
        "pictures": {"slices": [0]},
        "explanation": {"method": MARKUP, "slices": [0]},
        **changed,
    }
    tensors = {
        "RESULT": tensor(result),
        "PROBABILITIES": shares(1)[0],
        "LABELS": np.array([label.encode() for label in LABELS], object),
        "SLICE_PROBABILITIES": shares(2),
        "PICTURES": np.zeros((1, 8, 8, 3), np.uint8),
        "EXPLANATION": np.ones((1, 4, 4), np.float32),
    }
    return parse_prediction(tensors, 0.1)


def emotion() -> EmotionPrediction:
    result = {
        **FACTS,
        **{"emotion": LABELS[0], "emotion_zh": f"中 {MARKUP}", "confidence": 0.5},
        **{"frame_hop": 0.02, "windows": 1, "silence": False},
        "labels_zh": [f"中 {MARKUP}"] * 3,
        "segments": [{"start": 0.0, "end": 20.0, "emotion": LABELS[0], "confidence": 0.5}],
    }
    tensors = {
        "RESULT": tensor(result),
        "SCORES": shares(1)[0],
        "LABELS": np.array([label.encode() for label in LABELS], object),
        "FRAME_SCORES": shares(50),
    }
    return parse_emotion(tensors, 0.1)


class Server:
    """A client of a server that means no good. What is asked about says how it answers."""

    address = "grpc://127.0.0.1:8001"

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def models(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, ready=True, explains=True) for name in SYSTEMS]

    async def method(self, system: str) -> str:
        return "emotion" if system.startswith("emotion") else "classify"

    async def classify(self, recording: bytes, **_: object) -> Prediction:
        if recording == b"refused":
            raise InvalidRecording(MARKUP)
        if recording == b"numbers":
            return genre(duration=MARKUP, slices_total=MARKUP, review={"by": "entropy", "threshold": MARKUP})
        return genre()

    async def emotion(self, recording: bytes, **_: object) -> EmotionPrediction:
        return emotion()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch, served(Uploads(folder, []), patch) as address:
        yield address


@contextmanager
def served(files: Uploads, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page before `Server`, in a thread of its own, whose loop Playwright does not share."""
    patch.setenv("GRADIO_TEMP_DIR", str(files.folder))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(build_app(Server(), files), log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def shows_text_only(page: Page) -> None:
    """Nothing that the server said has become an element, a script, or a value of a template."""
    page.wait_for_timeout(300)  # for what an image or a script would do
    assert page.evaluate("window.ran") is None
    assert page.locator(".hostile, a[href^=javascript], [onerror], [onload]").count() == 0
    assert page.locator("#t-result script").count() == 0


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_no_script_of_an_answer_runs(browser, url, locale):
    with browser.new_context(locale=locale) as visitor:
        page = visitor.new_page()
        page.set_default_timeout(15_000)
        page.goto(url)
        page.wait_for_selector("#t-system label")
        assert MARKUP in page.locator("#t-system label").nth(2).text_content()
        give(page, b"a song")
        page.wait_for_selector(ANSWER)
        text = page.locator(ANSWER).text_content()
        assert text.count(MARKUP) >= 10 and "{{value}}" in text and f"${{{RAN}}}" in text
        shows_text_only(page)
        give(page, b"refused")
        page.wait_for_selector(PROBLEM)
        assert MARKUP in page.locator(PROBLEM).text_content()
        shows_text_only(page)
        give(page, b"numbers")  # that are none: an answer without them, or a sentence
        page.wait_for_selector(f"{ANSWER}, {PROBLEM}:not([data-cause=InvalidRecording])")
        shows_text_only(page)
        page.locator("#t-system label").nth(1).click()
        page.wait_for_selector(f"{ANSWER} svg polygon")
        assert page.locator(ANSWER).text_content().count(MARKUP) >= 8
        shows_text_only(page)
