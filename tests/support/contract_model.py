"""A tiny model that speaks the contract of Tritone's systems, for Triton's Python backend.

It is copied into a model repository by `triton.py`. The answer echoes what arrived, so that a test sees what the
client really sent, and the option `behave` makes it fail in a chosen way:
`invalid`, `busy` (the first `times` calls that name the same `counter`), `internal`,
`slow` (`seconds`), `patient` (the same, but ends when it is cancelled, and notes that), `raise`, `crash`,
`poisoned` (RESULT's `sha256` is that of another request, unless blanks lead past the cache), `mixed` (always).

A recording that is a JSON object says what it is taken for: `slices`, the probabilities of each of its slices,
`denoised`, the same where the option `denoise` is set, `embedding`, and `seconds` until its answer; `broken` ones
are refused. The options
`temperature`, `uncertainty`, `voting`, `rules` and `explain` do what an answer of the real systems shows of them.
"""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

LABELS = [("Symphony", "交响乐"), ("Opera", "戏曲"), ("Solo", "独奏"), ("Chamber", "室内乐")]
PROBABILITIES = np.array([0.125, 0.5, 0.25, 0.125], np.float32)


class TritonPythonModel:
    """Answers every recording with the same four probabilities, unless it says others."""

    def initialize(self, args):
        """Keep a folder for what must outlive a crash of this process."""
        self.memory = Path(args["model_repository"])

    def execute(self, requests):
        """One response, or one error, per request."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """The answer to one request, an error where its options ask for one."""
        try:
            return pb_utils.InferenceResponse(output_tensors=self.answer(request))
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=error.args[0])

    def answer(self, request):
        """Output tensors that repeat what arrived."""

        def value(name):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            return None if tensor is None else tensor.as_numpy()

        audio, pcm, rate, options = (value(name) for name in ("AUDIO", "PCM", "SAMPLE_RATE", "OPTIONS"))
        asked = b"" if options is None else options[0]
        options = {} if options is None else json.loads(options[0])
        self.behave(request, **options)
        time.sleep(said(b"" if audio is None else audio[0]).get("seconds", 0))
        rows = slices_of(b"" if audio is None else audio[0], options)
        probabilities = rows.mean(axis=0)
        order = np.argsort(-probabilities, kind="stable")[: options.get("top_k", 5)]
        top = [
            dict(zip(("label", "label_zh"), LABELS[i], strict=True), probability=float(probabilities[i]))
            for i in order
        ]
        first = {"label": top[0]["label"], "probability": top[0]["probability"]}
        notes = ["These are demo weights: the label means nothing for real music."]
        if audio is not None and len(audio[0]) < 3:
            notes.append("The recording is shorter than a slice: it was padded.")
        result = {
            "model": "vgg19_bn_cqt",
            **first,
            "top": top,
            "levels": {
                "2": [{"label": "Classic", "probability": 1.0}, {"label": "Non_classic", "probability": 0.0}]
            },
            "vote": {"label": "Opera", "share": 0.75},
            "slices": [{"start": 0.5 + 11 * i, "end": 11.5 + 11 * i, **first} for i in range(len(rows))],
            "slices_total": len(rows),
            "slices_used": len(rows),
            "duration": 23.0,
            "seconds_used": 22.0,
            "profile": options.get("profile", "ccmusic"),
            "profile_default": "profile" not in options,
            "notes": notes,
            "weights": {"origin": "demo", "source": "seed 0", "sha256": "00ff", "demo": True},
            **further(options, probabilities),
            "sha256": sha256_of(audio, pcm, rate, asked, options.get("behave")),
            "echo": {
                "audio_sha256": None if audio is None else hashlib.sha256(audio[0]).hexdigest(),
                "audio_bytes": None if audio is None else len(audio[0]),
                "pcm": None if pcm is None else pcm[:8].tolist(),
                "pcm_samples": None if pcm is None else len(pcm),
                "sample_rate": None if rate is None else int(rate[0]),
                "options": options,
            },
        }
        answers = {
            "PROBABILITIES": probabilities,
            "LABELS": np.array([english for english, _ in LABELS], object),
            "SLICE_PROBABILITIES": rows,
            **maps(options),
            "EMBEDDING": embedding_of(b"" if audio is None else audio[0]),
            "RESULT": np.array([f"\n{json.dumps(result)}\n"], object),
        }
        return [
            pb_utils.Tensor(name, answers[name]) for name in answers if name in request.requested_output_names()
        ]

    def note(self, what, counter):
        """Count what happened, in a file; how often it had happened before."""
        calls = self.memory / f"calls-{what}-{counter}"
        with calls.open("ab") as file:  # one byte a call: counts right over several processes
            file.write(b".")
        return calls.stat().st_size - 1

    def behave(self, request, behave="well", times=1, seconds=1.0, counter="all", **_):
        """Fail as asked."""
        count = self.note(behave, counter)
        if behave == "invalid":
            refuse(
                "The recording is 3 bytes of text, not audio: send WAV, FLAC, OGG, Opus, MP3 or M4A.",
                "INVALID_ARG",
            )
        elif behave == "busy" and count < times:
            refuse("Exceeds maximum queue size", "UNAVAILABLE")
        elif behave == "internal":
            refuse("The network answered 9 classes where the manifest names 16.", "INTERNAL")
        elif behave == "raise":
            raise RuntimeError("a bug in the model")
        elif behave == "slow":
            time.sleep(seconds)
        elif behave == "patient":
            end = time.monotonic() + seconds
            while time.monotonic() < end and not request.is_cancelled():
                time.sleep(0.01)
            if request.is_cancelled():
                self.note("cancelled", counter)
                refuse("The request was cancelled.", "CANCELLED")
        elif behave == "crash":
            os.kill(os.getpid(), signal.SIGKILL)


def sha256_of(audio, pcm, rate, options, behave):
    """What the answer is to, as a contract: written out here once more, apart from the client."""
    recording = pcm.astype("<f4").tobytes() + rate.astype("<i4").tobytes() if audio is None else audio[0]
    if behave == "mixed" or (behave == "poisoned" and options == options.rstrip()):
        recording = b"another"
    return hashlib.sha256(recording + b"\0" + options).hexdigest()


def said(data):
    """What a recording says that it is taken for."""
    return json.loads(data) if data.startswith(b"{") else {}


def slices_of(data, options):
    """float32 [slices, 4], the probabilities that a recording asks for."""
    recording = {"slices": [PROBABILITIES, PROBABILITIES], **said(data)}
    if recording.get("broken"):
        refuse("The recording is cut off.", "INVALID_ARG")
    if options.get("denoise") not in (None, "quietest", "first"):
        refuse("OPTIONS: denoise must be null, 'quietest' or 'first'. [option]", "INVALID_ARG")
    rows = np.array(recording["denoised" if options.get("denoise") and "denoised" in recording else "slices"])
    powers = rows ** (1 / options.get("temperature", 1.0))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def embedding_of(data):
    """float32 [8], what a recording asks for, or else numbers made of its hash."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return np.array(said(data).get("embedding", np.random.default_rng(seed).normal(size=8)), np.float32)


def further(options, probabilities):
    """What RESULT gains by options."""
    gained = {}
    if "uncertainty" in options:
        measures = dict.fromkeys(("entropy", "margin", "disagreement"), 0.25)
        measures["variation_ratio"] = 1 - float(probabilities.max())
        threshold = options.get("review_threshold", 0.7)
        gained["uncertainty"] = measures
        gained["review"] = {"by": options["uncertainty"], "threshold": threshold}
        gained["needs_review"] = measures[options["uncertainty"]] > threshold
    if "voting" in options:
        gained |= {"voting": options["voting"], "agreement": 0.75}
    if options.get("rules"):
        change = {"label": "Symphony", "factor": 0.3, "before": 0.41, "after": 0.17}
        because = {"tempo": 152.0, "beat_strength": 0.81}
        gained["features"] = because
        gained["rules"] = [{"rule": "fast with a strong beat", "because": because, "changes": [change]}]
    if count := most_shown(options):
        gained["pictures"] = {"slices": [1, 0][:count]}
    if options.get("explain"):
        gained["explanation"] = {"method": "Grad-CAM", "slices": [1, 0][: options["explain"]]}
    return gained


def most_shown(options):
    """Of how many slices there are pictures."""
    return max(options.get("explain") or 0, options.get("pictures") or 0)


def maps(options):
    """EXPLANATION and PICTURES of as many slices as was asked for, dummies for none."""
    heat = np.zeros((options.get("explain") or 0, 14, 14), np.float32)
    heat[:, 0, 13] = 1  # at the top right
    pictures = np.full((most_shown(options), 224, 224, 3), 100, np.uint8)
    return {
        "EXPLANATION": heat if len(heat) else np.zeros((1, 1, 1), np.float32),
        "PICTURES": pictures if len(pictures) else np.zeros((1, 1, 1, 1), np.uint8),
    }


def refuse(sentence, code):
    """End the request with a sentence and a Triton error code."""
    raise pb_utils.TritonModelException(pb_utils.TritonError(sentence, getattr(pb_utils.TritonError, code)))
