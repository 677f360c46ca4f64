"""What the page decides without a browser: which language, and what to do without explanations."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
from tritone_client import InvalidRecording
from tritone_client.defaults import EMOTION_MODEL, MODEL
from tritone_client.web.asking import ask, failed
from tritone_client.web.page import build_page
from tritone_client.web.texts import LANGUAGES, PAGE, SYSTEMS, in_order, preferred, system_name
from tritone_client.web.uploads import Uploads

from tests.support.answers import genre


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de, fr;q=0.9", "en"),
        ("de, ZH-tw;q=0.5, en;q=0.4", "zh"),
        ("en;q=0.1, zh;q=0.7", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=many", "en"),
    ],
)
def test_language(header, language):
    assert preferred(header) == language


def test_both_languages_have_all_words():
    for texts in (PAGE, SYSTEMS):
        assert texts["en"].keys() == texts["zh"].keys() and set(texts) == set(LANGUAGES)


class Server:
    """Has no network that explains, and a system that is loading."""

    address = "grpc://127.0.0.1:8001"

    async def ping(self):
        pass

    async def models(self):
        return [SimpleNamespace(name=name, ready=name == "vgg19_bn_cqt", explains=False) for name in SYSTEMS["en"]]

    async def method(self, system):
        return "classify"

    async def classify(self, recording, *, model, **options):
        if model == "musicnn_msd" and options.get("uncertainty"):
            raise InvalidRecording("OPTIONS: uncertainty is for systems of which ...", "option")
        if options.get("explain"):
            raise InvalidRecording(f"OPTIONS: explain needs the network {model}_explain, which ...", "unexplained")
        return genre(pictures=options["pictures"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_what_explains_the_picture_is_shown_with_a_sentence(language):
    def asked(**options):
        return asyncio.run(ask(Server(), b"", "vgg19_bn_cqt", "classify", options, language))

    with_sentence, without = asked(pictures=1, explain=1), asked(pictures=1)
    assert with_sentence.count("<img") == without.count("<img") == 1
    assert "make explain" in with_sentence and "make explain" not in without


def test_the_options_of_the_page_that_a_system_has_not_are_left_out():
    options = {"pictures": 1, "explain": 1, "uncertainty": "entropy"}
    shown = asyncio.run(ask(Server(), b"", "musicnn_msd", "classify", options, "en"))
    assert shown.count("<img") == 1 and "make explain" not in shown


def test_the_trained_system_comes_first():
    assert in_order(["emotion2vec_plus_large", "mine", "vgg19_bn_cqt", "musicnn_msd"]) == [
        *("musicnn_msd", "vgg19_bn_cqt", "emotion2vec_plus_large", "mine"),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_systems_have_different_names_and_the_defaults_are_marked(language):
    purposes = [system_name(name, language).split("\n")[0] for name in SYSTEMS[language]]
    assert len(set(purposes)) == len(purposes) == 5
    mark = "default" if language == "en" else "默认"
    marked = [name for name in SYSTEMS[language] if mark in system_name(name, language)]
    assert marked == [MODEL, EMOTION_MODEL]
    assert system_name("mine", language) == "mine"


def test_errors_are_escaped():
    shown = failed(InvalidRecording("<script>"), "en")
    assert "&lt;script&gt;" in shown and "<script>" not in shown


def handler(page: gr.Blocks, inputs: int):
    """The function of the page that takes so many values."""
    (found,) = {function.fn for function in page.fns.values() if len(function.inputs) == inputs}
    return found


@pytest.mark.parametrize(
    "odd",
    [
        {"source": "abc"},
        {"source": {"upload": ["a"], "example": "0"}, "segments": "many"},
        {"segments": None},
        {"segments": [1]},
        {"pictures": "many"},
    ],
)
def test_odd_values_are_a_sentence(tmp_path, capsys, odd):
    (tmp_path / "a.mp3").write_bytes(b"x")
    values = {"source": {"example": 0}, "system": "vgg19_bn_cqt", "crop": "", "segments": 0, "denoise": ""}
    values |= {"threshold": 0.7, "pictures": 1, "explain": True, "matched": None}
    page = build_page(Server(), Uploads(tmp_path, [tmp_path / "a.mp3"]), "zh")

    async def last(values: dict[str, object]) -> str:
        return [shown async for shown, *_ in handler(page, 9)(**values)][-1]

    assert "tritone-answer" in asyncio.run(last(values))
    assert PAGE["zh"]["unexpected"] in asyncio.run(last(values | odd))
    assert "Traceback" in capsys.readouterr().err


def test_a_system_that_is_not_ready_yet_stays_the_chosen_one(tmp_path):
    look = handler(build_page(Server(), Uploads(tmp_path, []), "en"), 2)
    radio, _, timer, returns = asyncio.run(look("emotion2vec_plus_large", 3))
    assert (radio, timer.active, returns) == (gr.skip(), True, gr.skip())
    for chosen in ("vgg19_bn_cqt", None):
        radio, _, timer, returns = asyncio.run(look(chosen, 3))
        assert (radio.value, timer.active, returns) == ("vgg19_bn_cqt", False, 4)
