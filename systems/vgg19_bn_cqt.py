"""VGG19_BN over a CQT spectrogram: 16 genres, as released by ccmusic-database."""

from systems.architectures import VGG19_BN
from systems.label_set import label_set
from systems.profiles import CCMUSIC
from systems.system import Checkpoint, System
from systems.tasks import GENRE

SYSTEM = System(
    name="vgg19_bn_cqt",
    about="VGG19_BN over a CQT spectrogram",
    task=GENRE,
    architecture=VGG19_BN,
    spectrum="cqt",
    profile=CCMUSIC,
    labels=label_set("ccmusic"),
    released=Checkpoint("ccmusic-database/music_genre", "vgg19_bn_cqt/save.pt"),
)
