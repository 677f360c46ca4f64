"""The image of server/Dockerfile laid out under a temporary root, without a container engine.

Reads the Dockerfile, .dockerignore and docker-compose.yml themselves: what they do not bring is not there, and a
line that this module does not know is an error. NVIDIA's part is played by the tritonserver of the wheel.
"""

import fnmatch
import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from server.installation import Installation
from tests.support.project import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
NVIDIA_ENTRYPOINT = '#!/bin/sh\nexec "$@"\n'


class Image:
    """What one target of the Dockerfile makes.

    Attributes
    ----------
    root : what is / in the image
    environment : of ENV, and where Python finds packages
    packages : names of those that pip installs, and of those that they bring along
    """

    def __init__(self, root: Path, target: str) -> None:
        self.root, self.environment, self.packages = root, {}, set()
        self.workdir, self.user, self.entrypoint = Path("/"), "0", []
        self._write("/opt/nvidia/nvidia_entrypoint.sh", NVIDIA_ENTRYPOINT)
        self.inside("/opt/tritonserver/backends/onnxruntime").mkdir(parents=True)
        stages = []
        for line in instructions((ROOT / "server" / "Dockerfile").read_text()):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                if stages and stages[-1] == target:
                    break
                base, _, stage = rest.partition(" AS ")
                assert base == (stages[-1] if stages else "${BASE_IMAGE}"), line
                stages.append(stage)
            else:
                getattr(self, f"_{word.lower()}")(rest)
        assert stages[-1] == target

    def inside(self, path: str | Path) -> Path:
        """Where a path of the image lies here."""
        return self.root / (self.workdir / path).relative_to("/")

    def mount(self, service: str, sources: Mapping[str, Path], variables: Mapping[str, str]) -> None:
        """Mount the volumes of a service.

        Parameters
        ----------
        sources : volume -> folder to take for it
        variables : of the user's environment
        """
        for volume in COMPOSE["services"][service]["volumes"]:
            source, target, *_ = interpolate(volume, variables).split(":")
            shutil.rmtree(self.inside(target), ignore_errors=True)
            self.inside(target).parent.mkdir(parents=True, exist_ok=True)
            self.inside(target).symlink_to(sources[source])

    def install(self, triton: Installation, ports: Mapping[str, int]) -> None:
        """Put a tritonserver on PATH that has the backends of the wheel and listens where it is told."""
        flags = [f"--backend-directory={triton.backends}", f"--cache-directory={triton.caches}"]
        flags += [f"--{name}-port={port}" for name, port in ports.items()]
        libraries = triton.environment()["LD_LIBRARY_PATH"]
        command = shlex.join([str(triton.binary), *flags])
        self._write(
            "/opt/tritonserver/bin/tritonserver",
            f'#!/bin/sh\nexec env LD_LIBRARY_PATH="{libraries}:$LD_LIBRARY_PATH" {command} "$@"\n',
        )

    def command(self, words: list[str]) -> list[str]:
        """A command of the image or of the compose file, with its paths as they are here."""
        return [str(self.inside(word)) if word.startswith("/opt/") else word for word in words]

    def variables(self, service: str, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of a service's container.

        Parameters
        ----------
        given : the user's, which the compose file reads
        """
        declared = COMPOSE["services"][service]["environment"]
        path = [self.inside("/opt/tritonserver/bin"), Path(sys.executable).parent, os.environ["PATH"]]
        return {
            "PATH": os.pathsep.join(map(str, path)),
            **self.environment,
            **dict(zip(declared, self.command([interpolate(v, given) for v in declared.values()]), strict=True)),
        }

    def _write(self, path: str, text: str) -> None:
        self.inside(path).parent.mkdir(parents=True, exist_ok=True)
        self.inside(path).write_text(text)
        self.inside(path).chmod(0o755)

    def _workdir(self, rest: str) -> None:
        self.workdir = Path(rest)
        self.inside(".").mkdir(parents=True)

    def _copy(self, rest: str) -> None:
        *patterns, target = rest.split()
        for pattern in patterns:
            found = sorted(ROOT.glob(pattern))
            assert found, f"COPY {pattern}: there is none"
            for source in found:
                name = str(source.relative_to(ROOT))
                assert not ignored(name), f"COPY {name}: .dockerignore keeps it out"
                into = self.inside(target) / source.name if target.endswith("/") else self.inside(target)
                into.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, into)

    def _env(self, rest: str) -> None:
        self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def _run(self, rest: str) -> None:
        """What a RUN leaves behind, as far as it concerns the paths."""
        for command in rest.split(" && "):
            words = shlex.split(command)
            if command.startswith("pip install "):
                for option, file in itertools.pairwise(words):
                    if option in ("--requirement", "--constraint"):
                        self.packages |= required(self.inside(file))
            elif words[0] == "python3" and words[2] == ">":
                assert self.inside(words[1]).is_file()
                self.inside(words[3]).touch()
            elif command.startswith("install -d -m 1777 "):
                for name in words[4:]:
                    self.inside(name).mkdir()
            elif command.endswith('/tritone.pth"'):  # read by Python's site
                self.environment["PYTHONPATH"] = str(self.inside(words[1]))
            else:
                raise AssertionError(f"tests/server/image.py does not know RUN {command}")

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = yaml.safe_load(rest)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _arg(self, rest: str) -> None:
        pass

    _expose = _arg


def required(file: Path) -> set[str]:
    """Names of the packages in a requirements file and in those that it includes."""
    names = set()
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            names |= required(file.with_name(line[3:].strip()))
        elif match := re.match(r"[\w.-]+", line):
            names.add(match[0].lower().replace("_", "-"))
    return names


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def ignored(name: str) -> bool:
    """Whether .dockerignore keeps a path out of the build context: the last pattern that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            parts = name.split("/")
            if any(fnmatch.fnmatch(part, pattern) for part in (parts if "**/" in line else parts[:1])):
                verdict = not line.startswith("!")
    return verdict


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """A value of the compose file with ${NAME:-default} and ${NAME:+instead} replaced, inner ones first."""

    def value(match: re.Match) -> str:
        name, operator, word = match.groups()
        given = variables.get(name, "")
        return (given or word) if operator == "-" else (word if given else "")

    found = 1
    while found:
        text, found = re.subn(r"\$\{(\w+):([-+])([^${}]*)\}", value, text)
    return text
