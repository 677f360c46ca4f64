"""`tritone bulk --embedding`: the embeddings in the rows, whatever ends a run in between."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tritone_client import Client
from tritone_client.answers.prediction import Prediction
from tritone_client.bulk.results import Results
from tritone_client.bulk.rows import Answer
from tritone_client.errors import InvalidRecording, OutputFailed

from tests.client.bulk_answers import emotion, prediction, read_rows
from tests.support.command import tritone
from tests.support.triton import Triton

MODEL = "musicnn_msd"
FORMATS = pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
BITS = np.random.default_rng(7).integers(0, 2**32, 4000, np.uint32).view(np.float32)
NUMBERS = np.float32([0.1, -0.0, 1 / 3, 1e-45, 3.4028235e38, 16777216, *BITS[np.isfinite(BITS)]])


def embedded(*values: float) -> Prediction:
    return replace(prediction(), embedding=np.float32(values))


def found(out: Path) -> dict[str, Any]:
    """File -> embedding; None for NaN, which Parquet has in the place of null."""
    rows = {row["file"]: row["embedding"] for row in read_rows(out)}
    return {file: None if values and np.isnan(values).all() else values for file, values in rows.items()}


def run(out: Path, answers: dict[str, Answer], embedding: bool = True, **kwargs: Any) -> list[str]:
    """The files that had no row yet and were asked."""
    with Results(str(out), MODEL, {}, embedding=embedding, **kwargs) as results:
        asked = [name for name in answers if results.claim(name)]
        for name in asked:
            results.add(name, answers[name])
    return asked


@FORMATS
def test_every_embedding_comes_back_to_the_bit(tmp_path: Path, suffix: str):
    """Also through the journal, and when a later run unpacks the file again."""
    out = tmp_path / f"out{suffix}"
    for i in range(3):
        assert run(out, {f"{j}": embedded(*np.roll(NUMBERS, j)) for j in range(i + 1)}) == [str(i)]
    rows = read_rows(out)
    for i, row in enumerate(rows):
        values = np.array(row["embedding"], np.float32)
        assert (values.view(np.uint32) == np.roll(NUMBERS, i).view(np.uint32)).all()
    assert [row["file"] for row in rows] == ["0", "1", "2"]


def test_numbers_of_json_are_short(tmp_path: Path):
    run(tmp_path / "out.jsonl", {"a": embedded(0.1, 1 / 3)})
    assert '"embedding": [0.1, 0.33333334]' in (tmp_path / "out.jsonl").read_text()


@FORMATS
def test_what_has_no_embedding(tmp_path: Path, suffix: str):
    """Failed, silent or all zero: also where no row has one yet."""
    out = tmp_path / f"out{suffix}"
    none = {
        **{"failed": InvalidRecording("bad"), "zeros": embedded(0, 0)},
        "silent": replace(emotion(silence=True), embedding=np.float32([1, 2])),
    }
    run(out, none)
    assert found(out) == dict.fromkeys(none)
    speech = {"speech": replace(emotion(), embedding=np.float32([1, 2])), "failed": embedded(3, 4)}
    assert run(out, speech, retry_failed=True) == ["speech", "failed"]
    assert found(out) == {"zeros": None, "silent": None, "speech": [1, 2], "failed": [3, 4]}
    if suffix == ".parquet":
        column = parquet.read_table(out)["embedding"]
        assert column.type == pa.list_(pa.float32(), 2)  # of a fixed size, which cannot be null
        assert np.isnan(column.combine_chunks().flatten().to_numpy()).tolist() == [True] * 4 + [False] * 4


def test_without_being_asked_for(tmp_path: Path):
    """No row has an embedding, whatever the server says."""
    for suffix in (".jsonl", ".csv", ".parquet"):
        run(tmp_path / f"out{suffix}", {"a": replace(prediction(embedding=[1]), embedding=np.float32([1]))}, False)
        assert "embedding" not in read_rows(tmp_path / f"out{suffix}")[0]


@FORMATS
@pytest.mark.parametrize(
    ("first", "told"),
    [
        (True, "holds answers with embeddings: add --embedding, or use another file."),
        (False, "holds answers without embeddings: leave out --embedding, or use another file."),
    ],
)
def test_rows_with_and_without_are_not_mixed(tmp_path: Path, suffix: str, first: bool, told: str):
    out = tmp_path / f"out{suffix}"
    run(out, {"a": InvalidRecording("bad")}, first)
    before = out.read_bytes()
    with pytest.raises(OutputFailed, match=rf"^'{out}' {told}$"):
        run(out, {"b": embedded(1)}, not first)
    assert out.read_bytes() == before and os.listdir(tmp_path) == [out.name]


@FORMATS
def test_embeddings_of_another_size_are_not_mixed(tmp_path: Path, suffix: str):
    """As of a server that was started again with another network."""
    out = tmp_path / f"out{suffix}"
    run(out, {"a": embedded(1, 2, 3)})
    message = rf"holds embeddings of 3 values, but those of '{MODEL}' now have 2: use another file\.$"
    with pytest.raises(OutputFailed, match=message):
        run(out, {"b": embedded(1, 2)})
    assert run(out, {"b": embedded(4, 5, 6)}) == ["b"]
    assert [row["embedding"] for row in read_rows(out)] == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("embedding", [[1, 2], 5, "ab"])
def test_an_embedding_that_no_run_wrote(tmp_path: Path, embedding: object):
    out = tmp_path / "out.jsonl"
    run(out, {"a": embedded(1, 2, 3)})
    row = {"file": "b", "model": MODEL, "options": {}, "embedding": embedding}
    with out.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    with pytest.raises(OutputFailed, match="row 2 was not written by `tritone bulk`"):
        run(out, {})


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Four recordings, one of them broken."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.wav").write_text(f"song {i}" if i else '{"broken": true}')
    return folder


def test_the_command(triton: Triton, songs: Path, tmp_path: Path):
    """Rows have what a call alone answers; the same command goes on, another is refused."""
    out = tmp_path / "out.parquet"
    command = ("bulk", songs, "--out", out, "--url", triton.grpc, "--model", MODEL)
    assert tritone(*command, "--embedding").returncode == 1
    (songs / "4.wav").write_text("song 4")
    assert tritone(*command, "--embedding").returncode == 1
    rows = {Path(file).stem: values for file, values in found(out).items()}
    with Client(triton.grpc) as client:
        for i in range(1, 5):
            path = songs / f"{i}.wav"
            assert (client.classify(path, model=MODEL, embedding=True).embedding == np.float32(rows[str(i)])).all()
    assert rows["0"] is None and len(rows) == 5
    done = tritone(*command)
    assert done.returncode == 2 and "holds answers with embeddings: add --embedding" in done.stderr


def test_the_command_of_speech(triton: Triton, songs: Path, tmp_path: Path):
    (songs / "0.wav").write_bytes(b"\xff\xff")  # silence
    for i in range(1, 4):
        (songs / f"{i}.wav").write_bytes(b"\3" * i)
    out = tmp_path / "out.jsonl"
    more = ("--model", "emotion2vec_plus_large", "--embedding", "--url", triton.grpc)
    assert tritone("bulk", songs, "--out", out, *more).returncode == 0
    rows = {Path(file).stem: values for file, values in found(out).items()}
    assert rows["0"] is None and [len(rows[str(i)]) for i in range(1, 4)] == [1024] * 3


@pytest.mark.parametrize(
    ("out", "model", "told"),
    [
        ("out.csv", MODEL, "'out.csv' cannot hold embeddings: use a .parquet or .jsonl file."),
        ("out.parquet", "vgg19_bn_cqt", "Model 'vgg19_bn_cqt' has no embedding: ask without it."),
    ],
)
def test_what_cannot_begin(triton: Triton, songs: Path, tmp_path: Path, out: str, model: str, told: str):
    more = ("--model", model, "--embedding", "--url", triton.grpc)
    done = tritone("bulk", "songs", "--out", out, *more, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == f"tritone: {told}\n" and os.listdir(tmp_path) == ["songs"]
