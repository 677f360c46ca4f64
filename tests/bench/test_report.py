"""The report says what bench.json says, whatever part of it was measured; it makes the sections of the pages."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

from bench import __main__ as command
from bench import plots, report
from bench.errors import BenchError
from bench.markdown import WIDTH, fill, ratio, short, table
from bench.report import (
    PLACES,
    publish,
    read_published,
    read_results,
    section,
    sections,
    write_report,
)
from bench.stages import NOT_SERVING, PREPARATION
from bench.summary_report import summary
from tests.bench.figures import (
    FULL,
    HEAD,
    QUICK,
    SPEECH,
    SPEECH_MODEL,
    TRITONE,
    A,
    line,
)
from tests.support.project import ROOT


def sentence(text: str, start: str) -> str:
    """A bullet on one line."""
    return " ".join(re.search(rf"- ({start}.*?)\n(?:- |\n)", text, re.DOTALL)[1].split())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (12.345, "12.3"),
        (9.996, "10.0"),
        (0.0551, "0.0551"),
        (1234.5, "1234"),
        (99.96, "100"),
        (0.0, "0.00"),
        (None, ""),
    ],
)
def test_numbers_have_three_digits(number, text):
    assert short(number) == text


def test_table_leaves_out_what_nobody_has_and_puts_numbers_right():
    rows = [{"a": "x", "b": "", "c": "1 of 2"}, {"a": "3", "c": "", "d": "4.0×"}]
    assert table(rows) == "| a | c | d |\n| --- | ---: | ---: |\n| x | 1 of 2 |  |\n| 3 |  | 4.0× |"


def test_comparison_has_the_medians_of_the_rounds_ratios():
    text = section(QUICK, ".")
    head, ours, first = (line(text, start) for start in ("pipeline", "**Tritone, openvino**", "article A (what"))
    cells = dict(zip(head, ours, strict=True))
    assert cells["recordings/s"] == "12.0 (8.00–15.0)"
    assert cells["to article A"] == "3.00×"  # of 3, 4, 2.5
    assert cells["to plain Triton"] == "2.00×"  # of 2, 2, 3
    assert cells["of the ideal"] == "80%"  # of 12/15, 8/16, 15/15, and not of another variant's ideal
    assert cells["same label (probabilities within)"] == "14 of 16 (0.01)" and cells["mean batch"] == "4.31"
    assert dict(zip(head, first, strict=True))["memory MB"] == "1403" and first[-1] == ""
    assert "| ideal" not in text
    assert "15.0 recordings/s with openvino (44.1 ms of one core" in " ".join(text.split())


def test_ratio_to_nothing_is_nothing():
    assert ratio(TRITONE, None) is None
    assert "of the ideal" not in section(QUICK | {"comparison": HEAD | {"rows": [A, TRITONE]}}, ".")


def test_every_figure_is_in_its_place():
    text = section(FULL, "somewhere")
    assert line(text, "in flight")[1:4] == [
        "article-a: recordings/s",
        "article-a: p50 / p95 / p99 ms",
        "article-a: mean batch",
    ]
    assert line(text, "1 |") == ["1", "9.88", "90 / 120 / 1001", "0.500", "", "", ""]
    assert line(text, "4 |") == ["4", "", "", "", "9.88", "90 / 120 / 1001", "0.500"]
    assert line(text, "`vit_b_16_mel`, `article-b`")[2:] == ["5.00", "12.0", "2.40×", "80%"]
    assert line(text, "`vgg19_bn_cqt`, `ccmusic`, songs")[2:] == ["0.0500", "12.0", "240×", ""]
    assert line(text, "`vgg19_bn_cqt`, `article-a`, WAV")[4] == "3.00×"
    assert "takes 5.12 ms" in sentence(text, "One request")
    assert "410 ms at 6.00/s; within 500 ms up to 6.00/s" in sentence(text, "p95 latency")
    assert "2.21 ms (p50; p95 3.11 ms; 99.4% of 320 requests" in sentence(text, "A repeated")
    assert "1230 MB while loading, 981 MB when ready, 1019 MB after 2143" in sentence(text, "Memory")
    assert "cqt 84/512 4.66× (6.10 ms, 2e-06)" in sentence(text, "librosa's time")
    caption = " ".join(text.split("\n\n")[-1].split())
    for words in (
        "`make bench`",
        "2026-11-21",
        r"a machine\d of 2 cores",
        "python 3.11.7",
        "demo weights",
        "generated",
    ):
        assert words in caption
    assert "(somewhere/throughput.png)" in text and "(somewhere/stages.png)" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= WIDTH


def test_lines_are_not_broken_within_names():
    for length in range(11):
        first, *lines = fill("x" * length + " EPYC-Genoa" * 40, "- ").splitlines()
        assert first.startswith("- ") and all(line.startswith("  EPYC-Genoa") for line in lines)


def test_memory_without_load_is_told():
    memory = QUICK["memory"] | {"samples": []}
    assert "981 MB when ready." in section(QUICK | {"memory": memory}, ".")


def test_a_limit_that_is_never_held_is_told():
    load = QUICK["open_loop"] | {"limit_ms": 400}
    assert "within 500 ms up to 6.00/s" in " ".join(section(QUICK, ".").split())  # not the 7 that were asked for
    assert "within 400 ms at none of these rates" in " ".join(section(QUICK | {"open_loop": load}, ".").split())


@pytest.mark.parametrize("results", [QUICK, FULL], ids=["quick", "full"])
def test_any_part_may_be_missing(results, tmp_path):
    measured = {key for key, value in results.items() if isinstance(value, (dict, list))} | {"overhead_ms"}
    for key in measured - {"versions"}:
        text = section({name: value for name, value in results.items() if name != key}, ".")
        assert "None" not in text and text.endswith("\n")
    bare = {key: value for key, value in results.items() if key not in measured or key == "versions"}
    assert write_report(bare, tmp_path).startswith(f"`{results['command']}`")
    assert [file.name for file in tmp_path.iterdir()] == ["summary.md"]
    without = results | {"comparison": HEAD | {"rows": [A, TRITONE]}}
    plots.draw(without, tmp_path)


def test_plots_are_white_and_as_wide_as_a_page(tmp_path):
    text = write_report(FULL, tmp_path)
    assert (tmp_path / "summary.md").read_text() == text
    for name in ("throughput.png", "stages.png"):
        assert f"(./{name})" in text
        picture = imread(tmp_path / name)
        assert 1000 < picture.shape[1] < 1020 and (picture[[0, -1]][:, [0, -1]] == 1).all()
        assert (tmp_path / name).stat().st_size < 100_000


def test_bars_are_as_long_as_the_stages():
    [axes] = plots._draw_stages(FULL).axes
    ends = {}
    for bar in axes.patches:
        assert bar.get_width() >= 0
        ends[round(bar.get_y() + bar.get_height() / 2)] = bar.get_x() + bar.get_width()
    # Below zero nothing is drawn; the text has the sum, which is what the clock of the client said.
    assert ends == {0: 89.0, 1: pytest.approx(44.1 + 2 * 24.2), 2: 89.0}
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Tritone\narticle-a",
        "ideal\narticle-a",
        "Tritone\nccmusic",
    ]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("85 ms") == 2 and "92 ms" in texts and "preparation 44" in texts


def test_lines_are_the_sweep():
    rates, latencies = plots._draw_throughput(FULL).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in rates.lines + latencies.lines}
    assert lines["article-a"] == [[1, 9.876], [8, 12.34]]
    assert lines["ccmusic, p95"] == [[4, 120.0]]
    assert {text.get_text() for text in rates.texts} == {"article A", "plain Triton"}


def test_every_stage_has_a_colour():
    assert {*PREPARATION, *NOT_SERVING} <= set(plots.STAGES)


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "results" / "bench.json"
    file.parent.mkdir()
    file.write_text(json.dumps(FULL))
    return file


@pytest.fixture
def root(tmp_path):
    """A folder with the pages that have places, each with some text around them."""
    pages = {page: "" for page, _ in PLACES.values()}
    for place, (page, _) in PLACES.items():
        pages[page] += f"# Name\n\n<!-- {place} -->\n<!-- /{place} -->\n\nThe end \\1\n"
    for page, text in pages.items():
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(text)
    return tmp_path


def test_publishing_replaces_the_sections_and_nothing_else(source, root):
    folder = root / "bench" / "published"
    before = {page: (root / page).read_text() for page, _ in PLACES.values()}
    for _ in range(2):
        publish(source, folder, root)
        for page, text in {
            "docs/benchmarks.md": section(FULL, "../bench/published"),
            "README.md": summary({"bench": FULL}),
        }.items():
            head, gap, rest = before[page].partition("<!-- /")
            assert (root / page).read_text() == head + text + gap + rest
        assert (root / "docs/options.md").read_text() == before["docs/options.md"]
    assert {file.name for file in folder.iterdir()} == {"bench.json", "throughput.png", "stages.png"}
    assert json.loads((folder / "bench.json").read_text()) == FULL
    publish(folder / "bench.json", folder, root)  # again, from what is published


@pytest.mark.parametrize(
    "text", ["", "<!-- bench -->\n", "<!-- /bench -->\n<!-- bench -->\n", "a <!-- bench --> b"]
)
def test_a_page_without_a_place_is_left_alone_and_so_are_the_others(text, source, root):
    readme = (root / "README.md").read_text()
    (root / "docs/benchmarks.md").write_text(text)
    with pytest.raises(BenchError, match=r"benchmarks\.md has 0 sections .* one line <!-- bench -->"):
        publish(source, root / "published", root)
    assert (root / "docs/benchmarks.md").read_text() == text and not (root / "published").exists()
    assert (root / "README.md").read_text() == readme


def test_figures_without_the_comparison_do_not_empty_readme(source, root):
    source.write_text(json.dumps({key: value for key, value in FULL.items() if key != "comparison"}))
    before = (root / "README.md").read_text()
    with pytest.raises(BenchError, match="These figures contain no comparison"):
        publish(source, root / "published", root)
    assert (root / "README.md").read_text() == before and not (root / "published").exists()


def test_two_sections_are_one_too_many(source, root):
    (root / "docs/benchmarks.md").write_text("<!-- bench -->\n<!-- /bench -->\n" * 2)
    with pytest.raises(BenchError, match="has 2 sections"):
        publish(source, root / "published", root)


def test_command(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench.report", str(source)])
    assert report.main() == 0 and capsys.readouterr().out == section(FULL, ".") + "\n"
    monkeypatch.setattr("sys.argv", ["bench.report", str(tmp_path / "none.json"), "--publish"])
    assert report.main() == 2 and "none.json is missing: run make bench" in capsys.readouterr().err


def test_the_pages_say_what_the_published_figures_say():
    figures = read_published(ROOT / "bench" / "published")
    for place, (page, _) in PLACES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"<!-- {place} -->\n{sections(figures, '../bench/published', place)}<!-- /{place} -->\n" in text


def test_the_summary_has_a_line_for_each_kind_of_figure():
    text = summary({"bench": FULL, "speech": SPEECH})
    throughput, latency, speech, run = re.sub(r"\n  ", " ", text).splitlines()
    assert "**12.0 recordings/s** on `openvino`, 3.00× the pipeline of article A and 2.00× a plain" in throughput
    assert "takes 90 ms (median)" in latency and "2.21 ms, from the response cache" in latency
    assert "utterances of 3 to 10 s: **12.0 recordings/s** on `openvino`, 8.00× the pipeline" in speech
    assert "`make bench`, 2026-11-21; `python -m bench --only speech`, 2026-11-21: a machine" in run
    assert len(re.sub(r"\n  ", " ", summary({"bench": FULL})).splitlines()) == 3


def test_the_speech_section_says_what_was_measured():
    text = section(SPEECH, ".")
    head, ours = (line(text, start) for start in ("pipeline", "**Tritone, openvino**"))
    assert dict(zip(head, ours, strict=True))["to article C"] == "8.00×"  # of 12, 8 and 7.5
    words = " ".join(text.split())
    assert (
        words.startswith("17 distinct utterances of 3 to 10 s (three in four WAV") and f"`{SPEECH_MODEL}`" in words
    )
    assert "4.25 recordings/s with openvino (9.10 ms of one core" in words
    assert "200 and 300 ms with 1 in flight; 1603 and 2403 ms with 8" in sentence(text, "Latency")
    first = sentence(text, "The first request")
    assert "at most 1.12× as long" in first and "another length 1.21× (1.3, 9.4 s; 2 starts)" in first
    memory = sentence(text, "Memory")
    assert "2900 MB while loading, 2100 MB when ready" in memory and "0.5 to 40 s" in memory
    assert "2200 MB after 50 mixed requests" in memory and "2201 to 2203 MB after 150 to 550" in memory
    assert "`python -m bench --only speech`, 2026-11-21" in words and "about real speech" in words


@pytest.mark.parametrize("key", ["first", "load", "memory", "floors"])
def test_any_part_of_the_speech_section_may_be_missing(key):
    figures = {name: value for name, value in SPEECH["speech"].items() if name != key}
    assert "None" not in section(SPEECH | {"speech": figures}, ".")


def test_a_page_has_both_parts_whichever_is_published_last(root):
    folder = root / "bench" / "published"
    for name, results in (("bench", FULL), ("speech", SPEECH), ("bench", FULL)):
        file = root / f"{name}.json"
        file.write_text(json.dumps(results))
        publish(file, folder, root)
        assert read_results(folder / f"{name}.json") == results
    both = f"{section(FULL, '../bench/published')}\n{section(SPEECH, '')}"
    assert f"<!-- bench -->\n{both}<!-- /bench -->\n" in (root / "docs/benchmarks.md").read_text()


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        ([], {"bench.json": "make bench", "speech.json": "make bench"}),
        (["--quick"], {"bench.json": "make bench QUICK=1"}),
        (["--only=genres"], {"bench.json": "python -m bench --only genres"}),
        (["--only=speech", "--quick"], {"speech.json": "python -m bench --only speech --quick"}),
    ],
)
def test_each_part_has_its_own_file_and_caption(flags, written, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("QUICK", raising=False)
    for name, figures in (("Suite", {"comparison": HEAD | {"rows": [A, TRITONE]}}), ("SpeechSuite", SPEECH)):
        parts = {key: value for key, value in figures.items() if isinstance(value, dict) and key != "versions"}
        monkeypatch.setattr(command, name, lambda *a, parts=parts, **k: SimpleNamespace(run=lambda: parts))
    monkeypatch.setattr(sys, "argv", ["bench", f"--results={tmp_path}", *flags])
    assert command.main() == 0
    assert {file.name: read_results(file)["command"] for file in tmp_path.glob("*.json")} == written
    for name, words in written.items():
        summary = {"bench.json": "summary.md", "speech.json": "speech.md"}[name]
        assert f"`{words}`" in " ".join((tmp_path / summary).read_text().split())
    assert capsys.readouterr().out.count("figures, plots and this summary") == len(written)
