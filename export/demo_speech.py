"""Demo weights of the speech network: random, except for a projection that distinguishes nine synthetic sounds.

The network has never seen speech. The projection is fitted to entire sounds and to half seconds of them, so that
the scores of frames differ as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import nn

from export.emotion2vec import LARGE, Block, Config, Emotion2Vec
from export.errors import ExportError
from preprocess import prepare_speech
from sounds import FAMILIES, sound

SEED = 0
# The sound that each output represents.
SOUNDS = (
    "sustained chord",
    "glissando up",
    "hiss",
    "kick and hat",
    "tremolo",
    "plucked strings",
    "bells",
    "rumble",
    "organ",
)
TRAINING_SEEDS = range(8)
HELD_OUT_SEEDS = range(1000, 1004)
SR = 16000
SECONDS = 2.02
HALF_SECOND = 25  # frames
# Weight of attention and MLP relative to the identity. With 1, twelve random blocks make all frames of a recording
# equal, and a timeline would show nothing.
BRANCH = 0.3
# Penalty relative to the mean square of the features.
RIDGE = 0.1
# Brings the typical probability of the right sound to 0.9: confident, but not saturated.
LOGIT_SCALE = 6.0
MIN_TOP1 = 0.9


def fit(log: Callable[[str], object], config: Config = LARGE) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Make the weights; return the state dict and the held-out figures {"top1", "rows", "half_seconds"}.

    Raises
    ------
    ExportError
        If fewer than 90 % of the held-out sounds, or of their half seconds, are recognised.
    """
    model = _seeded(config)
    log("computing features of generated sounds")
    features, parts = _features(model, TRAINING_SEEDS)
    targets = np.concatenate([np.arange(len(features)), np.repeat(np.arange(len(features)), parts.shape[1])])
    weight, bias = fit_projection(
        np.concatenate([features, parts.reshape(-1, config.embed_dim)]), targets % len(SOUNDS)
    )
    model.proj.weight.copy_(torch.from_numpy(weight))
    model.proj.bias.copy_(torch.from_numpy(bias))

    features, parts = _features(model, HELD_OUT_SEEDS)
    classes = np.arange(len(features)) % len(SOUNDS)
    whole = float(((features @ weight.T + bias).argmax(-1) == classes).mean())
    half = float(((parts @ weight.T + bias).argmax(-1) == classes[:, None]).mean())
    log(f"recognised {whole:.1%} of {len(features)} held-out sounds and {half:.1%} of their half seconds")
    if min(whole, half) < MIN_TOP1:
        raise ExportError(
            f"the demo weights recognise too few held-out sounds: {whole:.1%}, {half:.1%} of half seconds"
        )
    return model.state_dict(), {"top1": whole, "rows": len(features), "half_seconds": half}


def _seeded(config: Config) -> Emotion2Vec:
    """Return a model with random weights that preserve the scale of the activations."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.device("meta"):
        model = Emotion2Vec(config)
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.weight.fill_(1)
            layer.bias.zero_()
        elif isinstance(layer, nn.Linear | nn.Conv1d):
            layer.weight.normal_(std=layer.weight[0].numel() ** -0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    for block in model.modules():
        if isinstance(block, Block):
            block.attn.proj.weight.mul_(BRANCH)
            block.mlp.fc2.weight.mul_(BRANCH)
    audio = model.modality_encoders["AUDIO"]
    audio.extra_tokens.normal_(generator=generator)
    audio.alibi_scale.fill_(1)
    return model


def _features(model: Emotion2Vec, seeds: range) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return embeddings of sounds [n, d] and of their half seconds [n, parts, d]: for each seed, every sound.

    Every second seed is resampled to 8 kHz, so that the network recognises telephone recordings as well.
    """
    names = list(FAMILIES)

    def wave(seed: int, name: str) -> npt.NDArray[np.float32]:
        y = sound(names.index(name), seed, seconds=SECONDS, sr=SR)
        recording = (soxr.resample(y, SR, SR // 2), SR // 2) if seed % 2 else (y, SR)
        speech = prepare_speech(recording)
        return speech.wav[0, : speech.lengths[0, 0]]

    # The error of bfloat16 is far below the differences between the sounds.
    bfloat16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waves = list(pool.map(lambda job: wave(*job), [(seed, name) for seed in seeds for name in SOUNDS]))
    features = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for y in waves:
            features.append(model(torch.from_numpy(y)[None], torch.tensor([[len(y)]]))[0][0].float().numpy())
    frames = np.stack(features)
    parts = frames[:, : frames.shape[1] // HALF_SECOND * HALF_SECOND]
    return frames.mean(1), parts.reshape(len(frames), -1, HALF_SECOND, frames.shape[2]).mean(2)


def fit_projection(
    features: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit a ridge regression from features [n, d] to the classes 0..8; return weight [9, d] and bias [9]."""
    targets = np.eye(len(SOUNDS))[classes] - 1 / len(SOUNDS)
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean
    kernel = centred @ centred.T
    penalty = RIDGE * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    weight = LOGIT_SCALE * np.linalg.solve(kernel + penalty, targets).T @ centred
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)
