"""The architectures of the networks."""

from __future__ import annotations

from systems.system import Architecture

VGG19_BN = Architecture(
    name="vgg19_bn",
    title="VGG19_BN",
    module="export.vgg:VGG19BN",
    key="features.0.weight",
    demo_head=(25088, 3958, 629, 100),
    explainer="export.explain:grad_cam",
    explained_by="Grad-CAM",
)
VIT_B_16 = Architecture(
    name="vit_b_16",
    title="ViT-B/16",
    module="export.vit:ViTB16",
    key="conv_proj.weight",
    demo_head=(768, 289, 110, 42),
    explainer="export.explain:roll_out",
    explained_by="attention roll-out",
)
EMOTION2VEC = Architecture(
    name="emotion2vec",
    title="Emotion2Vec+ Large",
    module="export.emotion2vec:Emotion2Vec",
    key="modality_encoders.AUDIO.extra_tokens",
)
MUSICNN = Architecture(
    name="musicnn",
    title="musicnn",
    module="export.musicnn:MusiCNN",
    key="timbral.0.convolution.weight",
)

ARCHITECTURES: dict[str, Architecture] = {kind.name: kind for kind in (VGG19_BN, VIT_B_16, EMOTION2VEC, MUSICNN)}
