"""musicnn trained on the Million Song Dataset: 50 independent tags of genre, mood, era and voice."""

from systems.architectures import MUSICNN
from systems.label_set import label_set
from systems.profiles import PATCHES
from systems.system import Package, System
from systems.tasks import GENRE

RELEASED = Package(
    name="musicnn",
    version="0.1.0",
    folder="musicnn/MSD_musicnn",
    reader="export.musicnn_package:read",
    builder="export.musicnn_package:build",
    answers="export.musicnn_answers:known",
    licence="ISC, Music Technology Group, Universitat Pompeu Fabra",
    citation="Pons and Serra, musicnn: pre-trained CNNs for music audio tagging, 2019",
)

SYSTEM = System(
    name="musicnn_msd",
    about="musicnn over a log-mel spectrogram, trained on the Million Song Dataset",
    task=GENRE,
    architecture=MUSICNN,
    spectrum="mel",
    profile=PATCHES,
    labels=label_set("msd"),
    activation="sigmoid",
    embedding=200,
    max_batch_size=256,  # patches of 3 s: almost 13 minutes
    released=RELEASED,
)
