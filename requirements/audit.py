"""Lists pins with known vulnerabilities, and packages of which there are newer ones: make audit. Changes nothing.

Runs in a virtual environment of its own, which has pip-audit.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from requirements.pins import FOLDER, PYTHONS, versions

TIMEOUT_S = 600


class CannotAsk(Exception):
    """One sentence that says why there is no answer."""


def batches() -> list[dict[str, str]]:
    """Every pin once, in as many parts as it needs for a part to have a package only once."""
    seen: set[tuple[str, str]] = set()
    parts = []
    for python in reversed(PYTHONS):
        pins: dict[str, str] = {}
        for file in sorted(FOLDER.glob("*.txt")):
            pins |= versions(file, python)
        parts.append({name: version for name, version in pins.items() if (name, version) not in seen})
        seen |= pins.items()
    return [part for part in parts if part]


def ask(pins: dict[str, str]) -> list[dict[str, Any]]:
    """What the vulnerability service knows of each pin.

    Raises
    ------
    CannotAsk
        If it cannot be reached, or has not heard of some of them: pip-audit itself would then call all well.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        options = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json"]
        command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(file)]
        done = run(command)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise CannotAsk(f"The vulnerability service cannot be reached: {last_line(done.stderr)}") from None
    skipped = [answer["name"] for answer in answers if "skip_reason" in answer]
    if skipped:
        which = ", ".join(skipped[:3]) + (" and others" if len(skipped) > 3 else "")
        raise CannotAsk(
            f"The vulnerability service does not answer for {len(skipped)} of {len(answers)} pins ({which})."
        )
    return answers


def outdated(site_packages: str) -> list[dict[str, str]]:
    """Packages in a folder of which the index has newer versions.

    Raises
    ------
    CannotAsk
        If pip cannot list them.
    """
    done = run([sys.executable, "-m", "pip", "list", "--outdated", "--format=json", "--path", site_packages])
    if done.returncode:
        raise CannotAsk(f"The package index cannot be asked: {last_line(done.stderr)}")
    return json.loads(done.stdout)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command with what it prints, within `TIMEOUT_S`."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"There is no answer within {TIMEOUT_S} s.") from None


def last_line(text: str) -> str:
    """The line in which a program says what went wrong."""
    return (text.strip().splitlines() or ["no reason given"])[-1]


def main(site_packages: str) -> int:
    """Print both lists; 1 where a pin is vulnerable or a question had no answer."""
    failed = 0
    try:
        newer = outdated(site_packages)
        print(f"{len(newer)} of the installed packages have a newer version:" if newer else "All is up to date.")
        for entry in newer:
            print(f"  {entry['name']} {entry['version']} -> {entry['latest_version']}")
    except CannotAsk as error:
        print(error, file=sys.stderr)
        failed = 1
    try:
        found = [(a, v) for pins in batches() for a in ask(pins) for v in a["vulns"]]
    except CannotAsk as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(found)} known vulnerabilities:" if found else "No pin has a known vulnerability.")
    for answer, known in found:
        fixed = ", ".join(known["fix_versions"]) or "no version"
        print(f"  {answer['name']} {answer['version']}: {known['id']}, fixed in {fixed}")
    return 1 if found else failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
