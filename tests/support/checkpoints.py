"""Synthetic checkpoints in the released layouts."""

import torch

CONVOLUTIONS = {
    0: (3, 64),
    3: (64, 64),
    7: (64, 128),
    10: (128, 128),
    14: (128, 256),
    **dict.fromkeys((17, 20, 23), (256, 256)),
    27: (256, 512),
    **dict.fromkeys((30, 33, 36, 40, 43, 46, 49), (512, 512)),
}
"""Place among VGG19_BN's features -> channels, as torchvision numbers them; batch norm is at the next place."""

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def vgg_shapes(*head: int) -> Shapes:
    """Names and shapes of VGG19_BN with the released head of the given sizes after 25088."""
    shapes: Shapes = {}
    for i, (n_in, n_out) in CONVOLUTIONS.items():
        shapes |= {f"features.{i}.weight": (n_out, n_in, 3, 3), f"features.{i}.bias": (n_out,)}
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{i + 1}.{name}"] = (n_out,)
        shapes[f"features.{i + 1}.num_batches_tracked"] = ()
    for i, n_in, n_out in zip((1, 4, 7, 9), (25088, *head), head, strict=False):
        shapes |= linear(f"classifier.{i}", n_in, n_out)
    return shapes


def vit_shapes(*head: int) -> Shapes:
    """Names and shapes of ViT-B/16 with the released head of the given sizes after 768."""
    shapes: Shapes = {
        "class_token": (1, 1, 768),
        "conv_proj.weight": (768, 3, 16, 16),
        "conv_proj.bias": (768,),
        "encoder.pos_embedding": (1, 197, 768),
        "encoder.ln.weight": (768,),
        "encoder.ln.bias": (768,),
    }
    for i in range(12):
        p = f"encoder.layers.encoder_layer_{i}"
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{p}.{norm}.weight": (768,), f"{p}.{norm}.bias": (768,)}
        shapes[f"{p}.self_attention.in_proj_weight"] = (2304, 768)
        shapes[f"{p}.self_attention.in_proj_bias"] = (2304,)
        shapes |= linear(f"{p}.self_attention.out_proj", 768, 768)
        shapes |= linear(f"{p}.mlp.0", 768, 3072) | linear(f"{p}.mlp.3", 3072, 768)
    for i, n_in, n_out in zip((1, 4, 7, 9), (768, *head), head, strict=False):
        shapes |= linear(f"heads.head.{i}", n_in, n_out)
    return shapes


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of these shapes whose activations keep their scale through the network."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
            continue
        value = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            value = value.abs() + 0.5
        elif len(shape) > 1 and name.endswith("weight"):
            value *= (2 / value[0].numel()) ** 0.5
        elif not name.endswith(("class_token", "pos_embedding")):
            value = 0.1 * value + name.endswith("weight")
        state[name] = value
    return state
