"""`tritone evaluate` and `tritone calibrate`: how good answers are, and how true their probabilities."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tritone_client import calibration, drawing, evaluation, outputs, report_evaluation
from tritone_client.cli_options import (
    TIMEOUT,
    URL,
    Json,
    KeyValues,
    Timeout,
    Url,
    bar,
    key_values,
    open_client,
    output,
    print_json,
)
from tritone_client.labelled import read_labelled
from tritone_client.plain import json_text

DEFAULT = "default"  # the option set that is always there: what the server does unasked

Labelled = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER|CSV",
        help="FOLDER/<label>/<recording>, or a CSV file with the columns file, label and, if wanted, group.",
    ),
]
Model = Annotated[str, typer.Option(envvar="TRITONE_MODEL", help="The system to ask, of genres or of emotions.")]


def evaluate(
    recordings: Labelled,
    url: Url = URL,
    model: Model = "vgg19_bn_cqt",
    options: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help="A set of the server's options to measure beside its defaults, such as "
            """'clean={"denoise": "quietest"}'; may be repeated.""",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="TRITONE_OUTPUT_DIR",
            metavar="DIR",
            help="Write evaluation.json with every answer and, if Matplotlib is installed, confusion-NAME.png of "
            "each set; earlier ones are replaced.",
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Recordings in flight; with 1, ms is the latency of a lone call.")
    ] = evaluation.AT_ONCE,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Ask what labelled recordings are, and print how often that is right. Exit code 1 if any of them failed."""
    option_sets: dict[str, dict[str, Any]] = {DEFAULT: {}}
    for name, values in map(option_set, options or []):
        if name in option_sets:
            raise typer.BadParameter(
                f"There is a set '{name}' already: name this one otherwise.", param_hint="--options"
            )
        option_sets[name] = values
    folder = outputs.folder_for_results(output_dir) if output_dir else None
    labelled = read_labelled(recordings)
    with open_client(url, timeout) as client:
        found = evaluation.evaluate(client, labelled, option_sets, model, at_once=at_once, progress=bar)
    records = {name: one.to_dict() for name, one in found.items()}
    if folder:
        path = folder / "evaluation.json"
        with outputs.writing(path):
            path.write_text(json_text(records, indent=1) + "\n", encoding="utf-8")
        for name, one in found.items() if drawing.can_plot() else ():
            path = folder / f"confusion-{name}.png"
            with outputs.writing(path):
                drawing.plot_confusion(path, report_evaluation.title(one), one.labels, one.confusion)
    if as_json:
        for record in records.values():
            print_json(record)
    else:
        report_evaluation.print_evaluations(output(), list(found.values()))
        if folder and not drawing.can_plot():
            report_evaluation.print_note(
                output(),
                "No confusion matrix was drawn: pip install 'tritone-client[plot]' brings what that needs.",
            )
    if any(one.overall.failed for one in found.values()):
        raise typer.Exit(1)


def option_set(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options in NAME=JSON."""
    name, _, value = text.partition("=")
    try:
        options = json.loads(value)
    except ValueError:
        options = None
    if not (re.fullmatch(r"[\w.+-]+", name) and isinstance(options, dict)):
        raise typer.BadParameter(
            f"'{text}' is not of the form NAME=JSON, such as 'clean={{\"denoise\": \"quietest\"}}'; "
            "names have letters, digits and any of . + - _.",
            param_hint="--options",
        )
    return name, options


def calibrate(
    recordings: Labelled,
    url: Url = URL,
    model: Model = "vgg19_bn_cqt",
    option: KeyValues = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE",
            help="Write the temperature where the server reads it: its model_repository, or the manifest.json.",
        ),
    ] = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Fit the temperature that makes probabilities true, on labelled recordings, for -o temperature=fitted."""
    options = key_values(option)
    path = calibration.manifest_path(store, model) if store else None
    labelled = read_labelled(recordings)
    with open_client(url, timeout) as client:
        found = calibration.calibrate(client, labelled, model, options, progress=bar)
    if as_json:
        print_json(found.to_dict())
    else:
        report_evaluation.print_calibration(output(), found)
    if path:
        calibration.store_calibration(found, path)
        advice = f"Stored in '{path}': restart the server, then ask with -o temperature=fitted."
    else:
        advice = (
            "Nothing was stored: --store model_repository does, for -o temperature=fitted; "
            f"until then -o temperature={found.fitted.temperature:.3g} does the same."
        )
    if not as_json:
        report_evaluation.print_note(output(), advice)
