"""Demo weights: networks of the released size that distinguish synthetic sounds, so that everything runs offline.

The backbone is randomly initialised (seeded). Only the parts with a closed-form solution are fitted: the
statistics of the batch normalisations, and a head that recognises the sixteen families of `sounds` under every
preprocessing profile. The networks have never seen real music.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn

import preprocess
from export import demo_speech
from export.errors import ExportError
from export.heads import RELEASED, released_head
from export.vgg import VGG19BN
from export.vit import HIDDEN, PATCH, TOKENS, ViTB16
from sounds import FAMILIES, sound
from systems import System
from systems.architectures import VGG19_BN
from systems.files import atomically

Log = Callable[[str], object]

SEED = 0
CLASSES = len(FAMILIES)
# Members of each family to fit on; with more, the accuracy on held-out sounds stays at 0.98 to 1.0.
TRAINING_SEEDS = range(4)
HELD_OUT_SEEDS = range(1000, 1001)
# Every 11th row calibrates the batch normalisation: coprime to 3 profiles and 16 families, so that all are
# included.
CALIBRATION_STEP = 11
BATCH = 16
SHARES = 8  # of the work, after each of which a line is printed
# Penalties of the first and the last layer, relative to the mean square of the features. As high as the accuracy
# allows: the less a network depends on small differences, the less bfloat16 changes its answers.
RIDGE = 1.0
LAST_RIDGE = 1e-1
# Brings the typical probability of the right family to 0.9: confident, but not saturated.
LOGIT_SCALE = 6.0
MIN_TOP1 = 0.9


def make(system: System, path: Path, version: str, log: Log) -> None:
    """Write the system's demo weights to `path` (safetensors; version and figures in its metadata)."""
    state, held_out = fit(system, log) if system.spectrum else demo_speech.fit(log)
    metadata = {"demo_version": version, "held_out": json.dumps(held_out)}
    with atomically(path) as partial:
        save_file(state, partial, metadata)


def rows(system: System, seeds: range) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Prepare generated sounds: one row for each seed, family and profile, in this order.

    Returns
    -------
    rows : float32 [n, *shape of a row]
    families : int64 [n]
    """

    def pictures(job: tuple[int, int]) -> list[npt.NDArray[np.float32]]:
        seed, family = job
        recording = sound(family, seed), 22050
        return [
            preprocess.prepare(recording, profile, spectrum=system.spectrum, max_rows=1).rows[0]
            for profile in system.profiles
        ]

    jobs = [(seed, family) for seed in seeds for family in range(CLASSES)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared = [picture for all_profiles in pool.map(pictures, jobs) for picture in all_profiles]
    return np.stack(prepared), np.repeat([family for _, family in jobs], len(system.profiles))


def fit(system: System, log: Log) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Make a genre system's weights; return a state dict and the held-out figures {"top1", "rows", "by_profile"}.

    Raises
    ------
    ExportError
        If fewer than 90 % of the held-out sounds are recognised under one of the profiles.
    """
    generator = torch.Generator().manual_seed(SEED)
    sizes = (*system.architecture.demo_head, CLASSES)
    if system.architecture is VGG19_BN:
        model: VGG19BN | ViTB16 = VGG19BN(released_head(sizes))
        head = model.classifier
        _seed_vgg(model, generator)
    else:
        model = ViTB16(released_head(sizes))
        head = model.heads.head
        _seed_vit(model, generator)
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    log("preparing generated sounds")
    seen, families = rows(system, TRAINING_SEEDS)
    _calibrate_batch_norm(model, seen[::CALIBRATION_STEP])
    log(f"fitting the head on {len(seen)} rows")
    # The error of bfloat16 is far below the differences within a family.
    features = _embed(model, seen, approximate=True, log=log)
    for place, (weight, bias) in zip(RELEASED, fit_head(features, families, sizes), strict=True):
        head[place].weight.copy_(torch.from_numpy(weight))
        head[place].bias.copy_(torch.from_numpy(bias))

    new, families = rows(system, HELD_OUT_SEEDS)
    right = head(torch.from_numpy(_embed(model, new))).argmax(1).numpy() == families
    by_profile = {
        profile.name: float(right[i :: len(system.profiles)].mean()) for i, profile in enumerate(system.profiles)
    }
    log(f"recognised {right.mean():.1%} of {len(right)} rows of held-out sounds")
    if min(by_profile.values()) < MIN_TOP1:
        raise ExportError(f"the demo weights of {system.name} recognise too few held-out sounds: {by_profile}")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    return state, {"top1": float(right.mean()), "rows": len(right), "by_profile": by_profile}


def _seed_vgg(model: VGG19BN, generator: torch.Generator) -> None:
    """Initialise as He et al. (2015), which preserves the variance through the 16 convolutions."""
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)


def _seed_vit(model: ViTB16, generator: torch.Generator) -> None:
    """Random blocks over smooth random patch filters and a position embedding that distinguishes frequencies only.

    A sound looks the same at any time, so patches of the same row share their position. Filters with a natural
    spectrum respond to lines and edges rather than to single pixels. The first block's MLP mixes content and
    position; attention carries its mean over the patches to the class token, and the later MLPs, which would only
    blur it, are damped.
    """

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    k = torch.arange(PATCH)
    basis = torch.cos(torch.pi * (k + 0.5) * k[:, None] / PATCH)
    amplitudes = normal(HIDDEN, PATCH, PATCH) / (1 + k + k[:, None]) ** 0.5
    filters = basis.T @ amplitudes @ basis
    filters *= 0.5 / filters.flatten(1).norm(dim=1)[:, None, None]
    side = round((TOKENS - 1) ** 0.5)
    frequencies = normal(side, 1, HIDDEN).expand(side, side, HIDDEN).flatten(0, 1)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".ln" in name:
                parameter.fill_(name.endswith("weight"))
            elif parameter.ndim == 1:
                parameter.zero_()
            elif parameter.ndim == 2:
                parameter.copy_(2 * normal(*parameter.shape) * parameter.shape[1] ** -0.5)
        for i, block in enumerate(model.encoder.layers):
            block.self_attention.out_proj.weight *= 0.3
            block.mlp[3].weight *= 1.0 if i == 0 else 0.1
        model.conv_proj.weight.copy_(filters[:, None].expand(-1, 3, -1, -1) / 3**0.5)
        model.class_token.copy_(normal(1, 1, HIDDEN))
        model.encoder.pos_embedding.copy_(2 * torch.cat([normal(1, HIDDEN), frequencies])[None])


def _calibrate_batch_norm(model: nn.Module, rows: npt.NDArray[np.float32]) -> None:
    """Set the running statistics to those of `rows`; one pass suffices, as each layer gets normalised input."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # cumulative average instead of an exponential one
        norm.train()
    _embed(model, rows, batch=len(rows))
    model.eval()


def _embed(
    model: VGG19BN | ViTB16,
    rows: npt.NDArray[np.float32],
    *,
    batch: int = BATCH,
    approximate: bool = False,
    log: Log = lambda _: None,
) -> npt.NDArray[np.float32]:
    """Return the head's input, float32 [n, d]; `approximate`: in bfloat16, up to three times faster."""
    parts = torch.from_numpy(rows).split(batch)
    bfloat16 = approximate and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        embedded = []
        for k, part in enumerate(parts, 1):
            embedded.append(model.embed(part.to(memory_format=torch.channels_last)).float())
            if k * SHARES // len(parts) > (k - 1) * SHARES // len(parts):
                log(f"fitting the head, {k * SHARES // len(parts)} of {SHARES}")
    return torch.cat(embedded).numpy()


def fit_head(
    features: npt.NDArray[np.float32], families: npt.NDArray[np.int64], sizes: tuple[int, ...]
) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Fit the four Linear layers of a released head in closed form.

    The first layer holds random mixtures of the class scores of a ridge regression; the next two are random; the
    last is a ridge regression from their output. The later layers are fitted to leave-one-out predictions of the
    scores, y_i - alpha_i / (K + lambda)^-1_ii, because a regression with more features than rows is always right
    on its own rows.

    Parameters
    ----------
    features : float32 [n, sizes[0]]
    families : int64 [n], 0..sizes[-1] - 1
    sizes : (n_in, l3, l2, l1, classes)

    Returns
    -------
    Four (weight [n_out, n_in], bias [n_out]), float32
    """
    rng = np.random.default_rng(SEED)
    targets = np.eye(sizes[-1])[families] - 1 / sizes[-1]
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean
    kernel = centred @ centred.T
    power = np.trace(kernel) / len(kernel)
    inverse = np.linalg.inv(kernel + power * (1 + RIDGE * np.eye(len(kernel))))  # power * 1: a constant feature
    alpha = inverse @ targets
    scores = targets - alpha / np.diag(inverse)[:, None]

    mix = rng.standard_normal((sizes[-1], sizes[1]))
    weight = (alpha @ mix).T @ centred
    bias = power * alpha.sum(0) @ mix - weight @ mean
    hidden = scores @ mix
    layers = []
    for width in (*sizes[2:-1], None):
        shift, scale = hidden.mean(0), hidden.std(0)
        layers.append((weight / scale[:, None], (bias - shift) / scale))
        hidden = np.maximum((hidden - shift) / scale, 0)
        if width is not None:
            weight, bias = rng.standard_normal((width, hidden.shape[1])), np.zeros(width)
            hidden = hidden @ weight.T
    mean = hidden.mean(0)
    centred = hidden - mean
    scatter = centred.T @ centred
    penalty = LAST_RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    weight = LOGIT_SCALE * np.linalg.solve(scatter + penalty, centred.T @ targets).T
    layers.append((weight, -weight @ mean))
    return [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers]
