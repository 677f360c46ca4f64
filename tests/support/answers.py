"""Answers of every shape, parsed from tensors as a server sends them, for the tests of what people are shown."""

import io
import json
from contextlib import redirect_stderr
from itertools import pairwise

import numpy as np
from rich.console import Console
from tritone_client.answers.emotion import EmotionPrediction, parse_emotion
from tritone_client.answers.prediction import Prediction, parse_prediction
from tritone_client.display.listing import Listing
from tritone_client.errors import TritoneError

GENRES = (
    *(
        ("Symphony", "交响乐"),
        ("Opera", "戏曲"),
        ("Solo", "独奏"),
        ("Chamber", "室内乐"),
        ("Dance pop", "流行舞曲"),
    ),
    *(("Chamber cabaret & art pop", "室内卡巴莱与艺术流行乐"), ("Soul / R&B", "灵魂乐或节奏布鲁斯")),
)
EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>")
EMOTIONS_ZH = ("生气", "厌恶", "恐惧", "开心", "中立", "其他", "难过", "吃惊", "未知")
WEIGHTS = {"origin": "demo", "source": "seed 0", "sha256": "00ff", "demo": True}
DEMO = "Demo weights: the label names one of 16 families of generated sound and means nothing for real music."
COMPUTED = {"device": "CPU", "precision": "bfloat16", "backend": "openvino"}


def tensor(value: dict) -> np.ndarray:
    return np.array([json.dumps(value).encode()], object)


def genre(slices: int = 20, pictures: int = 0, explained: int = 0, **result: object) -> Prediction:
    """The answer in `genre_tensors`."""
    return parse_prediction(genre_tensors(slices, pictures, explained, **result), 0.0423)


def genre_tensors(
    slices: int = 20, pictures: int = 0, explained: int = 0, **result: object
) -> dict[str, np.ndarray]:
    """A song of `slices` slices of 11.4 s; `result` are further entries of RESULT."""
    rows = np.random.default_rng(slices).dirichlet(np.full(len(GENRES), 0.3), slices).astype(np.float32)
    rows[:, 5] += 0.4  # one that leads
    rows /= rows.sum(axis=1, keepdims=True)
    mean = rows.mean(axis=0)
    order = np.argsort(-mean)
    top = [
        {"label": GENRES[i][0], "label_zh": GENRES[i][1], "probability": float(mean[i])} for i in order.tolist()
    ]
    raw = {
        **{"model": "vgg19_bn_cqt", "label": top[0]["label"], "probability": top[0]["probability"], "top": top},
        **{"vote": {"label": top[0]["label"], "share": 0.6}, "slices_total": slices, "profile": "ccmusic"},
        "slices": [
            {"start": 11.4 * i, "end": 11.4 * (i + 1), "label": GENRES[row.argmax()][0], "probability": row.max()}
            for i, row in enumerate(rows.astype(float))
        ],
        **{"duration": 11.4 * slices, "notes": [DEMO], "weights": WEIGHTS, "computed": COMPUTED},
        "pictures": {"slices": list(range(pictures))},
        "explanation": {"method": "Grad-CAM", "slices": list(range(explained))},
        **result,
    }
    height, width = np.mgrid[0:224, 0:224]
    picture = np.stack([width, height, (width * height) // 224], axis=-1).astype(np.uint8)
    heat = np.zeros((explained, 14, 14), np.float32)
    heat[:, 2:6, 8:12] = 1
    tensors = {
        "RESULT": tensor(raw),
        "PROBABILITIES": mean,
        "LABELS": np.array([english.encode() for english, _ in GENRES], object),
        "SLICE_PROBABILITIES": rows,
    }
    tensors |= {"PICTURES": np.stack([picture] * pictures)} if pictures else {}
    tensors |= {"EXPLANATION": heat} if explained else {}
    return tensors


def emotion(frames: int = 400, with_frames: bool = True, **result: object) -> EmotionPrediction:
    """The answer in `emotion_tensors`."""
    return parse_emotion(emotion_tensors(frames, with_frames, **result), 0.123)


def emotion_tensors(frames: int = 400, with_frames: bool = True, **result: object) -> dict[str, np.ndarray]:
    """Speech of `frames` frames of 20 ms, which goes through all nine emotions."""
    centres = np.linspace(0, frames, 9)
    rows = np.exp(-(((np.arange(frames)[:, None] - centres) / (frames / 12)) ** 2)).astype(np.float32) + 0.03
    rows[:, 3] += 0.3
    rows /= rows.sum(axis=1, keepdims=True)
    scores, best = rows.mean(axis=0), rows.argmax(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), frames]
    raw = {
        **{"model": "emotion2vec_plus_large", "emotion": EMOTIONS[scores.argmax()], "emotion_zh": "开心"},
        **{"confidence": float(scores.max()), "frame_hop": 0.02, "windows": 1, "silence": False},
        "segments": [
            {
                "start": a * 0.02,
                "end": b * 0.02,
                "emotion": EMOTIONS[best[a]],
                "confidence": float(rows[a:b].max()),
            }
            for a, b in pairwise(edges)
        ],
        **{"labels_zh": EMOTIONS_ZH, "duration": frames * 0.02, "profile": "emotion2vec", "notes": [DEMO]},
        **{"weights": WEIGHTS, "computed": COMPUTED},
        **result,
    }
    tensors = {
        "RESULT": tensor(raw),
        "SCORES": scores,
        "LABELS": np.array([label.encode() for label in EMOTIONS], object),
    }
    return tensors | ({"FRAME_SCORES": rows} if with_frames else {})


def printed(answer: Prediction | EmotionPrediction | TritoneError, file: str = "song.mp3") -> str:
    """What the commands print of an answer, on a wide terminal, on a narrow one and in a pipe."""
    text = io.StringIO()
    with redirect_stderr(text):
        for settings in ({"width": 200}, {"width": 60}, {"force_terminal": False}):
            console = Console(**{"file": text, "force_terminal": True, "color_system": None} | settings)
            listing = Listing(console, [file], ("label", "probability", "next", "parts"), 4)
            listing.add(file, answer)
            listing.end()
    return text.getvalue()


UNSURE = {
    "uncertainty": {"entropy": 0.83, "margin": 0.91, "variation_ratio": 0.62, "disagreement": 0.35},
    "review": {"by": "entropy", "threshold": 0.7},
    "needs_review": True,
}
"""What RESULT gains with `uncertainty` where a person should look."""
