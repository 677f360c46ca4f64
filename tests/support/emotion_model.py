"""A tiny model that speaks the contract of the emotion system, for Triton's Python backend.

It is copied into a model repository by `triton.py`. Each byte of the recording is a frame, and its value the
emotion there: the bytes 3, 3, 4 are two frames of the fourth emotion and one of the fifth. A real WAV file is
taken for these three, and a recording that begins with the byte 255 is silent. Unknown options are refused by
name, as the real system does.
"""

import itertools
import json

import numpy as np
import triton_python_backend_utils as pb_utils

EMOTIONS = ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"]
CHINESE = ["生气", "厌恶", "恐惧", "开心", "中立", "其他", "难过", "吃惊", "未知"]
OPTIONS = {
    *("smoothing", "min_segment", "frame_embeddings", "timings", "uncertainty", "review_threshold", "temperature")
}
HOP = 0.02


class TritonPythonModel:
    """Answers what the bytes of a recording say."""

    def execute(self, requests):
        """One response, or one error, per request."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """The answer to one request, an error where an option is unknown."""
        audio, options = (pb_utils.get_input_tensor_by_name(request, name) for name in ("AUDIO", "OPTIONS"))
        options = json.loads(options.as_numpy()[0]) if options else {}
        if unknown := sorted(options.keys() - OPTIONS):
            error = pb_utils.TritonError(f"There is no option {unknown[0]!r}.", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        data = audio.as_numpy()[0] if audio else bytes([3, 4])
        data = bytes([3, 3, 4]) if data.startswith(b"RIFF") else data
        tensors = answer(data, options)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, tensor) for name, tensor in tensors.items()]
        )


def answer(data, options):
    """All output tensors for a recording."""
    silence = data[0] == 255
    frames = np.full((len(data), 9), 0.05, np.float32)
    if silence:
        frames[:] = 1 / 9
    else:
        frames[range(len(data)), list(data)] = 0.6
    scores = frames.mean(axis=0)
    best = int(scores.argmax())
    segments, start = [], 0
    for value, run in itertools.groupby([] if silence else data):
        end = start + len(list(run))
        segments.append(
            {"start": start * HOP, "end": end * HOP, "emotion": EMOTIONS[value], "confidence": 0.5},
        )
        start = end
    features = np.arange(len(data) * 1024, dtype=np.float32).reshape(-1, 1024)
    result = {
        "model": "emotion2vec_plus_large",
        "labels_zh": CHINESE,
        "emotion": None if silence else EMOTIONS[best],
        "emotion_zh": None if silence else CHINESE[best],
        "confidence": None if silence else float(scores[best]),
        "scores": dict(zip(EMOTIONS, scores.tolist(), strict=True)),
        "segments": segments,
        "frames": len(data),
        "frame_hop": HOP,
        "windows": 1,
        "silence": bool(silence),
        "duration": len(data) * HOP,
        "profile": "emotion2vec",
        "notes": ["These are demo weights: the emotion means nothing for real speech."],
        "weights": {"origin": "demo", "source": "seed 0", "sha256": "00ff", "demo": True},
        "echo": {"options": options},
    }
    if "uncertainty" in options:
        measure = 1 - float(scores.max())
        result["uncertainty"] = {options["uncertainty"]: measure}
        result["needs_review"] = measure > options.get("review_threshold", 0.7)
    return {
        "SCORES": scores,
        "LABELS": np.array(EMOTIONS, object),
        "FRAME_SCORES": frames,
        "SEGMENTS": np.array([json.dumps(segments)], object),
        "EMBEDDING": features.mean(axis=0),
        "FRAME_EMBEDDINGS": features if options.get("frame_embeddings") else features.mean(axis=0, keepdims=True),
        "RESULT": np.array([json.dumps(result)], object),
    }
