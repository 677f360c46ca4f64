"""Thin client of Tritone: send a recording as it is, get its labels back.

>>> from tritone_client import Client
>>> with Client("127.0.0.1:8001") as client:
...     prediction = client.classify("song.mp3", top_k=3)
...     speech = client.emotion("speech.wav")
>>> prediction.label, prediction.probability
>>> speech.emotion, speech.confidence
"""

from tritone_client.aio import AsyncClient
from tritone_client.calibration import Calibration, calibrate
from tritone_client.client import Client, Health, System
from tritone_client.emotion import EmotionPrediction, Segment
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
from tritone_client.evaluation import Evaluation, evaluate
from tritone_client.labelled import Labelled, read_labelled
from tritone_client.prediction import AppliedRule, Change, Computed, Prediction, Ranked, Slice, Vote, Weights
from tritone_client.similar import Similar, nearest
from tritone_client.stream import StreamAnswer

__all__ = [
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
    "Prediction",
    "Ranked",
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
