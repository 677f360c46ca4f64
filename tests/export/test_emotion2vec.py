"""Emotion2Vec against its published layout, an independent formulation, and itself in company."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from answers.activation import softmax
from export import inputs, onnx_export
from export.checkpoint import build, load_model, normalise, store_weights
from export.demo_speech import fit_projection
from export.emotion2vec import AUDIO, BASE, LARGE, Config, Emotion2Vec, alibi_slopes
from export.errors import CheckpointError, ExportError
from export.repository import export
from export.sources import Weights
from systems import SYSTEMS
from systems.architectures import EMOTION2VEC
from systems.label_set import label_set
from tests.support.project import ROOT
from tests.support.small_emotion2vec import TINY, padded, random_state, shapes, sounds

LENGTHS = (400, 719, 720, 8000, 15_999, 16_000, 23_456, 48_000)


@pytest.fixture(scope="module")
def tiny() -> Emotion2Vec:
    return build(random_state(TINY), EMOTION2VEC, 9)


def reference(state: dict[str, torch.Tensor], config: Config, wave: torch.Tensor) -> list[torch.Tensor]:
    """A row by itself, with PyTorch's own convolutions and transformer layers; slopes from the published lists."""
    d, heads = config.embed_dim, config.num_heads
    x = wave[:, None]
    for i, stride in enumerate((5, 2, 2, 2, 2, 2, 2)):
        layer = f"{AUDIO}local_encoder.conv_layers.{i}"
        x = F.conv1d(x, state[f"{layer}.0.weight"], stride=stride).transpose(1, 2)
        x = F.layer_norm(x, x.shape[-1:], state[f"{layer}.2.1.weight"], state[f"{layer}.2.1.bias"])
        x = F.gelu(x).transpose(1, 2)
    x = x.transpose(1, 2)
    name = f"{AUDIO}project_features"
    x = F.layer_norm(x, x.shape[-1:], state[f"{name}.1.weight"], state[f"{name}.1.bias"])
    x = x @ state[f"{name}.2.weight"].T + state[f"{name}.2.bias"]
    p = x.transpose(1, 2)
    for i in range(1, 6):
        layer = f"{AUDIO}relative_positional_encoder.{i}.0"
        p = F.conv1d(p, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=9, groups=config.conv_pos_groups)
        p = F.gelu(F.layer_norm(p.transpose(1, 2), (d,))).transpose(1, 2)
    x = torch.cat([state[f"{AUDIO}extra_tokens"], x + p.transpose(1, 2)], 1)
    x = F.layer_norm(
        x, (d,), state[f"{AUDIO}context_encoder.norm.weight"], state[f"{AUDIO}context_encoder.norm.bias"]
    )

    t = x.shape[1]
    bias = torch.zeros(heads, t, t)
    for h, slope in enumerate(SLOPES[heads]):
        for i in range(10, t):
            for j in range(10, t):
                bias[h, i, j] = -slope * abs(i - j) * max(0.0, state[f"{AUDIO}alibi_scale"][0, 0, h, 0, 0].item())
    blocks = [f"{AUDIO}context_encoder.blocks.{i}" for i in range(config.prenet_depth)]
    for block in [*blocks, *(f"blocks.{i}" for i in range(config.depth))]:
        layer = nn.TransformerEncoderLayer(d, heads, 4 * d, 0.0, "gelu", batch_first=True, norm_first=False).eval()
        names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "norm1.": "norm1."}
        names |= {"norm2.": "norm2.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2."}
        kinds = ("weight", "bias")
        layer.load_state_dict({a + k: state[f"{block}.{b}{k}"] for a, b in names.items() for k in kinds})
        x = layer(x, src_mask=bias)
    features = x[:, 10:]
    embedding = features.mean(1)
    weight, offset = state["proj.weight"].T, state["proj.bias"]
    return [features, features @ weight + offset, embedding, embedding @ weight + offset]


SLOPES = {
    4: [2**-2, 2**-4, 2**-6, 2**-8],
    6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3],
    12: [2.0**-k for k in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
    16: [2 ** (-k / 2) for k in range(1, 17)],
}


@pytest.mark.parametrize("heads", SLOPES)
def test_slopes(heads):
    assert alibi_slopes(heads) == pytest.approx(SLOPES[heads])


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"), [(LARGE, 185, 162_140_185), (BASE, 185, 93_178_133), (TINY, 89, None)]
)
def test_published_layout(config, tensors, parameters):
    with torch.device("meta"):
        state = Emotion2Vec(config).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes(config)
    assert len(state) == tensors
    assert parameters in (None, sum(value.numel() for value in state.values()))
    assert Config.of(state) == config


@pytest.mark.parametrize("samples", [400, 8000, 23_456])
def test_equals_pytorchs_own_layers(tiny, samples):
    state = random_state(TINY)
    (wave,) = sounds([samples])
    expected = reference(state, TINY, wave)  # with gradients: without, PyTorch's layer takes a path of its own
    found = tiny(wave, torch.tensor([[samples]]))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(400, 1), (719, 1), (720, 2), (15_999, 49), (16_000, 49), (48_000, 149), (480_000, 1499)],
)
def test_frames(tiny, samples, frames):
    with torch.no_grad():
        features, frame_logits, embedding, logits = tiny(torch.zeros(1, samples), torch.tensor([[samples]]))
    assert features.shape == (1, frames, 96) and frame_logits.shape == (1, frames, 9)
    assert embedding.shape == (1, 96) and logits.shape == (1, 9)


def test_padded_and_batched_equals_alone(tiny):
    """Bounds of 1e-5 on features and 1e-6 on scores; without any one of the masks they are missed by far."""
    waves = sounds(LENGTHS)
    order = torch.randperm(len(waves), generator=torch.Generator().manual_seed(3)).tolist()
    with torch.no_grad():
        together = tiny(*padded([waves[i] for i in order], 50_000))
        for row, i in enumerate(order):
            alone = tiny(waves[i], torch.tensor([[LENGTHS[i]]]))
            frames = alone[0].shape[1]
            for found, expected in zip(together[:2], alone[:2], strict=True):
                torch.testing.assert_close(found[row, :frames], expected[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(together[2][row], alone[2][0], rtol=0, atol=1e-5)
            scores, expected = together[3][row].softmax(-1), alone[3][0].softmax(-1)
            torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


def test_mean_of_the_frames_logits_is_the_logit_of_the_mean(tiny):
    wave, length = padded(sounds([23_456]))
    with torch.no_grad():
        _, frame_logits, _, logits = tiny(wave, length)
    torch.testing.assert_close(frame_logits.mean(1), logits, rtol=0, atol=1e-5)


def test_bias_is_zero_for_extra_tokens_and_a_negative_scale_counts_as_none():
    state = random_state(TINY)
    state[f"{AUDIO}alibi_scale"][0, 0, 2] = -1.0
    model = build(state, EMOTION2VEC, 9)
    valid = torch.tensor([[True, True, True, False]])
    bias = model.bias(torch.arange(4), valid)
    assert bias.shape == (1, 6, 14, 14)
    assert (bias[:, :, :10, :13] == 0).all() and (bias[:, :, :, :10] == 0).all()
    assert (bias[:, 2, :, :13] == 0).all() and (bias[:, 1, 12, 10] < 0).all()
    assert (bias[..., 13] == -torch.inf).all()


# Checkpoints -----------------------------------------------------------------------------------------------------


def official(state: dict[str, torch.Tensor]) -> dict:
    """As it is released: prefixes on all but proj, and much else beside it."""
    prefixed = {name if name.startswith("proj.") else f"d2v_model.{name}": value for name, value in state.items()}
    return {"epoch": 7, "model": prefixed, "optimizer": {"state": torch.zeros(3)}}


def test_official_layout_and_what_else_is_found():
    state = random_state(TINY)
    decoder = {f"d2v_model.{AUDIO}decoder.blocks.0.0.weight": torch.zeros(3)}
    for content in (
        official(state),
        official(state)["model"] | decoder,
        {f"module.{name}": value for name, value in state.items()},
        state | {f"{AUDIO}alibi_scale": state[f"{AUDIO}alibi_scale"][0]},
        state,
    ):
        found = build(normalise(content), EMOTION2VEC, 9).state_dict()
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    half = build(normalise({name: value.half() for name, value in state.items()}), EMOTION2VEC, 9)
    assert half.proj.weight.dtype == torch.float32


QKV = "blocks.1.attn.qkv.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(QKV), f"has no tensor {QKV}"),
        (lambda s: s.pop("proj.weight"), "has no tensor proj.weight"),
        (lambda s: s.update({QKV: torch.ones(3, 96)}), rf"{QKV} has the shape \[3, 96\], expected \[288, 96\]"),
        (lambda s: s.update({QKV: s[QKV] * torch.nan}), f"{QKV} holds NaN"),
        (lambda s: s.update(note=torch.ones(1)), "an unexpected tensor note"),
        (lambda s: s.update({"blocks.99999999.x": torch.ones(1)}), "has no tensor blocks.2.attn.proj.bias"),
        (
            lambda s: s.update({f"{AUDIO}alibi_scale": torch.ones(1, 1, 7, 1, 1)}),
            "width 96 is not a multiple of its 7",
        ),
        (lambda s: s.update({f"{AUDIO}alibi_scale": torch.ones(6)}), "alibi_scale has the shape"),
        (
            lambda s: s.update({"proj.weight": torch.ones(5, 96), "proj.bias": torch.ones(5)}),
            "5 outputs for 9 labels",
        ),
    ],
)
def test_refused(change, message):
    state = random_state(TINY)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        build(normalise(state), EMOTION2VEC, 9)


def test_another_size_than_the_served_one_is_refused(tmp_path):
    save_file(random_state(TINY), tmp_path / "model.safetensors")
    system = SYSTEMS["emotion2vec_plus_large"]

    class Source:
        def get(self, *_):
            source = {"origin": "directory", "location": "x", "file": "model", "revision": None, "sha256": "0"}
            return Weights(tmp_path / "model.safetensors", label_set("emotion2vec"), source)

    with pytest.raises(
        ExportError, match="embeddings of 96 values, the config.pbtxt of emotion2vec_plus_large declares 1024"
    ):
        export(system, Source(), tmp_path / "models", force=False, log=lambda _: None)
    assert not list(tmp_path.glob("models/*/1/model.onnx"))


def test_weights_alone_are_kept_of_a_checkpoint_that_holds_much_else(tmp_path):
    state = random_state(TINY)
    moments = {f"{name}.{k}": value + 1 for name, value in state.items() for k in ("exp_avg", "exp_avg_sq")}
    torch.save(official(state) | {"optimizer": moments}, tmp_path / "model.pt")
    torch.save(official(state), tmp_path / "alone.pt")
    kept, said = tmp_path / "kept" / "0.safetensors", []
    model = load_model(tmp_path / "model.pt", EMOTION2VEC, 9)
    store_weights(model, tmp_path / "alone.pt", kept, said.append)
    assert not kept.exists() and not said
    for _ in range(2):
        store_weights(model, tmp_path / "model.pt", kept, said.append)
        assert len(said) == 1
    found = load_file(kept)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


MEASURE = """
import resource, sys
from pathlib import Path
from export.checkpoint import store_weights, load_model
from systems.architectures import EMOTION2VEC
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path, kept = map(Path, sys.argv[1:])
model = load_model(kept if kept.is_file() else path, EMOTION2VEC, 9)
store_weights(model, path, kept, print)
parameters = sum(value.numel() for value in model.state_dict().values())
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, parameters)
"""


@pytest.mark.slow
def test_full_size_official_checkpoint_loads_in_little_memory(tmp_path):
    """1.95 GB, of which a third are weights: neither their copies nor the rest may be brought to memory."""
    state = {name: torch.zeros(1).expand(shape).contiguous() for name, shape in shapes(LARGE).items()}
    size = sum(value.numel() * 4 for value in state.values())
    moments = {f"{name}.{k}": value + 1 for name, value in state.items() for k in ("exp_avg", "exp_avg_sq")}
    torch.save(official(state) | {"optimizer": moments}, tmp_path / "model.pt")
    del moments
    assert (tmp_path / "model.pt").stat().st_size > 2.9 * size
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "model.pt"), str(tmp_path / "kept.safetensors")]
    for _ in ("converts it", "finds it converted"):
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        before, after, parameters = map(int, output.split("\n")[-2].split())
        assert parameters == 162_140_185
        assert (after - before) * 1024 < 1.5 * size
        (tmp_path / "model.pt").write_bytes(b"")  # the second time it is not needed


# ONNX ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(tiny, tmp_path_factory) -> onnxruntime.InferenceSession:
    """Exported after the network has run, which must leave nothing behind (in FunASR it leaves its length)."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with torch.no_grad():
        tiny(*padded(sounds([8000])))
    onnx_export.to_onnx(tiny, onnx_export.graph_of(SYSTEMS["emotion2vec_plus_large"]), path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("lengths", [(400,), (48_000, 400, 31_999), (719, 720), LENGTHS])
def test_onnx_padded_and_batched_equals_pytorch_alone(session, tiny, lengths):
    waves = sounds(lengths)
    wav, length = (x.numpy() for x in padded(waves))
    found = session.run(["FEATURES", "FRAME_LOGITS", "EMBEDDING", "LOGITS"], {"WAV": wav, "LENGTH": length})
    for row, wave in enumerate(waves):
        with torch.no_grad():
            alone = [x.numpy()[0] for x in tiny(wave, torch.tensor([[wave.shape[1]]]))]
        frames = len(alone[0])
        for a, b in zip((found[0][row, :frames], found[1][row, :frames], found[2][row]), alone[:3], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(softmax(found[3][row]), softmax(alone[3]), rtol=0, atol=1e-6)


def test_onnx_names_its_axes(session):
    taken = {i.name: i.shape for i in session.get_inputs()}
    assert taken == {"WAV": ["batch", "samples"], "LENGTH": ["batch", 1]}
    assert {o.name: o.shape for o in session.get_outputs()} == {
        "FEATURES": ["batch", "frames", 96],
        "FRAME_LOGITS": ["batch", "frames", 9],
        "EMBEDDING": ["batch", 96],
        "LOGITS": ["batch", 9],
    }


# Demo weights ----------------------------------------------------------------------------------------------------


def test_projection_is_the_ridge_regression_of_its_formula():
    """The same minimum, found through the normal equations of the features instead of the kernel of the rows."""
    rng = np.random.default_rng(0)
    features, classes = rng.standard_normal((60, 20)).astype(np.float32), np.arange(60) % 9
    weight, bias = fit_projection(features, classes)
    centred = (features - features.mean(0)).astype(np.float64)
    penalty = 0.1 * np.square(centred).sum() / 60 * np.eye(20)
    expected = 6 * np.linalg.solve(centred.T @ centred + penalty, centred.T @ (np.eye(9)[classes] - 1 / 9)).T
    np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(features.mean(0) @ weight.T + bias, 0, atol=1e-5)


def test_exported_demo_network_tells_sounds_apart_and_equals_pytorch(speech_repository):
    """Full size, as `make export` leaves it: what the manifest claims, and rows of all lengths in one batch."""
    system = SYSTEMS["emotion2vec_plus_large"]
    folder = speech_repository / f"{system.name}_network" / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["demo"] and min(manifest["held_out"]["top1"], manifest["held_out"]["half_seconds"]) >= 0.9
    assert manifest["output"] == {"name": "LOGITS", "classes": 9, "embedding": 1024}
    assert [label["en"] for label in manifest["labels"]] == (
        ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"]
    )
    assert manifest["parity"]["max_probability_difference"] < 1e-5
    model = load_model(ROOT / "checkpoints" / "demo" / system.name / "save.safetensors", EMOTION2VEC, 9)
    rows = [inputs.example_row(system, family, 3000) for family in range(4)]
    wav, length = inputs.pad_batch(rows)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    features, logits = session.run(["FEATURES", "LOGITS"], {"WAV": wav, "LENGTH": length})
    for i, row in enumerate(rows):
        alone = session.run(["FEATURES", "LOGITS"], {"WAV": row[0], "LENGTH": row[1]})
        with torch.inference_mode():
            expected = [x.numpy() for x in model(*map(torch.from_numpy, row))]
        frames = alone[0].shape[1]
        np.testing.assert_allclose(features[i, :frames], alone[0][0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(softmax(logits[i]), softmax(alone[1][0]), rtol=0, atol=1e-6)
        np.testing.assert_allclose(alone[0], expected[0], rtol=0, atol=5e-5)  # of values up to 4
        np.testing.assert_allclose(softmax(alone[1]), softmax(expected[3]), rtol=0, atol=1e-6)
