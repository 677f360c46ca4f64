"""musicnn trained on MagnaTagATune: 50 independent tags of instruments, sound and style."""

from dataclasses import replace

from systems import musicnn_msd
from systems.label_set import label_set

SYSTEM = replace(
    musicnn_msd.SYSTEM,
    name="musicnn_mtt",
    about="musicnn over a log-mel spectrogram, trained on MagnaTagATune",
    labels=label_set("mtt"),
    released=replace(musicnn_msd.RELEASED, folder="musicnn/MTT_musicnn"),
)
