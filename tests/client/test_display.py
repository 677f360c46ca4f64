"""What a notebook shows of an answer: read back as a browser would, with the standard library's parser."""

import base64
import colorsys
import io
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from tritone_client.answers.prediction import parse_prediction
from tritone_client.display.html import answer_html, percent
from tritone_client.display.svg import COLOURS, GREYS, area, axis, clock, colour, colour_of, png, smoothed
from tritone_client.display.svg import EMOTIONS as BY_MEANING
from tritone_client.display.texts import TEXTS

from tests.support.answers import DEMO, EMOTIONS, GENRES, UNSURE, WEIGHTS, emotion, genre, genre_tensors, tensor

VOID = {"img", "rect", "polygon"}


class Read(HTMLParser):
    """Elements and text; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag, name=""):
        return [a for t, a in self.elements if t == tag and (not name or a.get("class") == name)]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


ANSWERS = {
    "genre": genre(20, pictures=2, explained=1, **UNSURE),
    "one slice": genre(1, runtime=None, agreement=0.75),
    "emotion": emotion(**UNSURE),
    "utterance": emotion(with_frames=False),
    "silence": emotion(silence=True, emotion=None, emotion_zh=None, confidence=None, segments=[]),
}


RULE = {
    "rule": "fast",
    "because": {"tempo": 152.0},
    "changes": [{"label": "Opera", "factor": 0.3, "before": 0.4, "after": 0.2}],
}
RULED = genre(3, pictures=1, rules=[RULE], agreement=0.5, **UNSURE)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("name", ANSWERS)
def test_self_contained_without_scripts_or_links(name, language):
    html = answer_html(ANSWERS[name], language)
    read = Read(html)
    assert not {tag for tag, _ in read.elements} & {"script", "style", "link", "iframe", "a"}
    assert not any(key.startswith("on") for _, attributes in read.elements for key in attributes)
    assert all(image["src"].startswith("data:image/png;base64,") for image in read.all("img"))
    assert "http" not in html and "url(" not in html
    assert len(html) < 400_000


def test_a_genre_answer():
    answer = ANSWERS["genre"]
    read = Read(answer._repr_html_())
    assert len(read.all("div", "tritone-bar")) == len(GENRES) == 7  # up to nine labels are all shown
    assert read.text.startswith(f"{DEMO} Chamber cabaret & art pop 室内卡巴莱与艺术流行乐 39% Needs review")
    for entry in answer.top[:5]:
        assert f"{entry.label} {entry.label_zh} {percent(entry.probability)}" in read.text
    titles = [t for t in read.texts if re.match(r"[\d:]+( s)? – ", t)]
    assert titles[0].startswith("0 s – 11 s: ") and titles[19].startswith("3:37 – 3:48: ")
    assert "20 of 20 slices" in read.text
    assert "Entropy is 0.83, above 0.70: a person should listen." in read.text
    assert "Variation ratio 0.62" in read.text and "Disagreement 0.35" in read.text
    assert "42 ms · vgg19_bn_cqt · CPU · bfloat16 (OpenVINO) · profile ccmusic · 228.0 s of sound" in read.text
    assert len(read.all("div", "tritone-note")) == 1  # the review


def test_a_bar_is_as_long_as_its_share():
    answer = ANSWERS["one slice"]
    widths = re.findall(r"width:([\d.]+)%;height:100%", answer_html(answer))
    assert [float(width) for width in widths[:5]] == [round(100 * e.probability, 1) for e in answer.top[:5]]


def test_one_slice_has_no_strip():
    assert Read(answer_html(ANSWERS["one slice"])).all("svg") == []


def test_pictures_are_those_of_the_answer():
    answer = ANSWERS["genre"]
    images = Read(answer_html(answer)).all("img")
    decoded = [np.array(Image.open(io.BytesIO(base64.b64decode(i["src"].split(",")[1])))) for i in images]
    np.testing.assert_array_equal(decoded, [answer.pictures[0], answer.overlay(0), answer.pictures[1]])


def test_an_emotion_answer_in_chinese():
    read = Read(answer_html(ANSWERS["emotion"], "zh"))
    assert len(read.all("div", "tritone-bar")) == 9 and len(read.all("svg")) == 2
    assert read.text.startswith("演示权重：对真实录音，答案没有意义。 开心 happy 27% 需要复核")
    assert "熵为 0.83，高于 0.70：请人工试听。" in read.text


@pytest.mark.parametrize("language", TEXTS)
def test_demo_weights_are_named_once_above_the_headline(language):
    html = answer_html(genre(2, notes=[DEMO, "The recording was cut."]), language)
    assert html.lower().count("demo weights") + html.count("演示权重") == 1
    assert html.index("tritone-demo") < html.index("tritone-label") < html.index("The recording was cut.")
    assert TEXTS[language]["demo"] in answer_html(genre(2, notes=[]), language)  # as other servers may answer
    trained = genre(2, notes=[], weights=WEIGHTS | {"origin": "hub", "demo": False})
    assert "tritone-demo" not in answer_html(trained, language)


def test_silence_has_no_bars():
    read = Read(answer_html(ANSWERS["silence"]))
    assert read.text.startswith(f"{DEMO} Silence The recording is silent") and not read.all("div", "tritone-bar")


def test_what_a_server_says_is_text():
    evil = "<img src=x onerror=alert(1)>"
    html = answer_html(genre(2, notes=[evil], model=evil, uncertainty={evil: 0.5}))
    assert Read(html).all("img") == [] and html.count("&lt;img src=x") == 3
    assert "&lt;unk&gt;" in answer_html(ANSWERS["emotion"]) and "<unk>" not in answer_html(ANSWERS["emotion"])


def marked(value: object, name: str = "answer") -> object:
    """The same with `<b>name</b>` in the place of every text and number."""
    if is_dataclass(value):
        entries = {f.name: marked(getattr(value, f.name), f"{name}.{f.name}") for f in fields(value)}
        return replace(value, **entries)
    if isinstance(value, dict):
        return {key: marked(entry, f"{name}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(marked(entry, f"{name}.{i}") for i, entry in enumerate(value))
    return f"<b>{name}</b>" if isinstance(value, str | int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("answer", [RULED, ANSWERS["genre"], ANSWERS["emotion"], ANSWERS["utterance"]])
def test_nothing_of_an_answer_is_markup(answer, language):
    """Also not where a number should be: each field is marked with its name, and none is left unescaped."""
    seconds, pictured, explained = (
        answer.seconds,
        getattr(answer, "pictured", ()),
        getattr(answer, "explained", ()),
    )
    shown = {"pictured": pictured, "explained": explained} if pictured else {}
    hostile = replace(marked(answer), seconds=seconds, **shown)
    review = {"by": "<b>by</b>", "threshold": "<b>threshold</b>"}
    uncertainty = {"<b>by</b>": "<b>measure</b>"} if answer.uncertainty else {}
    hostile = replace(hostile, raw=hostile.raw | {"review": review}, uncertainty=uncertainty)
    html = answer_html(hostile, language, ["<b>remark</b>"])
    assert "<b>" not in html.replace('<b style="font-weight:600">', "")
    names = {"model", "duration", "notes.0", "raw.profile", "runtime.device"}
    names |= {"label", "slices_total", "slices.0.probability"} if pictured else {"emotion", "confidence"}
    for name in names:
        assert f"&lt;b&gt;answer.{name}&lt;/b&gt;" in html, name
    assert Read(html).open == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0, 10**400])
def test_numbers_that_cannot_be_drawn(value):
    """A recording without length, and what is no number, are shown all the same."""
    parts = tuple(replace(part, start=value, end=value, probability=value) for part in ANSWERS["genre"].slices)
    for part in (parts, ()):
        answer = replace(
            ANSWERS["genre"], duration=value, slices=part, probability=value, agreement=value, pictures=None
        )
        assert Read(answer_html(answer)).open == []
    segments = tuple(
        replace(part, start=value, end=value, confidence=value) for part in ANSWERS["emotion"].segments
    )
    scores = np.full_like(ANSWERS["emotion"].frame_scores, np.nan)
    for part, hop in ((segments, value), ((), 0.02)):
        answer = replace(ANSWERS["emotion"], duration=value, segments=part, frame_hop=hop, frame_scores=scores)
        assert not re.search(r'points="[^"]*nan', answer_html(answer))


def test_both_languages_have_the_same_words():
    assert TEXTS["en"].keys() == TEXTS["zh"].keys()


def test_png_of_any_size_is_read_back():
    picture = np.random.default_rng(0).integers(0, 256, (7, 13, 3), np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png(picture)))), picture)


@pytest.mark.parametrize("ground", ["#ffffff", "#16181d"])
def test_colours_are_told_from_the_ground(ground):
    """WCAG 2.1's contrast of graphics: 3:1."""

    def luminance(colour: str) -> float:
        levels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour_ in (*COLOURS, *BY_MEANING.values(), *GREYS.values()):
        dark, light = sorted((luminance(colour_), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour_
    assert len({colour(i) for i in range(16)}) == 16


# Linear RGB as people without red or green cones see it (Machado, Oliveira and Fernandes, 2009).
SIGHT = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.3673, 0.8607, -0.2279], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
}
XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def lab(colour_: str, sight: np.ndarray) -> np.ndarray:
    """CIELAB of an sRGB colour as somebody sees it."""
    levels = np.array([int(colour_[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(sight @ linear, 0, 1) / XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colours_of_emotions_are_told_from_each_other(sight):
    """By the distance in CIELAB, of which 2.3 is just noticeable."""
    seen = {label: lab(colour_, np.array(SIGHT[sight])) for label, colour_ in BY_MEANING.items()}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 12, (one, other)


def test_emotions_have_the_colours_of_their_meaning():
    hues = {
        label: colorsys.rgb_to_hsv(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] * 360
        for label, c in BY_MEANING.items()
    }
    assert (hues["angry"] + 30) % 360 < 40 and 15 < hues["surprised"] < 32 and 38 < hues["happy"] < 52
    assert 120 < hues["disgusted"] < 175 and 200 < hues["sad"] < 230 and 265 < hues["fearful"] < 300
    assert [colour_of(label, EMOTIONS) for label in ("angry", "<unk>")] == [BY_MEANING["angry"], GREYS["<unk>"]]
    tags = ("rock", "happy", "sad")  # of music, coloured like the other tags
    assert [colour_of(label, tags) for label in tags] == list(COLOURS[:3])
    html = answer_html(ANSWERS["emotion"])
    legend_ = html[html.index("tritone-legend") :]
    for label in (*BY_MEANING, "neutral", "other"):
        assert f'background:{colour_of(label, EMOTIONS)}"></span>{label}' in legend_
        assert f'<polygon fill="{colour_of(label, EMOTIONS)}"' in html
    assert html.count("tritone-legend") == 1


def test_frames_are_averaged_over_neighbours():
    scores = np.random.default_rng(2).dirichlet(np.ones(3), 40).astype(np.float32)
    means = smoothed(scores, 5)
    np.testing.assert_allclose(means[10], scores[8:13].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(means[[0, -1]], [scores[:3].mean(axis=0), scores[-3:].mean(axis=0)], rtol=1e-6)
    np.testing.assert_allclose(smoothed(scores, 1), scores, rtol=1e-5)


def test_areas_keep_the_scores():
    """The polygons' areas are the classes' mean scores, also where frames are joined."""
    scores = np.random.default_rng(1).dirichlet(np.ones(3), 1237).astype(np.float32)
    for part in (scores, scores[:7]):
        polygons = re.findall(r'points="([^"]+)"', area(part, 10))
        for points, expected in zip(polygons, part.mean(axis=0), strict=True):
            x, y = np.array([point.split(",") for point in points.split()], float).T
            shoelace = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            assert shoelace / 1e5 == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("duration", [0.03, 0.5, 3, 23, 61.2, 228, 1800, 3600])
def test_an_axis_has_few_round_times_up_to_the_end(duration):
    texts = Read(axis(duration)).texts
    assert 2 <= len(texts) <= 7 and texts[0] == "0 s" and texts[-1] == clock(duration)
    assert len(set(texts)) == len(texts)


def test_plots():
    figure = ANSWERS["genre"].plot()
    figure.canvas.draw()
    bars, strip, *pictures = figure.findobj(lambda o: type(o).__name__ == "Axes")
    assert [round(p.get_width(), 4) for p in bars.patches] == [
        round(e.probability, 4) for e in ANSWERS["genre"].top
    ]
    assert len(strip.patches) == 20 and len(pictures) == 2
    assert strip.get_xlim() == (0, pytest.approx(228)) and strip.get_ylabel() == "probability"
    assert "demo weights" in figure._suptitle.get_text()
    trained = genre(3, weights=WEIGHTS | {"demo": False})
    assert "demo weights" not in trained.plot()._suptitle.get_text()
    speech = ANSWERS["emotion"].plot().findobj(lambda o: type(o).__name__ == "Axes")
    assert len(speech[0].patches) == len(EMOTIONS) and len(speech[1].lines) == len(EMOTIONS)
    ANSWERS["silence"].plot().canvas.draw()


def test_a_label_is_no_formula():
    """Matplotlib fails of one that is none."""
    label = r"$\frac{"
    top = tuple(replace(entry, label=label + "$" * i) for i, entry in enumerate(ANSWERS["genre"].top))
    slices = tuple(replace(part, label=label + "$") for part in ANSWERS["genre"].slices)
    replace(ANSWERS["genre"], label=label + "$", top=top, slices=slices).plot().savefig(io.BytesIO())


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setattr("tritone_client.display.figures.can_plot", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'tritone-client\[plot\]'"):
        ANSWERS["genre"].plot()


def test_a_notebook_needs_nothing_more_than_the_client():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('matplotlib', 'PIL', 'gradio')));"
        "from tests.support.answers import genre; print(genre(3, pictures=1)._repr_html_())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and Read(done.stdout).all("img"), done.stderr


def test_labels_beyond_the_colours_get_one_all_the_same():
    assert colour(len(COLOURS)) == colour(0) and len(GENRES) < len(COLOURS)


TICKS = [
    {"at": 0.9, "label": "C1"},
    {"at": 0.3, "label": "<C5>"},
]  # as a profile whose images have low pitches on top


@pytest.mark.parametrize("is_upside_down", [True, False])
def test_pictures_are_shown_upright_with_both_axes(is_upside_down: bool):
    ticks = TICKS if is_upside_down else [{**tick, "at": 1 - tick["at"]} for tick in TICKS]
    answer = genre(3, pictures=1, explained=1)
    raw = answer.raw | {"pictures": {"slices": [0], "ticks": ticks}}
    answer = parse_prediction(genre_tensors(3, pictures=1, explained=1) | {"RESULT": tensor(raw)}, 0.1)
    [image] = answer.images
    assert [(tick.label, pytest.approx(tick.at)) for tick in image.ticks] == [("C1", 0.1), ("<C5>", 0.7)]
    step = -1 if is_upside_down else 1
    np.testing.assert_array_equal(image.picture[::step], answer.pictures[0])
    np.testing.assert_array_equal(image.overlay[::step], answer.overlay(0))
    read = Read(answer_html(answer))
    assert len(read.all("div", "tritone-scale")) == 1
    marks = [a["style"] for tag, a in read.elements if tag == "span" and "translateY" in a.get("style", "")]
    assert ["top:90.0%" in marks[0], "top:30.0%" in marks[1], len(marks)] == [True, True, 2]
    assert "C1" in read.text and "<C5>" in read.text and "0 s 11 s" in read.text
    *_, axes = answer.plot().findobj(lambda o: type(o).__name__ == "Axes")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["C1", "<C5>"]


def test_a_server_that_reports_no_axis_has_none():
    assert "tritone-scale" not in answer_html(genre(3, pictures=1))
