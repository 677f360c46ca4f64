"""The classifiers that can be exported, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass

from export.labels import CCMUSIC, LabelSet

HUB_REPOSITORY = "ccmusic-database/music_genre"
"""The released weights of the genre systems."""


@dataclass(frozen=True)
class System:
    """A served classifier.

    Attributes
    ----------
    name : of the served model; also the folder of its checkpoint
    architecture : "vgg19_bn" or "vit_b_16"
    spectrum : "cqt" or "mel", the picture that it was trained on
    profile : preprocessing that the released weights expect
    hub_file : where the released weights are in their repository on the hub
    labels : classes of the released weights, in output order
    """

    name: str
    architecture: str
    spectrum: str
    profile: str
    hub_file: str
    labels: LabelSet


def _ccmusic(name: str, architecture: str, spectrum: str) -> System:
    return System(name, architecture, spectrum, "ccmusic", f"{name}/save.pt", CCMUSIC)


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _ccmusic("vgg19_bn_cqt", "vgg19_bn", "cqt"),
        _ccmusic("vit_b_16_mel", "vit_b_16", "mel"),
    )
}
