"""The examples of README.md, CONTRIBUTING.md and docs/, run as written against small real Tritons.

Those are of tests/support/triton.py; of staged.py for what looks into the server. Only the server's address is
put in. What installs, builds, or serves until Ctrl-C is not run: it must exist, with the flags that it is shown
with.
"""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import yaml
from tritone_client.bulk.results import Results

from sounds.examples import write_all
from systems import SYSTEMS
from tests.client.bulk_answers import prediction
from tests.support.command import TRITONE
from tests.support.project import ROOT
from tests.support.staged import Staged
from tests.support.triton import Triton

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```(\w*)", re.MULTILINE)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WIDE = os.environ | {"COLUMNS": "200", "TERM": "dumb"}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Example:
    """A fenced block of a page; `mark` is a word behind its language."""

    page: str
    line: int
    language: str
    mark: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def examples(language: str) -> list[Example]:
    """All blocks of a language, in the pages' order."""
    return [
        Example(page.relative_to(ROOT).as_posix(), text.count("\n", 0, block.start()) + 1, *block.groups())
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for block in BLOCK.finditer(text)
        if block[1] == language
    ]


def commands(example: Example) -> list[tuple[str, int]]:
    """The commands of a block, each with the exit code that its comment promises."""
    found = []
    for line in example.text.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition("  # ")
        code = re.search(r"exit code (\d+)", comment)
        if command.strip():
            found.append((command.strip(), int(code[1]) if code else 0))
    return found


def test_every_fenced_block_is_an_example_or_plain():
    for page in PAGES:
        languages = FENCE.findall(page.read_text(encoding="utf-8"))
        assert set(languages) <= {"", "python", "sh"}, page


def test_links_lead_to_a_file_and_a_heading():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                linked = page.parent / target if target else page
                assert linked.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


def anchors(page: Path) -> list[str]:
    """The names by which GitHub links to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_readme_is_short_and_its_picture_small():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    [picture] = re.findall(r"^!\[.*\]\((.*)\)$", "\n".join(lines), re.MULTILINE)
    data = (ROOT / picture).read_bytes()
    assert data[:4] == b"\x89PNG" and len(data) < 250_000
    assert struct.unpack(">II", data[16:24]) == (1280, 900)


def test_readme_lists_the_systems_that_are_exported_by_default():
    text = README.read_text(encoding="utf-8")
    for system in SYSTEMS.values():
        assert (f"| `{system.name}` |" in text) == system.by_default, system.name


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make examples` writes."""
    folder = tmp_path_factory.mktemp("made") / "examples"
    write_all(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, recordings: Path) -> Path:
    """The project's folder, as far as the examples use it; the small Triton takes JSON for a recording, too."""
    shutil.copytree(recordings, tmp_path / "examples")
    (tmp_path / "examples" / "notes.txt").write_text('{"broken": true}')
    labelled = tmp_path / "examples" / "labelled"
    shutil.rmtree(labelled)
    for label, sure in {"Opera": [0.04, 0.9, 0.03, 0.03], "Solo": [0.04, 0.03, 0.9, 0.03]}.items():
        (labelled / label).mkdir(parents=True)
        for number in range(8):  # right six times of eight, and always as sure
            slices = {"slices": [sure if number < 6 else sure[::-1]]}
            (labelled / label / f"{number}.mp3").write_text(json.dumps(slices))
    with Results(str(tmp_path / "library.parquet"), "musicnn_msd", {}, embedding=True) as results:
        results.add("old.mp3", replace(prediction(), embedding=np.ones(8, np.float32)))
    weights = tmp_path / "model_repository" / "vgg19_bn_cqt_network" / "1"
    weights.mkdir(parents=True)
    (weights / "manifest.json").write_text('{"source": {"sha256": "00ff"}}')
    return tmp_path


def test_every_recording_that_the_examples_name_is_written(recordings: Path):
    text = "".join(example.text for language in ("python", "sh") for example in examples(language))
    named = set(re.findall(r"\bexamples/[\w./]*\w", text))
    assert {"examples/song.mp3", "examples/call.wav", "examples/songs"} <= named
    assert not [path for path in named if not (recordings.parent / path).exists()]
    assert not re.findall(r"(?<!examples/)\b(?:song\.mp3|call\.wav)", text)
    assert len(list((recordings / "songs").iterdir())) == 6


def environment(triton: Triton, staged: Staged, command: str = "") -> dict[str, str]:
    """Where the commands and the client are, and the server."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    server = {"TRITONE_URL": triton.grpc}
    if command.startswith(("tritone stats", "tritone timing")):
        server = {"TRITONE_URL": staged.grpc, "TRITONE_METRICS_URL": staged.metrics, "TRITONE_MODEL": "staged"}
    return os.environ | {"PATH": path} | server


def addressed(text: str, triton: Triton) -> str:
    """An example with the server's address in the place of the usual one, which is left out at times."""
    text = text.replace("127.0.0.1:8001", f"127.0.0.1:{triton.grpc_port}")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{triton.http_port}")
    return re.sub(r"\b((?:Async)?Client)\(\)", rf'\1("{triton.grpc}")', text)


@pytest.mark.parametrize("example", [e for e in examples("python") if not e.mark], ids=str)
def test_python(example: Example, triton: Triton, staged: Staged, folder: Path):
    code = addressed(example.text, triton)
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment(triton, staged), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", examples("sh"), ids=str)
def test_commands(example: Example, triton: Triton, staged: Staged, folder: Path):
    for command, code in commands(example):
        if (problem := shown_only(command)) is not None:
            assert not problem, f"{command}: {problem}"
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", addressed(command, triton)],
            cwd=folder,
            env=environment(triton, staged, command),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


def shown_only(command: str) -> str | None:
    """What is wrong with a command that is not run here, "" where nothing is; None for one that is run."""
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    match words:
        case ["make", target, *_]:
            return "" if re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) else "no such target"
        case ["pip", "install", what]:
            name, _, extras = what.partition("[")
            known = tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            return "" if set(filter(None, extras.rstrip("]").split(","))) <= known.keys() else "no such extra"
        case ["docker", "compose", "--profile", profile, "up", *_]:
            profiles = [name for service in COMPOSE["services"].values() for name in service.get("profiles", [])]
            return "" if profile in profiles else "no such profile"
        case ["docker", "compose", "run", "--rm", service, *_]:
            return "" if service in COMPOSE["services"] else "no such service"
        case ["python", "-m", *called]:  # a module, and perhaps one of its commands
            return missing_flags(
                [sys.executable, "-m", *takewhile(lambda w: not w.startswith("-"), called)], words
            )
        case ["bash", script, *_]:
            return "" if (ROOT / script).is_file() else "no such script"
        case ["tritone", "web", *_]:
            return missing_flags([TRITONE, "web"], words)
        case ["tritone", "stats", *_] if "--watch" in words:
            return missing_flags([TRITONE, "stats"], words)
        case ["export" | "source", *_]:
            return ""
    return None


def missing_flags(command: list[str], words: list[str]) -> str:
    """The flags among `words` that a command's help does not name."""
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, env=WIDE, check=True)
    return " ".join(word for word in words if word.startswith("--") and word.partition("=")[0] not in done.stdout)
