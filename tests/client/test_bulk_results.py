"""The rows of a bulk run on disk."""

import fcntl
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from tritone_client.bulk import parquet as bulk_parquet
from tritone_client.bulk.results import Results, check_out
from tritone_client.bulk.rows import COLUMNS, Answer, written
from tritone_client.errors import DeadlineExceeded, InvalidRecording, OutputFailed

from tests.client.bulk_answers import emotion, prediction, read_rows

MODEL = "vgg19_bn_cqt"
# What a name may hold: the parts of a row, of its end, and what is no text.
NAMES = ("a.mp3", 'q"u,o\nte\r\n.mp3', "歌 é.mp3", "raw\udce9\udcff.mp3", r"raw\udce9\udcff.mp3", r"\udc5c.mp3")
FORMATS = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])


def run(
    out: Path, answers: dict[str, Answer], model: str = MODEL, options: Any = None, **kwargs: Any
) -> list[str]:
    """The files that had no row yet and were asked."""
    with Results(str(out), model, options or {}, **kwargs) as results:
        asked = [name for name in answers if results.claim(name)]
        for name in asked:
            results.add(name, answers[name])
    return asked


def answers() -> dict[str, Answer]:
    return {name: prediction(float(i)) for i, name in enumerate(NAMES)}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_torn_at_any_byte_is_gone_on_with(tmp_path: Path, suffix: str):
    """Within a character of several bytes, within quotes, between CR and LF, within the head: wherever."""
    out, kept = tmp_path / f"out{suffix}", []
    short = {name: InvalidRecording('"歌"\n') for name in NAMES}
    run(out, short)
    whole = out.read_bytes()
    wanted = sorted(read_rows(out), key=str)
    for end in range(len(whole)):
        out.write_bytes(whole[:end])
        asked = run(out, short)
        assert sorted(read_rows(out), key=str) == wanted
        kept.append(len(NAMES) - len(asked))
    assert kept == sorted(kept) and set(kept) == set(range(len(NAMES)))  # no row that was whole is asked again


@FORMATS
@pytest.mark.parametrize("stride", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_line(suffix: str, stride: int):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # thousands of fsyncs
        command = [sys.executable, "-m", "tests.client.bulk_killed", folder, suffix, str(stride)]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500 // stride


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "'x")


def test_no_cell_of_csv_is_a_formula(tmp_path: Path):
    """Not in what a spreadsheet shows; a name is known again all the same, and numbers are numbers."""
    out = tmp_path / "out.csv"
    said = prediction(1.5, notes=["=HYPERLINK(1)"])
    rows = {name: said for name in FORMULAS} | {"=failed": InvalidRecording("+refused")}
    assert run(out, rows) == list(rows)
    found = read_rows(out)
    assert [row["file"] for row in found] == [name if name == "'x" else f"'{name}" for name in rows]
    assert found[0]["notes"] == "'=HYPERLINK(1)" and found[-1]["error"] == "'+refused"
    assert found[0]["duration"] == "1.5" and not any(
        (cell or "")[:1] in "=+-@\t\r" for row in found for cell in row.values() if cell
    )
    assert run(out, rows) == []


@FORMATS
def test_a_row_stays_a_row_whatever_a_server_says(tmp_path: Path, suffix: str):
    """Names of ours in RESULT, what is no text, and more than a row can hold."""
    out = tmp_path / f"out{suffix}"
    notes = ["\ud800 \x00 \x1b[2J \u202e"]
    rows = {
        "a": prediction(notes=notes, file="b", error="none", cause="none"),
        "b": prediction(notes=["x" * (5 << 20)], more="x" * (5 << 20)),
        "c": prediction(),
    }
    assert run(out, rows) == ["a", "b", "c"] and run(out, rows) == []
    first, second, third = read_rows(out)
    assert (first["file"], first.get("cause"), third.get("cause")) == ("a", None, None)
    assert second["cause"] == "InferenceFailed" and "more than the limit of 4194304" in second["error"]
    assert not any(mark in out.read_bytes() for mark in (b"\0 ", b"\x1b", b"\xe2\x80\xae")) or suffix == ".parquet"


@FORMATS
def test_every_name_comes_back(tmp_path: Path, suffix: str):
    """Names that are no UTF-8 are told from those that look like how they are written."""
    out = tmp_path / f"out{suffix}"
    assert run(out, answers()) == list(NAMES)
    found = [row["file"] for row in read_rows(out)]
    assert found[:3] == list(NAMES[:3])
    assert found[3:] == [r"raw\udce9\udcff.mp3", r"raw\udc5cudce9\udc5cudcff.mp3", r"\udc5cudc5c.mp3"]
    assert run(out, answers()) == [] and len(read_rows(out)) == len(NAMES)


def test_what_a_row_tells_of_music(tmp_path: Path):
    answer = prediction(needs_review=True, notes=["Demo weights.", "It was padded."])
    options = {"uncertainty": "entropy", "top_k": 3}
    for suffix in (".jsonl", ".csv", ".parquet"):
        run(tmp_path / f"out{suffix}", {"a": answer, "b": InvalidRecording("It's \udce9.")}, options=options)
    full, failed = read_rows(tmp_path / "out.jsonl")
    assert full == {"file": "a", **answer.to_dict(), "options": options}
    assert failed == {
        **{"file": "b", "error": r"It's \udce9.", "cause": "InvalidRecording", "model": MODEL, "options": options}
    }
    flat, failed = read_rows(tmp_path / "out.parquet")
    assert flat == {
        **{"file": "a", "model": MODEL, "label": "Opera", "label_zh": "戏曲", "probability": 0.5},
        **{"label_2": "Solo", "probability_2": 0.25, "label_3": "Symphony", "probability_3": 0.1875},
        **{"duration": 23.0, "needs_review": True, "notes": "Demo weights. It was padded.", "seconds": 0.25},
        **{"error": None, "cause": None, "options": '{"top_k": 3, "uncertainty": "entropy"}'},
        **{"labels": ["Symphony", "Opera", "Solo", "Chamber"], "probabilities": [0.1875, 0.5, 0.25, 0.0625]},
    }
    assert failed == dict.fromkeys(flat) | {
        **{"file": "b", "model": MODEL, "error": r"It's \udce9.", "cause": "InvalidRecording"},
        "options": flat["options"],
    }
    for parquet_row, csv_row in zip((flat, failed), read_rows(tmp_path / "out.csv"), strict=True):
        assert list(csv_row) == list(COLUMNS)
        same = {name: cell if cell is None else str(cell) for name, cell in parquet_row.items() if name in COLUMNS}
        assert csv_row == same | {"needs_review": "true" if parquet_row["needs_review"] else None}


def test_what_a_row_tells_of_speech(tmp_path: Path):
    out = tmp_path / "out.parquet"
    run(out, {"a": emotion(), "b": emotion(silence=True)}, "emotion2vec_plus_large")
    happy, silent = read_rows(out)
    assert (happy["label"], happy["label_zh"], happy["probability"]) == ("happy", "开心", pytest.approx(0.7))
    assert (happy["label_2"], happy["label_3"], happy["needs_review"]) == ("neutral", "angry", False)
    assert silent["label"] is silent["label_2"] is silent["probability"] is None and silent["needs_review"]
    assert silent["probabilities"] == [0.25] * 4


@FORMATS
def test_failed_rows_stay_unless_they_are_asked_for(tmp_path: Path, suffix: str):
    out = tmp_path / f"out{suffix}"
    first = {"a": prediction(), "b": InvalidRecording("bad"), "c": DeadlineExceeded("late"), "d": prediction()}
    assert run(out, first) == list("abcd")
    assert run(out, dict.fromkeys("abcde", prediction())) == ["e"]
    with Results(str(out), MODEL, {}) as results:
        assert (results.rows, results.causes) == (5, {"InvalidRecording": 1, "DeadlineExceeded": 1})
    out.chmod(0o600)
    assert run(out, {"a": prediction(), "c": prediction(), "b": InvalidRecording("still")}, retry_failed=True) == [
        *"cb"
    ]
    assert out.stat().st_mode & 0o777 == 0o600
    assert [(row["file"], row["error"]) for row in read_rows(out) if row.get("error")] == [("b", "still")]
    assert sorted(row["file"] for row in read_rows(out)) == list("abcde")


@FORMATS
def test_rows_of_another_question_are_not_mixed_with_ours(tmp_path: Path, suffix: str):
    out = tmp_path / f"out{suffix}"
    run(out, {"a": prediction()}, options={"segments": 5})
    before = out.read_bytes()
    for model, options, told in (
        (MODEL, {}, f"{MODEL} with no options"),
        ("vit_b_16_mel", {"segments": 5}, 'vit_b_16_mel with {"segments": 5}'),
    ):
        with pytest.raises(OutputFailed) as caught:
            run(out, {"b": prediction()}, model, options)
        assert f'{MODEL} with {{"segments": 5}}, not of {told}: use another file' in str(caught.value)
    assert out.read_bytes() == before and os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.jsonl", b'{"my": "only copy"}'),
        ("notes.jsonl", b"one line\n"),
        ("rows.jsonl", b'{"file": "a", "model": "vgg19_bn_cqt", "options": {}}\n[]\n{"file": "b"}\n'),
        ("rows.jsonl", b'{"file": "a", "model": "vgg19_bn_cqt", "options": 5}\n'),
        ("table.csv", b"a,b\r\n1,2\r\n"),
        ("table.csv", ",".join(COLUMNS).encode() + b"\r\na,b\r\n"),
        ("table.csv", ",".join(COLUMNS).encode() + b'\r\n"' + b"lost quote\n" * 500_000),
        ("table.parquet", b"PAR1 not really"),
    ],
)
def test_what_no_run_wrote_is_left_alone(tmp_path: Path, name: str, content: bytes):
    out = tmp_path / name
    out.write_bytes(content)
    with pytest.raises(OutputFailed, match=r"was not written by `tritone bulk`|not a Parquet file of"):
        run(out, {"a": prediction()})
    assert out.read_bytes() == content and os.listdir(tmp_path) == [name]


def test_another_table_is_left_alone(tmp_path: Path):
    out = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"file": ["a"]}), out)
    with pytest.raises(OutputFailed, match="not a Parquet file of `tritone bulk`"):
        run(out, {"a": prediction()})
    assert parquet.read_table(out).to_pydict() == {"file": ["a"]}


def test_a_power_cut_may_leave_zeros(tmp_path: Path):
    out = tmp_path / "out.jsonl"
    run(out, {"a": prediction()})
    whole = out.read_bytes()
    out.write_bytes(whole + bytes(4096))
    assert run(out, {"a": prediction()}) == [] and out.read_bytes() == whole
    out.write_bytes(bytes(4096))
    assert run(out, {"a": prediction()}) == ["a"] and out.read_bytes() == whole


@FORMATS
def test_a_second_run_is_kept_away(tmp_path: Path, suffix: str):
    out = tmp_path / f"out{suffix}"
    with Results(str(out), MODEL, {}) as first:
        first.add("a", prediction())
        with pytest.raises(OutputFailed, match=f"Another run is writing to '{out}'"):
            run(out, {"b": prediction()})
        first.add("c", prediction())
    assert run(out, {"b": prediction(), "c": prediction()}) == ["b"]
    (tmp_path / f"out{suffix}.lock").touch()  # as a killed run leaves it
    assert run(out, {"b": prediction(), "d": prediction()}) == ["d"]
    assert os.listdir(tmp_path) == [out.name]


def test_a_lock_that_goes_as_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that ends removes it, maybe after we opened it: then it would keep nobody away."""
    path, flock = tmp_path / "out.csv.lock", fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with Results(str(tmp_path / "out.csv"), MODEL, {}), pytest.raises(OutputFailed, match="Another run"):
        run(tmp_path / "out.csv", {})


def test_what_is_on_the_disk_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows when `sync` says so; a new file before it has its name, and the name before anything else."""
    done: list[tuple[str, str]] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def noted(name: str, call: Any, path_of: Any) -> Any:
        def noting(*args: Any) -> None:
            done.append((name, os.path.basename(path_of(args[0]))))
            call(*args)

        return noting

    monkeypatch.setattr(os, "fsync", noted("fsync", fsync, lambda file: os.readlink(f"/proc/self/fd/{file}")))
    monkeypatch.setattr(os, "replace", noted("replace", replace, str))
    monkeypatch.setattr(os, "unlink", noted("unlink", unlink, str))
    with Results(str(tmp_path / "a.parquet"), MODEL, {}) as results:
        done.clear()
        results.add("a", prediction())
        results.sync()
        results.sync()
        assert done == [("fsync", "a.parquet.journal")]
        results.add("b", prediction())
        done.clear()
    folder = ("fsync", tmp_path.name)
    assert done == [
        *[("fsync", "a.parquet.journal"), ("fsync", "a.parquet.new"), ("replace", "a.parquet.new"), folder],
        *[("unlink", "a.parquet.journal"), ("unlink", "a.parquet.lock")],
    ]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files that no write takes beyond so many bytes: like a full disk, the last write is cut short."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@FORMATS
def test_a_full_disk_costs_no_row(tmp_path: Path, suffix: str):
    out = tmp_path / f"out{suffix}"
    room = 600 if suffix == ".csv" else 1000
    with room_for(room), pytest.raises(OutputFailed, match=rf"'{out}' cannot be written: File too large\."):
        run(out, answers())
    kept = tmp_path / (f"out{suffix}" + ".journal" * (suffix == ".parquet"))
    assert 300 < kept.stat().st_size <= room and kept.read_bytes().endswith(b"\n")  # no part of a row
    asked = run(out, answers())
    assert 0 < len(asked) < len(NAMES) and len(read_rows(out)) == len(NAMES)


@pytest.mark.parametrize(
    ("size", "retry_failed", "left"),
    [(200, False, ["b", "c"]), (1500, False, ["b"]), (1500, True, [])],  # when unpacked; when packed again
)
def test_a_disk_that_is_full_when_a_file_is_replaced(
    tmp_path: Path, size: int, retry_failed: bool, left: list[str]
):
    """The rows are where they were, in Parquet or in the journal."""
    out = tmp_path / "out.parquet"
    run(out, {"a": prediction(), "b": InvalidRecording("bad")})
    before = out.read_bytes()
    with room_for(size), pytest.raises(OutputFailed, match="cannot be written: File too large"):
        run(out, {"b": prediction(), "c": prediction()}, retry_failed=retry_failed)
    assert out.read_bytes() == before and not list(tmp_path.glob("*.new"))
    assert run(out, {"b": prediction(), "c": prediction()}, retry_failed=True) == left
    assert sorted(row["file"] for row in read_rows(out)) == list("abc") and os.listdir(tmp_path) == [out.name]


def test_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_parquet, "GROUP", 4)
    out = tmp_path / "out.parquet"
    run(out, {str(i): prediction(float(i)) for i in range(10)})
    assert parquet.ParquetFile(out).num_row_groups == 3
    run(out, {str(i): prediction(float(i)) for i in range(11)})
    assert [row["duration"] for row in read_rows(out)] == list(range(11))


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("results.txt", r"'results.txt' must end in one of .jsonl, .csv, .parquet: the extension"),
        (
            "nowhere/out.csv",
            r"'nowhere/out.csv' cannot be written: there is no folder '.*/nowhere', create it first",
        ),
        ("folder.csv", r"'folder.csv' is not a regular file"),
    ],
)
def test_where_rows_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, told: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputFailed, match=told):
        check_out(out)
    assert os.listdir(tmp_path) == ["folder.csv"]


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_out(str(tmp_path / "out.parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputFailed, match=r"needs pyarrow \(.*\): run pip install 'tritone-client\[parquet\]'\."):
        check_out(str(tmp_path / "out.parquet"))
    check_out(str(tmp_path / "out.csv"))


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out.jsonl").symlink_to("disk/there.jsonl")
    run(tmp_path / "out.jsonl", {"a": InvalidRecording("bad")})
    run(tmp_path / "out.jsonl", {"a": prediction()}, retry_failed=True)
    assert (tmp_path / "out.jsonl").is_symlink() and json.loads((tmp_path / "disk" / "there.jsonl").read_text())


def test_no_two_names_are_written_alike():
    parts = ("\\", "u", "d", "c", "5c", "80", "\udc80", "\udc5c"[:0], "x")
    names = {a + b + c + d + e for a in parts for b in parts for c in parts for d in parts for e in parts}
    assert len({written(name) for name in names}) == len(names) > 10_000
