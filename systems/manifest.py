"""manifest.json beside a network: describes its inputs and outputs and records its files.

A file is valid only if the manifest has a matching entry: "onnx" for model.onnx, and "fp16", "int8" and "explain"
for the networks made from it (systems/repository.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems.files import atomically
from systems.profiles import PROFILES, Profile
from systems.system import ACTIVATIONS, Task, profiles_for
from systems.tasks import TASKS
from systems.variants import MANIFEST_FILE

# Version of the manifest's format.
FORMAT = 1
# The entry of model.onnx.
NETWORK = "onnx"


@dataclass(frozen=True)
class Manifest:
    """The manifest of a network.

    Attributes
    ----------
    folder : folder of the network's files, `<repository>/<system>_network/1`
    content : the JSON object
    damage : why it cannot be read; empty if it can
    """

    folder: Path
    content: dict[str, Any]
    damage: str = ""

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read a manifest; None if there is none. A damaged one has no content, and its `problem` says why."""
        try:
            content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"a JSON object is expected, not {type(content).__name__}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return cls(folder, {}, str(error))
        return cls(folder, content)

    @property
    def task(self) -> Task:
        """The task of the network."""
        if declared := self.content.get("declared"):
            return TASKS[declared["task"]]
        return next(task for task in TASKS.values() if self.profile in task.profiles)

    @property
    def profile(self) -> Profile:
        """The profile that the weights expect: a named one, or that of the user's declaration."""
        if declared := self.content.get("declared"):
            return Profile.from_json(declared["profile"])
        return PROFILES[self.content["profile"]]

    @property
    def profiles(self) -> dict[str, Profile]:
        """By name, the profiles that can prepare recordings for the network."""
        suitable = profiles_for(self.task, self.profile, self.content["spectrum"])
        return {profile.name: profile for profile in suitable}

    def problem(self, system: str) -> str | None:
        """Return a clause that says why it does not fit a system and this version; None if it does."""
        if self.damage:
            return f"it is damaged ({self.damage})"
        try:
            return self._problem(system)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            return f"it is damaged ({type(error).__name__}: {error})"

    def write(self) -> None:
        """Write the file atomically."""
        with atomically(self.folder / MANIFEST_FILE) as partial:
            partial.write_text(json.dumps(self.content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def _problem(self, system: str) -> str | None:
        content = self.content
        if content.get("format") != FORMAT:
            return f"its format is {content.get('format')}, not {FORMAT}"
        if content["system"] != system:
            return f"it describes {content['system']}, not {system}"
        if "declared" not in content and content["profile"] not in PROFILES:
            return f"its profile {content['profile']!r} is not one of {', '.join(PROFILES)}"
        if "declared" in content and content["declared"]["task"] not in TASKS:
            return f"its task {content['declared']['task']!r} is not one of {', '.join(TASKS)}"
        if content.get("activation", "softmax") not in ACTIVATIONS:
            return f"its activation {content['activation']!r} is not one of {', '.join(ACTIVATIONS)}"
        profile, spectrum = self.profile, content["spectrum"]
        if spectrum not in profile.spectra:
            return f"its spectrum {spectrum!r} is not one of {', '.join(map(str, profile.spectra))}"
        if content["input"] != self.task.row(profile):
            return f"the network takes {content['input']}, profile {profile.name} makes {self.task.row(profile)}"
        classes, labels = content["output"]["classes"], len(content["labels"])
        if classes != labels:
            return f"the network has {classes} outputs but {labels} labels"
        for level in content.get("levels", []):
            members = level["members"]
            if len(members) != classes or not all(0 <= m < len(level["labels"]) for m in members):
                return f"level {level['name']} does not map {classes} classes to its {len(level['labels'])} labels"
        if "calibration" in content and not 0 < float(content["calibration"]["temperature"]) < math.inf:
            return f"its temperature {content['calibration']['temperature']} is not above 0"
        _ = content["demo"], [content["source"][key] for key in ("origin", "location", "sha256")]
        _ = [label[language] for label in content["labels"] for language in ("en", "zh")]
        return None
