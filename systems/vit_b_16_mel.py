"""ViT-B/16 over a mel spectrogram: 16 genres, as released by ccmusic-database."""

from systems.architectures import VIT_B_16
from systems.label_set import label_set
from systems.profiles import CCMUSIC
from systems.system import Checkpoint, System
from systems.tasks import GENRE

SYSTEM = System(
    name="vit_b_16_mel",
    about="ViT-B/16 over a mel spectrogram",
    task=GENRE,
    architecture=VIT_B_16,
    spectrum="mel",
    profile=CCMUSIC,
    labels=label_set("ccmusic"),
    released=Checkpoint("ccmusic-database/music_genre", "vit_b_16_mel/save.pt"),
)
