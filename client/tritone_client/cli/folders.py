"""The output of `tritone emotion`: embeddings, and folders in the layout of the emotion2vec web UI.

A folder is named `<file>_<YYYYMMDD_HHMMSS>`, with `-2`, `-3`, ... if that name is taken by a file of the same
name, an earlier run in the same second or another process. It is filled under a hidden name and then renamed,
which fails if the target has content; so a folder is never visible while incomplete, nor shared or overwritten.
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

STEM_BYTES = 200  # of the file's name in the folder's name, which may have 255 bytes in total


def result(prediction: EmotionPrediction, file: str, now: datetime) -> dict[str, Any]:
    """Return the web UI's result.json: one answer for the utterance, or one per frame if these were requested.

    Scripts look up `emotion` among the scores and format `confidence` as a number. Hence a silent recording is
    "unknown" here, with the score that all emotions share. `silence` distinguishes it from a recording that the
    network classifies as unknown; the web UI has neither `silence` nor `file` and `notes`.
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
    """Return the result of one frame; `row` holds its scores."""
    start, end = (round(i * prediction.frame_hop, 3) for i in (index, index + 1))
    scores = dict(zip(prediction.labels, row, strict=True))
    return {"start_time": start, "end_time": end} | best(prediction, scores)


def best(prediction: EmotionPrediction, scores: dict[str, float]) -> dict[str, Any]:
    """Return the emotion with the highest score, its confidence, and all scores."""
    emotion = max(scores, key=scores.__getitem__)
    confidence = scores[emotion]
    return {"emotion": "unknown" if prediction.silence else emotion, "confidence": confidence, "scores": scores}


def embeddings(prediction: EmotionPrediction) -> npt.NDArray[np.float32]:
    """Return the embeddings, float32 [frames, 1024] if these were requested, else their mean [1024]."""
    array = prediction.embedding if prediction.frame_embeddings is None else prediction.frame_embeddings
    assert array is not None, "requested with the prediction"
    return array


def write_folder(parent: Path, file: str, prediction: EmotionPrediction) -> Path:
    """Write result.json and embedding.npy into a new folder in `parent`, and return its path.

    Raises `OutputFailed`.
    """
    now = datetime.now()
    hidden = parent / f".{uuid4().hex}"
    with writing(parent):
        try:
            hidden.mkdir()
            text = json_text(result(prediction, file, now), indent=2)
            # Bytes of a file's name that are not UTF-8 become JSON's \udcXX.
            (hidden / "result.json").write_bytes(text.encode() + b"\n")
            np.save(hidden / "embedding.npy", embeddings(prediction))
            return rename_to_free(hidden, f"{stem(file)}_{now:%Y%m%d_%H%M%S}")
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def rename_to_free(folder: Path, name: str) -> Path:
    """Rename `folder`, which has content, to the first free name of `name`, `name`-2, `name`-3, ..."""
    for number in count(1):
        target = folder.with_name(name if number == 1 else f"{name}-{number}")
        try:
            return folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError("unreachable")


def stem(file: str) -> str:
    """Return a file's name as the beginning of a folder's: without suffix, not hidden, not too long."""
    name = "stdin" if file == "-" else Path(file).stem
    return os.fsencode(name)[:STEM_BYTES].decode("utf-8", "ignore").lstrip(".-") or "recording"


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Save an array as exactly `path`, atomically, replacing an existing file. Raises `OutputFailed`."""
    with writing(path), replacing(path) as stream:
        np.save(stream, array)


def folder_for_results(path: Path) -> Path:
    """Return `path`, a writable folder, which is created if necessary. Raises `OutputFailed`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def file_for_array(path: Path) -> Path:
    """Return `path`, with links resolved, if it can be created or replaced. Raises `OutputFailed`."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OutputFailed(f"'{path}' is not a regular file: name a file that can be written or replaced.")
    if not os.access(path.parent, os.W_OK):
        raise OutputFailed(f"'{path}' cannot be written: '{path.parent}' is not a writable folder.")
    return path
