"""Answers for the tests of bulk runs, without a server, and what a run left read by others' readers."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from tritone_client.answers.emotion import EmotionPrediction, parse_emotion
from tritone_client.answers.prediction import Prediction, parse_prediction

LABELS = {"Symphony": "交响乐", "Opera": "戏曲", "Solo": "独奏", "Chamber": "室内乐"}
EMOTIONS = ("angry", "happy", "neutral", "sad")
WEIGHTS = {"origin": "demo", "source": "seed 0", "sha256": "00ff", "demo": True}


def prediction(duration: float = 23.0, **further: Any) -> Prediction:
    """Opera with 50 %, then Solo, Symphony, Chamber; `duration` tells one from another."""
    probabilities = np.array([0.1875, 0.5, 0.25, 0.0625], np.float32)
    names, order = list(LABELS), np.argsort(-probabilities)
    top = [
        {"label": names[i], "label_zh": LABELS[names[i]], "probability": float(probabilities[i])} for i in order
    ]
    best = {"label": "Opera", "probability": 0.5}
    result = {
        **{"model": "vgg19_bn_cqt", **best, "top": top, "slices": [{"start": 0.0, "end": duration, **best}]},
        **{"slices_total": 1, "vote": {"label": "Opera", "share": 1.0}, "duration": duration},
        **{"profile": "ccmusic", "weights": WEIGHTS, "notes": ["Demo weights."], **further},
    }
    tensors = {
        "RESULT": np.array([json.dumps(result).encode()], np.object_),
        "LABELS": np.array([name.encode() for name in LABELS], np.object_),
        "PROBABILITIES": probabilities,
        "SLICE_PROBABILITIES": probabilities[None],
    }
    return parse_prediction(tensors, seconds=0.25)


def emotion(silence: bool = False) -> EmotionPrediction:
    """Happy with 70 %, or silence."""
    scores = np.array([0.25] * 4 if silence else [0.1, 0.7, 0.15, 0.05], np.float32)
    best = dict.fromkeys(("emotion", "emotion_zh", "confidence"))
    result = {
        **{"model": "emotion2vec_plus_large", "segments": [], "silence": silence, "frame_hop": 0.02, "windows": 1},
        **{"duration": 2.0, "weights": WEIGHTS, "notes": [], "needs_review": silence},
        **(best if silence else {"emotion": "happy", "emotion_zh": "开心", "confidence": 0.7}),
    }
    tensors = {
        "RESULT": np.array([json.dumps(result).encode()], np.object_),
        "LABELS": np.array([name.encode() for name in EMOTIONS], np.object_),
        "SCORES": scores,
    }
    return parse_emotion(tensors, seconds=0.25)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished file, an empty cell of CSV as None."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(stream)]
    return parquet.read_table(path).to_pylist()
