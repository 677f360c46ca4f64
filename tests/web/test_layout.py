"""Answers of every shape on the page's style sheet: none is wider than a small phone."""

from itertools import pairwise

import pytest
from tritone_client.display.html import answer_html
from tritone_client.web.app import HERE

from tests.support.answers import UNSURE, emotion, genre
from tests.web.browser import overflow

ANSWERS = (
    genre(20, pictures=4, explained=2, **UNSURE),
    genre(32, slices_total=158, notes=["A sentence that is long, " * 12, "x" * 200]),
    emotion(**UNSURE),
    emotion(30_000, with_frames=False),
)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_answer_is_wider_than_a_phone(browser, language):
    style = (HERE / "page.css").read_text()
    page = browser.new_page(viewport={"width": 320, "height": 700})
    for answer in ANSWERS:
        page.set_content(f"<style>{style}</style><div id='t-answer'>{answer_html(answer, language)}</div>")
        assert overflow(page) == 0
        # Nor does a text run into its neighbour on an axis.
        boxes = page.eval_on_selector_all(
            ".tritone-answer div[style*='tabular-nums'] span",
            "all => all.map(e => [e.parentElement.getBoundingClientRect().y, e.getBoundingClientRect().x,"
            " e.getBoundingClientRect().right])",
        )
        for (row, _, right), (next_row, left, _) in pairwise(boxes):
            assert row != next_row or right < left
    page.close()
