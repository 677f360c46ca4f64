"""What `tritone emotion` writes: embeddings, and folders laid out as users of the emotion2vec web UI expect them.

A folder is named `<file>_<YYYYMMDD_HHMMSS>`, with `-2`, `-3`, ... where that name is taken: by a file of the same
name, an earlier run in the same second or another process. It is filled under a hidden name and then renamed,
which fails on a folder that has content; so no folder is ever seen half-written, shared or overwritten.
"""

import errno
import os
import shutil
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from tritone_client.answers.emotion import EmotionPrediction, rounded
from tritone_client.errors import OutputFailed
from tritone_client.files import replacing, writing
from tritone_client.plain import json_text

STEM_BYTES = 200  # of the file's name in a folder's, which may have 255 with all that is added


def result(prediction: EmotionPrediction, file: str, now: datetime) -> dict[str, Any]:
    """result.json of the web UI: one answer for the utterance, or one per frame where these were asked for.

    Scripts look `emotion` up among the scores and format `confidence` as a number. Hence a silent recording is
    "unknown" here, with the score that all emotions share, and `silence` (not the web UI's, nor are `file` and
    `notes`) tells it from a recording that the network found to be unknown.
    """
    ours = {"file": file, "silence": prediction.silence, "notes": list(prediction.notes)}
    if prediction.frame_scores is not None:
        rows = rounded(prediction.frame_scores)
        frames = [frame(prediction, i, row) for i, row in enumerate(rows)]
        hop = round(1000 * prediction.frame_hop)
        return {"granularity": "frame", "frame_length_ms": hop, "results": frames} | ours
    scores = {emotion: round(score, 6) for emotion, score in prediction.scores.items()}
    return {
        **best(prediction, scores),
        "granularity": "utterance",
        "timestamp": now.strftime("%Y-%m-%d %H:%M:%S"),
    } | ours


def frame(prediction: EmotionPrediction, index: int, row: list[float]) -> dict[str, Any]:
    """One of the frames' results; `row` are its scores."""
    start, end = (round(i * prediction.frame_hop, 3) for i in (index, index + 1))
    scores = dict(zip(prediction.labels, row, strict=True))
    return {"start_time": start, "end_time": end} | best(prediction, scores)


def best(prediction: EmotionPrediction, scores: dict[str, float]) -> dict[str, Any]:
    """The emotion with the highest of `scores`, its confidence, and the scores."""
    emotion = max(scores, key=scores.__getitem__)
    confidence = scores[emotion]
    return {"emotion": "unknown" if prediction.silence else emotion, "confidence": confidence, "scores": scores}


def embeddings(prediction: EmotionPrediction) -> npt.NDArray[np.float32]:
    """float32 [frames, 1024] where these were asked for, else the mean over them, [1024]."""
    array = prediction.embedding if prediction.frame_embeddings is None else prediction.frame_embeddings
    assert array is not None, "asked for with the prediction"
    return array


def write_folder(parent: Path, file: str, prediction: EmotionPrediction) -> Path:
    """A new folder in `parent` with result.json and embedding.npy; its path. Raises `OutputFailed`."""
    now = datetime.now()
    hidden = parent / f".{uuid4().hex}"
    with writing(parent):
        try:
            hidden.mkdir()
            text = json_text(result(prediction, file, now), indent=2)
            # A file's name need not be UTF-8; what is not, is written as JSON's \udcXX.
            (hidden / "result.json").write_bytes(text.encode() + b"\n")
            np.save(hidden / "embedding.npy", embeddings(prediction))
            return rename_to_free(hidden, f"{stem(file)}_{now:%Y%m%d_%H%M%S}")
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def rename_to_free(folder: Path, name: str) -> Path:
    """Rename `folder`, which has content, to `name` or the first of `name`-2, `name`-3, ... that is free."""
    for number in count(1):
        target = folder.with_name(name if number == 1 else f"{name}-{number}")
        try:
            return folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError("unreachable")


def stem(file: str) -> str:
    """A file's name as the beginning of a folder's: without suffix, not hidden, not too long."""
    name = "stdin" if file == "-" else Path(file).stem
    return os.fsencode(name)[:STEM_BYTES].decode("utf-8", "ignore").lstrip(".-") or "recording"


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Save an array as exactly `path`, whole or not at all; replaces an earlier file. Raises `OutputFailed`."""
    with writing(path), replacing(path) as stream:
        np.save(stream, array)


def folder_for_results(path: Path) -> Path:
    """`path` as a folder that can be written to, made if need be. Raises `OutputFailed`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def file_for_array(path: Path) -> Path:
    """`path` as a file that can be made or replaced, symbolic links followed. Raises `OutputFailed`."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OutputFailed(f"'{path}' is no regular file: name one that can be written or replaced.")
    if not os.access(path.parent, os.W_OK):
        raise OutputFailed(f"'{path}' cannot be written: '{path.parent}' is no folder that can be written to.")
    return path
