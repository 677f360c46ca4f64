"""What the page decides without a browser: which language, which file, and what to do without explanations."""

import asyncio

import pytest
from tritone_client import InvalidRecording
from tritone_client.web.asking import Uploads, ask, failed
from tritone_client.web.texts import LANGUAGES, PAGE, SYSTEMS, preferred

from tests.client.answers import genre


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


def test_only_uploads_and_examples_can_be_asked_about(tmp_path):
    uploads, outside = tmp_path / "uploads", tmp_path / "secret"
    (uploads / "abc").mkdir(parents=True)
    song = uploads / "abc" / "song.mp3"
    for path in (song, outside):
        path.write_bytes(b"x")
    (uploads / "link").symlink_to(outside)
    files = Uploads(uploads, [outside])
    assert files.find({"path": str(song)}) == song.resolve()
    assert files.find({"example": 0}) == outside
    for source in (
        {"path": str(outside)},
        {"path": f"{uploads}/../secret"},
        {"path": str(uploads / "link")},
        {"path": str(uploads)},
        {"path": str(uploads / "abc" / "gone.mp3")},
        {"path": "a\0b"},
        {"path": 7},
        {"example": 1},
        {"example": -1},
        {"example": "0"},
        {},
    ):
        assert files.find(source) is None, source


class Server:
    """Has no network that explains."""

    async def classify(self, recording, *, model, **options):
        if options.get("explain"):
            raise InvalidRecording(f"OPTIONS: explain needs the network {model}_explain, which ...")
        return genre(pictures=options["pictures"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_what_explains_the_picture_is_shown_with_a_sentence(language):
    def asked(**options):
        return asyncio.run(ask(Server(), b"", "vgg19_bn_cqt", "classify", options, language))

    with_sentence, without = asked(pictures=1, explain=1), asked(pictures=1)
    assert with_sentence.count("<img") == without.count("<img") == 1
    assert "make explain" in with_sentence and "make explain" not in without


def test_errors_are_escaped():
    assert "<b>&lt;script&gt;" not in failed(InvalidRecording("<script>"), "en")
    assert "&lt;script&gt;" in failed(InvalidRecording("<script>"), "en")
