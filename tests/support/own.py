"""Manifests of systems of the user's own, without their networks."""

import json
from pathlib import Path

from systems import SYSTEMS
from systems.label_set import Label, LabelSet

LIKE = SYSTEMS["vgg19_bn_cqt"]
LABELS = LabelSet((Label("Fado", "法朵"), Label("Morna", "莫尔纳")))


def write_manifest(folder: Path, **content: object) -> None:
    """As much of one as has to be there, with `content`, which names the system, in the repository `folder`."""
    content = {
        **{
            "format": 1,
            "profile": "ccmusic",
            "spectrum": "cqt",
            "input": LIKE.task.row(LIKE.profile),
            "demo": False,
        },
        **{"output": {"classes": 2}, "source": {"origin": "file", "location": "here", "sha256": "0"}},
        **content,
    }
    path = folder / f"{content['system']}_network" / "1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
