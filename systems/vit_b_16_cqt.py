"""ViT-B/16 over a CQT spectrogram: the released sibling of vit_b_16_mel; exported when it is named."""

from dataclasses import replace

from systems import vit_b_16_mel
from systems.system import Checkpoint

SYSTEM = replace(
    vit_b_16_mel.SYSTEM,
    name="vit_b_16_cqt",
    about="ViT-B/16 over a CQT spectrogram",
    spectrum="cqt",
    released=Checkpoint("ccmusic-database/music_genre", "vit_b_16_cqt/save.pt"),
    by_default=False,
)
