"""The most similar recordings of a bulk run: the function, and `tritone similar` on a small real Triton."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tritone_client import InvalidRecording, InvalidResults, nearest
from tritone_client.bulk import embeddings as bulk_embeddings
from tritone_client.bulk.results import Results

from tests.client.bulk_answers import emotion, prediction
from tests.support.command import tritone
from tests.support.triton import Triton

FORMATS = pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
HOW = "`tritone bulk --embedding --out FILE.parquet` writes a file that can be searched."


def write(
    out: Path, embeddings: Sequence[Any], model: str = "musicnn_msd", embedding: bool = True, **options: Any
) -> Path:
    """The rows of files "0", "1", ...: with these embeddings, or failed where there is None."""
    with Results(str(out), model, options, embedding=embedding) as results:
        for i, values in enumerate(embeddings):
            answer = InvalidRecording("bad")
            if values is not None:
                answer = replace(prediction(), embedding=np.asarray(values, np.float32))
            results.add(str(i), answer)
    return out


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """By the formula, one product after the other."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


@FORMATS
@pytest.mark.parametrize("batch", [1, 7, 4096])
def test_the_nearest_are_those_of_the_formula(
    tmp_path: Path, suffix: str, batch: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk_embeddings, "BATCH", batch)
    rows = np.random.default_rng(3).normal(size=(60, 8)).astype(np.float32).tolist()
    rows[::9] = [None] * len(rows[::9])  # so that of batches of one some hold no embedding
    out = write(tmp_path / f"out{suffix}", rows)
    wanted = np.random.default_rng(4).normal(size=8)
    by_formula = {str(i): cosine(row, wanted) for i, row in enumerate(rows) if row}
    found = nearest(out, wanted, top=12)
    assert [row.file for row in found] == sorted(by_formula, key=by_formula.get, reverse=True)[:12]
    assert [row.similarity for row in found] == pytest.approx([by_formula[row.file] for row in found], abs=1e-12)
    assert {row.label for row in found} == {"Opera"}
    assert len(nearest(out, wanted, top=1000)) == len(by_formula)


@FORMATS
def test_directions_count_and_lengths_do_not(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch):
    """Of equals the earlier row is first, also over batches; a tiny and a huge one are like others."""
    monkeypatch.setattr(bulk_embeddings, "BATCH", 3)
    rows = [[-1, -2], [1e-30, 2e-30], [2, -1], [1, 2], [1e30, 2e30], [100, 200]]
    out = write(tmp_path / f"out{suffix}", rows)
    found = nearest(str(out), [0.5, 1.0])
    assert [row.similarity for row in found] == pytest.approx([1, 1, 1, 1, 0, -1], abs=1e-6)
    assert [row.file for row in found][4:] == ["2", "0"]
    same = write(tmp_path / f"same{suffix}", [[1, 2]] * 600)
    for batch in (100, 4096):
        monkeypatch.setattr(bulk_embeddings, "BATCH", batch)
        assert [row.file for row in nearest(same, [1, 2], top=120)] == [str(i) for i in range(120)]


def test_no_similarity_is_more_than_one(tmp_path: Path):
    """As rounding would make it of a row and itself."""
    rows = np.random.default_rng(5).normal(size=(50, 8)).astype(np.float32)
    out = write(tmp_path / "out.parquet", rows)
    assert {nearest(out, row, top=1)[0].file: nearest(out, row, top=1)[0].similarity <= 1 for row in rows} == {
        str(i): True for i in range(50)
    }


def test_an_emotion_is_a_label(tmp_path: Path):
    for suffix in (".jsonl", ".parquet"):
        out = tmp_path / f"out{suffix}"
        with Results(str(out), "emotion2vec_plus_large", {}, embedding=True) as results:
            results.add("a", replace(emotion(), embedding=np.float32([1, 2])))
        assert [(row.file, row.label) for row in nearest(out, [1, 2])] == [("a", "happy")]


def test_a_row_that_is_being_written_is_left_out(tmp_path: Path):
    out = write(tmp_path / "out.jsonl", [[1, 2], [3, 4]])
    out.write_bytes(out.read_bytes()[:-9])
    assert [row.file for row in nearest(out, [3, 4])] == ["0"]


def test_rows_without_a_direction_are_left_out(tmp_path: Path):
    """As another program may write them."""
    row = {"label": None, "model": "m", "options": "{}"}
    embeddings = [[0, 0], [math.nan, 1], [math.inf, 1], [1, 1]]
    rows = [row | {"file": str(i), "embedding": values} for i, values in enumerate(embeddings)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "out.parquet")
    assert [row.file for row in nearest(tmp_path / "out.parquet", [1, 2])] == ["3"]


@pytest.mark.parametrize(
    ("embedding", "told"),
    [
        ([1, 2], r"holds embeddings of 3 values, but this one has 2: use the model of that run\.$"),
        ([0, 0, 0], "not all zero, not array"),
        ([1, math.nan, 1], "finite numbers"),
        ([[1, 2, 3]], "list of finite numbers"),
    ],
)
def test_what_nothing_is_similar_to(tmp_path: Path, embedding: Any, told: str):
    out = write(tmp_path / "out.jsonl", [[1, 2, 3]])
    with pytest.raises(InvalidResults, match=told):
        nearest(out, embedding)
    with pytest.raises(InvalidResults, match="`top` must be at least 1, not 0"):
        nearest(out, [1, 2, 3], top=0)


def joined(first: Path, second: Path) -> Path:
    """Both files' rows in the first."""
    if first.suffix == ".jsonl":
        first.write_bytes(first.read_bytes() + second.read_bytes())
    else:
        anysize = pa.field("embedding", pa.list_(pa.float32()))
        tables = [parquet.read_table(path) for path in (first, second)]
        columns = [table.schema.set(table.schema.get_field_index("embedding"), anysize) for table in tables]
        tables = [table.cast(schema) for table, schema in zip(tables, columns, strict=True)]
        parquet.write_table(pa.concat_tables(tables), first)
    return first


@FORMATS
@pytest.mark.parametrize("batch", [1, 4096])
def test_files_that_cannot_be_searched(tmp_path: Path, suffix: str, batch: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_embeddings, "BATCH", batch)
    monkeypatch.chdir(tmp_path)
    own = [f"{name}{suffix}" for name in ("none", "without", "failed", "models", "options", "sizes", "other")]
    none, without, failed, models, options, sizes, other = own
    write(Path(without), [[1, 2], None], embedding=False)
    write(Path(failed), [None, None])
    joined(write(Path(models), [[1, 2]]), write(Path(f"m{suffix}"), [None], model="musicnn_mtt"))
    joined(write(Path(options), [[1, 2]]), write(Path(f"o{suffix}"), [[1, 2]], segments=5))
    joined(write(Path(sizes), [[1, 2]]), write(Path(f"s{suffix}"), [[1, 2, 3]]))
    Path(other).write_text('{"my": "notes"}\n')
    told = {
        none: f"'{none}' does not exist: {HOW}",
        without: f"'{without}' holds no embeddings: {HOW}",
        failed: f"'{failed}' has no row with an embedding: {HOW}",
        models: f"'{models}' holds answers of musicnn_msd with {{}} and of musicnn_mtt with {{}}, which cannot",
        options: f"'{options}' holds answers of " + 'musicnn_msd with {"segments": 5} and of musicnn_msd with {},',
        sizes: f"'{sizes}' holds embeddings of 2 and of 3 values, which cannot be compared",
        other: f"'{other}' was not written by `tritone bulk`: {HOW}",
    }
    for name, sentence in told.items():
        with pytest.raises(InvalidResults) as caught:
            nearest(name, [1, 2])
        assert str(caught.value).startswith(sentence)
    parquet.write_table(pa.table({"file": ["a"], "embedding": [[1.0, 2.0]]}), "table.parquet")
    with pytest.raises(InvalidResults, match=r"^'table\.parquet' was not written by `tritone bulk`"):
        nearest("table.parquet", [1, 2])
    with pytest.raises(InvalidResults, match=r"^'out\.csv' does not end in \.parquet or \.jsonl: "):
        nearest("out.csv", [1, 2])
    Path(f"folder{suffix}").mkdir()
    with pytest.raises(InvalidResults, match=r"^'folder\S+' cannot be read \(Is a directory\)|^'folder"):
        nearest(f"folder{suffix}", [1, 2])


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = write(tmp_path / "out.parquet", [[1, 2]])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InvalidResults, match=r"needs pyarrow \(.*\): run pip install 'tritone-client\[parquet\]'\."
    ):
        nearest(out, [1, 2])


MEMORY = """
import resource, sys
import pyarrow.compute, pyarrow.parquet
from tritone_client import nearest
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = nearest(sys.argv[1], [1.0] + [0.0] * 199, top=3)
print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_is_not_held_in_memory(tmp_path: Path):
    """100 000 embeddings are 80 MB."""
    out, rows = tmp_path / "out.parquet", 10_000
    values = np.random.default_rng(0).normal(size=(rows, 200)).astype(np.float32)
    embeddings = pa.ListArray.from_arrays(pa.array(np.arange(0, rows * 200 + 1, 200), pa.int32()), values.ravel())
    same = {name: pa.array([text] * rows) for name, text in {"label": "x", "model": "m", "options": "{}"}.items()}
    table = pa.table({"file": pa.array(map(str, range(rows))), **same, "embedding": embeddings})
    with parquet.ParquetWriter(out, table.schema) as writer:
        for _ in range(10):
            writer.write_table(table)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(out)], capture_output=True, text=True)
    found, grown = map(int, done.stdout.split())
    assert found == 3 and out.stat().st_size > 70e6 and grown < 50_000  # KB


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Recordings that say which way their embeddings point, in degrees."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for degrees in (0, 10, 30, 90):
        (folder / f"{degrees}.wav").write_text(turned(degrees))
    return folder


def turned(degrees: float) -> str:
    angle = math.radians(degrees)
    return json.dumps({"embedding": [5 * math.cos(angle), 5 * math.sin(angle), *[0] * 6]})


def found_by(results: Path, url: str, name: str) -> Path:
    """The rows of the songs beside `results`."""
    more = ("--model", name, "--embedding", "--url", url)
    assert tritone("bulk", results.parent / "songs", "--out", results, *more).returncode == 0
    return results


@pytest.mark.parametrize(("suffix", "protocol"), [(".parquet", "grpc"), (".jsonl", "http")])
def test_the_command(triton: Triton, songs: Path, tmp_path: Path, suffix: str, protocol: str):
    """A song of the run is the first itself; another one need not be of it."""
    out = found_by(tmp_path / f"out{suffix}", triton.grpc, "musicnn_msd")
    url = ("--url", getattr(triton, protocol))
    done = tritone("similar", songs / "10.wav", "--in", out, "--top", 3, *url)
    assert done.returncode == 0 and done.stderr == ""
    head, *rows, note = done.stdout.splitlines()
    assert head.split() == ["rank", "similarity", "file", "label"]
    assert [row.split() for row in rows] == [
        ["1", "1.0000", str(songs / "10.wav"), "Opera"],
        ["2", f"{math.cos(math.radians(10)):.4f}", str(songs / "0.wav"), "Opera"],
        ["3", f"{math.cos(math.radians(20)):.4f}", str(songs / "30.wav"), "Opera"],
    ]
    assert note == "Note: These are demo weights: the label means nothing for real music."
    (tmp_path / "new.wav").write_text(turned(80))
    listed = tritone("similar", tmp_path / "new.wav", "--in", out, "--json", *url).stdout.splitlines()
    assert [json.loads(line) for line in listed] == [
        {
            **{"rank": rank, "similarity": pytest.approx(math.cos(math.radians(abs(80 - degrees))), abs=1e-6)},
            **{"file": str(songs / f"{degrees}.wav"), "label": "Opera"},
        }
        for rank, degrees in enumerate((90, 30, 10, 0), 1)
    ]


def test_the_command_of_speech(triton: Triton, songs: Path, tmp_path: Path):
    for i, song in enumerate(sorted(songs.iterdir())):
        song.write_bytes(b"\3" * (i + 1))
    out = found_by(tmp_path / "out.parquet", triton.grpc, "emotion2vec_plus_large")
    listed = tritone("similar", songs / "0.wav", "--in", out, "--json", "--url", triton.grpc).stdout.splitlines()
    assert len(listed) == 4 and json.loads(listed[0]) == {
        **{"rank": 1, "file": str(songs / "0.wav"), "label": "happy", "similarity": pytest.approx(1)}
    }
    (tmp_path / "silence.wav").write_bytes(b"\xff\xff")
    done = tritone("similar", tmp_path / "silence.wav", "--in", out, "--url", triton.grpc)
    assert done.returncode == 1 and done.stderr.endswith(
        "silence.wav' is silent, so nothing is similar to it: use another recording.\n"
    )


@pytest.mark.parametrize(
    ("options", "song", "told"),
    [
        ({"behave": "invalid"}, "songs/0.wav", "The recording is 3 bytes of text, not audio"),  # they are sent
        ({"model": "x"}, "songs/0.wav", "'model' is an argument of the client"),
        ({}, "songs/none.wav", "'songs/none.wav' does not exist: check the path."),
    ],
)
def test_what_the_command_cannot_answer(
    triton: Triton, songs: Path, tmp_path: Path, options: dict[str, Any], song: str, told: str
):
    rows = Results(str(tmp_path / "out.jsonl"), "musicnn_msd", options, embedding=True)
    with rows as results:
        results.add("a", replace(prediction(), embedding=np.float32([1] * 8)))
    done = tritone("similar", song, "--in", "out.jsonl", "--url", triton.grpc, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"tritone: {told}") and done.stderr.count("\n") == 1
    assert not os.path.exists(tmp_path / "out.jsonl.lock")
