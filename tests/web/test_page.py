"""The page as a visitor has it: a real Chromium, `tritone web`, and a small real Triton behind it."""

import json
import re
import socket
import urllib.request
from contextlib import nullcontext, suppress

import pytest
from playwright.sync_api import Page, TimeoutError
from tritone_client import TritoneError
from tritone_client.cli.web import recordings
from tritone_client.web.app import serve

from tests.support.command import tritone
from tests.web.browser import (
    ANSWER,
    EXAMPLE,
    PROBLEM,
    give,
    overflow,
    tritone_web,
    visit,
)

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LONG = "A recording of a concert with a very long name, which goes on and on (live, remastered 2014).mp3"


def song(*probabilities: float) -> bytes:
    """What the small Triton takes for a recording with these probabilities of Symphony, Opera, Solo, Chamber."""
    return json.dumps({"slices": [probabilities, probabilities]}).encode()


def labelled(page: Page, label: str) -> str:
    """Wait for the answer with this label; all the words of its headline."""
    page.wait_for_selector(f".tritone-label:has-text('{label}')")
    return " ".join(page.inner_text(".tritone-label").split())


def slide(page: Page, label: str, value: str) -> None:
    """Type a value; again where Gradio drew the slider anew meanwhile, as it does just after it shows one."""
    moved = f"[...document.querySelectorAll('input[type=range]')].some(e => e.value == {value})"
    for attempt in range(5):
        page.get_by_label(f"number input for {label}").fill(value)
        with suppress(TimeoutError) if attempt < 4 else nullcontext():
            page.wait_for_function(moved, timeout=3_000)
            return


def test_answers_and_sentences(browser, url):
    with visit(browser, url) as page:
        give(page, song(0.1, 0.2, 0.6, 0.1), LONG)
        assert labelled(page, "Solo") == "Solo 独奏 60%"
        shares = [text.split()[-1] for text in page.locator(".tritone-bar").all_inner_texts()]
        assert shares == ["60%", "20%", "10%", "10%"]
        slices = page.locator(f"{ANSWER} svg title").all_text_contents()
        assert slices == ["0.5 s – 12 s: Solo 60%", "12 s – 22 s: Solo 60%"]
        images = "all => all.map(image => [image.complete, image.naturalWidth, image.naturalHeight])"
        assert page.eval_on_selector_all(".tritone-picture img", images) == [[True, 224, 224]]
        assert "demo weights" in page.inner_text(".tritone-demo")
        assert re.match(r"\d+ ms · vgg19_bn_cqt · ", page.inner_text(".tritone-facts"))
        assert page.inner_text(".t-name") == LONG and overflow(page) == 0
        for content, sentence in (
            (b'{"broken": true}', "The recording is cut off."),
            (b"", "The recording is empty: send an audio file."),
        ):
            give(page, content, "letter.txt")
            page.wait_for_selector(f"{PROBLEM}:has-text('{sentence}')")
            assert page.inner_text("#t-result") == f"This recording cannot be analysed\n\n{sentence}"
            assert page.inner_text(".t-detail") == f"{len(content)} bytes"
        give(page, song(0.1, 0.7, 0.1, 0.1))
        labelled(page, "Opera")
        assert page.locator(PROBLEM).count() == 0
        assert page.get_attribute("#t-result", "aria-live") == "polite"
        page.keyboard.press("Tab")  # from the file that was chosen, to its first neighbour
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_all_ways_to_give_a_recording(browser, url, tmp_path):
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    with visit(browser, url) as page:
        drop = """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "dropped.mp3"));
            const init = {dataTransfer: data, bubbles: true, cancelable: true};
            document.body.dispatchEvent(new DragEvent("drop", init));
        }"""
        page.evaluate(drop, song(0.1, 0.1, 0.1, 0.7).decode())
        labelled(page, "Chamber")
        assert page.inner_text(".t-name") == "dropped.mp3"

        assert page.locator(".t-examples button").all_inner_texts() == [
            EXAMPLE,
            "Voice · speech",
            "Prelude · music",
        ]
        page.click(".t-examples button")
        labelled(page, "Opera")
        with urllib.request.urlopen(page.eval_on_selector(".t-player", "player => player.src")) as response:
            assert response.read() == b"an example"

        uploads: list[str] = []
        page.on("request", lambda request: uploads.append(request.url) if "upload" in request.url else None)
        page.set_input_files(".t-file", large)
        page.wait_for_selector(".t-refused:visible")
        assert page.inner_text(".t-refused").startswith("This file has 100 MB, but the limit is 64 MB")
        assert uploads == []

        give(page, song(0.1, 0.1, 0.1, 0.7))
        labelled(page, "Chamber")
        page.evaluate("""() => {
            const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            window.opened = [];
            navigator.mediaDevices.getUserMedia = async how => opened[opened.push(await open(how)) - 1];
        }""")
        page.eval_on_selector(".t-record", "button => { button.click(); button.click(); }")  # a double click
        page.wait_for_function("document.querySelector('.t-record').innerText.includes('0:01')")
        page.click(".t-record")
        page.wait_for_selector(".t-name:has-text('.webm')")
        assert re.fullmatch(r"recording \d\d\.\d\d\.\d\d\.webm", page.inner_text(".t-name"))
        labelled(page, "Opera")
        assert page.evaluate("opened.map(stream => stream.getTracks()[0].readyState)") == ["ended"]
        assert uploads and page.is_hidden(".t-refused") and page.inner_text(".t-record") == "Record"


def test_an_example_chooses_the_system_that_suits_it(browser, url):
    def chosen(page: Page) -> list[str]:
        return page.locator(".t-examples [aria-pressed=true]").all_inner_texts()

    with visit(browser, url, locale="zh-CN") as page:
        assert page.locator(".t-examples button").all_inner_texts() == [EXAMPLE, "人声 · 语音", "前奏曲 · 音乐"]
        page.click("button:has-text('人声')")
        labelled(page, "happy")
        assert "语音情感" in page.inner_text("#t-system label:has(:checked)") and chosen(page) == ["人声 · 语音"]
        page.click("#t-system label:has-text('vgg19')")  # may be asked all the same
        labelled(page, "Opera")
        page.click("button:has-text('人声')")
        labelled(page, "happy")
        page.click("button:has-text('song')")  # an unknown one: the system stays
        page.wait_for_selector(PROBLEM)
        page.click("button:has-text('前奏曲')")
        labelled(page, "Opera")
        assert "musicnn" in page.inner_text("#t-system label:has(:checked)") and chosen(page) == ["前奏曲 · 音乐"]
        give(page, song(0.1, 0.1, 0.7, 0.1))
        labelled(page, "Solo")
        assert chosen(page) == []


def test_systems_and_their_options_in_the_dark(browser, url):
    with visit(browser, url, color_scheme="dark") as page:
        ground = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        assert page.evaluate(ground) == ["rgb(16, 18, 22)", "rgb(232, 235, 239)"]
        page.click("#t-system label:has-text('vgg19')")
        give(page, song(0.2, 0.4, 0.2, 0.2))
        labelled(page, "Opera")
        assert page.locator(".tritone-review").count() == 0
        assert "orange: where it looked" in page.inner_text("#t-result")
        page.click("#t-options button")
        slide(page, "Ask for review", "0.2")
        page.get_by_label("Show where the network looked").uncheck()
        page.click("#t-again")
        page.wait_for_selector(".tritone-review")
        assert "Entropy is 0.25, above 0.20" in page.inner_text("#t-result")
        assert "orange: where it looked" not in page.inner_text("#t-result")

        page.emulate_media(color_scheme="light")
        page.wait_for_selector("body:not(.dark)")
        assert page.evaluate(ground) == ["rgb(246, 247, 249)", "rgb(22, 32, 44)"]
        page.click("text=Speech emotion")  # asks at once, and has other options
        page.wait_for_selector(".tritone-label:has-text('neutral'), #t-result .t-problem")
        give(page, bytes([3] * 60 + [4] * 40))
        assert labelled(page, "happy").startswith("happy 开心")
        assert page.locator(".tritone-bar").count() == 9
        assert page.locator(f"{ANSWER} svg").count() == 2  # segments, and frame by frame
        assert page.is_visible("text=Remove noise") and page.is_hidden("text=Part to analyse")


def test_only_the_options_that_a_system_has_are_shown(browser, url):
    """The small Triton has a network that explains only for vgg19_bn_cqt."""
    explain, threshold = "text=Show where the network looked", "text=Ask for review above"
    with visit(browser, url) as page:
        page.click("#t-options button")
        page.click("#t-system label:has-text('musicnn')")
        page.wait_for_selector(threshold, state="hidden")
        assert page.is_hidden(explain) and page.is_visible("text=Images of what the network saw")
        give(page, song(0.1, 0.7, 0.1, 0.1))
        labelled(page, "Opera")
        assert page.locator(".tritone-picture").count() == 1 and "make explain" not in page.inner_text("#t-result")
        page.click("#t-system label:has-text('narrow')")
        page.wait_for_selector(threshold)
        assert page.is_hidden(explain)
        page.click("#t-system label:has-text('vgg19')")
        page.wait_for_selector(explain)
        page.click("#t-system label:has-text('emotion')")
        page.wait_for_selector(explain, state="hidden")
        assert page.is_visible(threshold)


def test_a_counter_shows_that_the_page_waits(browser, url):
    with visit(browser, url) as page:
        for _ in range(2):  # it begins anew
            give(page, json.dumps({"slices": [[0.1, 0.1, 0.7, 0.1]] * 2, "seconds": 2.8}).encode())
            page.wait_for_selector(".t-busy")
            assert page.inner_text(".t-busy").strip() == "Listening …"
            page.wait_for_selector(".t-seconds:text-is('1 s')")
            page.wait_for_selector(".t-seconds:text-is('2 s')")
            labelled(page, "Solo")


def test_the_answer_can_be_copied(browser, url, triton):
    with visit(browser, url, permissions=["clipboard-read", "clipboard-write"], **PHONE) as page:
        give(page, song(0.1, 0.1, 0.7, 0.1), "it's <b>.mp3")
        labelled(page, "Solo")
        page.click(".t-usage summary")
        for tab, shown in (
            ("Python", "from tritone_client"),
            ("curl", "curl -s"),
            ("Command line", "tritone classify"),
        ):
            page.click(f".t-tabs label:has-text('{tab}')")
            code = page.locator(".t-tabs pre:visible")
            assert code.count() == 1 and shown in code.inner_text() and overflow(page) == 0
        page.click("text=Copy code")
        copied = "navigator.clipboard.readText()"
        assert page.evaluate(copied).startswith("tritone classify 'it'\"'\"'s <b>.mp3' --model musicnn_msd")
        page.click("text=Copy answer as JSON")
        page.wait_for_selector("text=Copied")
        assert json.loads(page.evaluate(copied))["label"] == "Solo"


def test_the_keyboard_leaves_no_list_open(browser, url):
    with visit(browser, url) as page:
        page.click("#t-options button")
        page.wait_for_selector("text=Remove noise")
        for _ in range(8):
            page.keyboard.press("Tab")
            assert page.locator("#t-options ul:visible").count() == 0
        page.click("#t-system label:has-text('vgg19')")
        page.get_by_label("Noise as in the first second").check()
        give(
            page,
            json.dumps({"slices": [[0.1, 0.7, 0.1, 0.1]] * 2, "denoised": [[0.7, 0.1, 0.1, 0.1]] * 2}).encode(),
        )
        labelled(page, "Symphony")


def test_two_visitors_at_once_each_in_a_language(browser, url):
    with visit(browser, url) as one, visit(browser, url, locale="zh-CN", **PHONE) as other:
        assert other.url == f"{url}/zh/" and other.evaluate("document.documentElement.lang") == "zh"
        assert other.inner_text(".t-choose") == "选择文件"
        give(one, song(0.1, 0.1, 0.7, 0.1))
        give(other, song(0.1, 0.1, 0.1, 0.7), LONG)
        assert labelled(one, "Solo").startswith("Solo 独奏")
        assert labelled(other, "Chamber").startswith("室内乐 Chamber") and overflow(other) == 0
        give(other, b'{"broken": true}')
        other.wait_for_selector(PROBLEM)
        assert other.inner_text(PROBLEM) == "无法回答这段录音\n\nThe recording is cut off."
        other.click("text=English")
        other.wait_for_selector("text=Choose a file")
        assert other.url == f"{url}/en/"
        assert one.inner_text(".t-name") == "song.mp3"


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back(browser, url, triton):
    with visit(browser, url) as early, browser.new_context() as visitor:
        triton.stop()
        try:
            give(early, song(0.1, 0.7, 0.1, 0.1))
            early.wait_for_selector(f"{PROBLEM}:has-text('No server can be reached at {triton.grpc}')")
            assert early.inner_text(PROBLEM).startswith("The server cannot be reached\n\n")
            late = visitor.new_page()
            late.goto(url)
            late.wait_for_selector("#t-banner .t-problem")
            assert late.inner_text("#t-banner").startswith("The server cannot be reached\n")
            with urllib.request.urlopen(f"{url}/ready") as response:
                assert json.load(response) == {"page": True, "server": False}
        finally:
            triton.start()
        early.wait_for_selector(ANSWER)  # by itself
        late.wait_for_selector("#t-system label")
        assert late.is_hidden("#t-banner")


@pytest.mark.slow
def test_a_page_that_was_restarted_answers_those_who_had_it_open(browser, triton):
    with browser.new_context() as visitor:
        page = visitor.new_page()
        with tritone_web(f"--url={triton.grpc}") as (url, _):
            page.goto(url)
            page.wait_for_selector("#t-system label")
            page.click("text=Speech emotion")
            give(page, bytes([3] * 60 + [4] * 40))
            labelled(page, "happy")
        with tritone_web(f"--url={triton.grpc}", f"--port={url.split(':')[-1]}"):
            give(page, bytes([3] * 40 + [0] * 60), "other.mp3")
            labelled(page, "angry")


def test_what_cannot_be_served_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TritoneError, match=rf"cannot listen on 127.0.0.1, port {port} \(.*another --port"):
            serve("127.0.0.1:8001", "127.0.0.1", port, [], 1.0, {})
    with pytest.raises(TritoneError, match="uses gRPC"):
        serve("http://127.0.0.1:8000", "127.0.0.1", 0, [], 1.0, {})
    with pytest.raises(TritoneError, match="There are no recordings in"):
        recordings(tmp_path)
    done = tritone("web", "--examples=/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tritone: '/nowhere' is not a folder: --examples takes a folder of recordings.\n"
