"""Thin client of Tritone: send a recording as it is and get its labels.

>>> from tritone_client import Client
>>> with Client("127.0.0.1:8001") as client:
...     prediction = client.classify("song.mp3", top_k=3)
...     speech = client.emotion("speech.wav")
>>> prediction.label, prediction.probability
>>> speech.emotion, speech.confidence

Each name below is imported when it is first used, so that a command that needs few of them starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tritone_client.aio import AsyncClient
    from tritone_client.answer import Answer, Part, Ranked, Runtime, Vote, Weights
    from tritone_client.answer import Runtime as Computed
    from tritone_client.answers.emotion import EmotionPrediction, Segment
    from tritone_client.answers.prediction import AppliedRule, Change, Prediction, Slice
    from tritone_client.bulk.similar import Similar, nearest
    from tritone_client.client import Client
    from tritone_client.errors import (
        DeadlineExceeded,
        InferenceFailed,
        InvalidLabels,
        InvalidRecording,
        InvalidResults,
        InvalidUrl,
        ServerBusy,
        ServerUnavailable,
        TritoneError,
        UnknownModel,
    )
    from tritone_client.evaluation.calibrate import Calibration, calibrate
    from tritone_client.evaluation.evaluate import Evaluation, evaluate
    from tritone_client.evaluation.labelled import Labelled, read_labelled
    from tritone_client.stream import StreamAnswer
    from tritone_client.systems import Health, System

_MODULES = {
    "aio": ("AsyncClient",),
    "answer": ("Answer", "Part", "Ranked", "Runtime", "Vote", "Weights"),
    "answers.emotion": ("EmotionPrediction", "Segment"),
    "answers.prediction": ("AppliedRule", "Change", "Prediction", "Slice"),
    "bulk.similar": ("Similar", "nearest"),
    "client": ("Client",),
    "errors": (
        *(
            "DeadlineExceeded",
            "InferenceFailed",
            "InvalidLabels",
            "InvalidRecording",
            "InvalidResults",
            "InvalidUrl",
        ),
        *("ServerBusy", "ServerUnavailable", "TritoneError", "UnknownModel"),
    ),
    "evaluation.calibrate": ("Calibration", "calibrate"),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "evaluation.labelled": ("Labelled", "read_labelled"),
    "stream": ("StreamAnswer",),
    "systems": ("Health", "System"),
}
_OLD = {"Computed": "Runtime"}  # names before version 0.2
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Answer",
    "AppliedRule",
    "AsyncClient",
    "Calibration",
    "Change",
    "Client",
    "Computed",
    "DeadlineExceeded",
    "EmotionPrediction",
    "Evaluation",
    "Health",
    "InferenceFailed",
    "InvalidLabels",
    "InvalidRecording",
    "InvalidResults",
    "InvalidUrl",
    "Labelled",
    "Part",
    "Prediction",
    "Ranked",
    "Runtime",
    "Segment",
    "ServerBusy",
    "ServerUnavailable",
    "Similar",
    "Slice",
    "StreamAnswer",
    "System",
    "TritoneError",
    "UnknownModel",
    "Vote",
    "Weights",
    "calibrate",
    "evaluate",
    "nearest",
    "read_labelled",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    name = _OLD.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
