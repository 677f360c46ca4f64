"""VGG19_BN over a mel spectrogram: the released sibling of vgg19_bn_cqt; exported only on request."""

from dataclasses import replace

from systems import vgg19_bn_cqt
from systems.system import Checkpoint

SYSTEM = replace(
    vgg19_bn_cqt.SYSTEM,
    name="vgg19_bn_mel",
    about="VGG19_BN over a mel spectrogram",
    spectrum="mel",
    released=Checkpoint("ccmusic-database/music_genre", "vgg19_bn_mel/save.pt"),
    by_default=False,
)
