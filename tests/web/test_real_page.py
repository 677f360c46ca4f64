"""The page before the real server: a generated MP3 gets its family's label, a letter the server's sentence."""

import pytest

from server.embedded import embedded
from sounds import recording
from systems.label_set import label_set
from tests.support.project import UNASKED
from tests.support.reference import in_process
from tests.web.browser import ANSWER, PROBLEM, give, tritone_web, visit

SYSTEM = "vgg19_bn_cqt"


@pytest.fixture(scope="module")
def url(repository, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with (
        embedded(f"--model-repository={repository}", f"--systems={SYSTEM}", UNASKED, log=log) as server,
        tritone_web(f"--url={server.grpc}") as (address, _),
    ):
        yield address


def test_a_generated_mp3_and_a_letter(browser, url):
    family = 5
    data = recording(family, seed=61, seconds=30.0)
    probabilities, slices = in_process(SYSTEM, data, "ccmusic")
    label = label_set("ccmusic").labels[int(probabilities.argmax())]
    assert label_set("ccmusic").labels[family] == label
    with visit(browser, url) as page:
        give(page, data, "generated.mp3")
        page.wait_for_selector(ANSWER)
        assert page.inner_text(".tritone-label").startswith(f"{label.en} {label.zh}")
        assert page.locator(".tritone-bar").count() == 5
        assert page.locator(f"{ANSWER} svg g").count() == len(slices)
        assert page.locator(".tritone-picture img").count() == 1
        assert "make explain" not in page.inner_text("#t-result")
        assert "Demo weights: the label names one of 16 families" in page.inner_text("#t-result")
        give(page, b"Dear Sir or Madam,\n" * 40, "letter.txt")
        page.wait_for_selector(PROBLEM)
        assert "bytes sent are not audio that can be decoded" in page.inner_text(PROBLEM)
