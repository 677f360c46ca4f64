"""`tritone evaluate` and `tritone calibrate`: the accuracy of labels, and the calibration of probabilities."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tritone_client.cli.options import (
    MODEL,
    TIMEOUT,
    URL,
    Json,
    KeyValues,
    Model,
    Timeout,
    Url,
    bar,
    key_values,
    open_client,
    output,
    print_json,
    print_written,
)
from tritone_client.defaults import IN_FLIGHT
from tritone_client.files import replacing, writing
from tritone_client.plain import json_text

DEFAULT = "default"  # the option set that is always evaluated: the server's defaults

Labelled = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER|CSV",
        help="FOLDER/<label>/<recording>, or a CSV file with the columns file, label and, optionally, group.",
    ),
]


def evaluate(
    recordings: Labelled,
    url: Url = URL,
    model: Model = MODEL,
    options: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help="A named set of options to compare with the server's defaults, such as "
            """'clean={"denoise": "quietest"}'; may be repeated.""",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="TRITONE_OUTPUT_DIR",
            metavar="DIR",
            help="Write evaluation.json with every answer and, if Matplotlib is installed, confusion-NAME.png for "
            "each set; existing files are replaced.",
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Recordings in flight; with 1, ms is the latency of a single call.")
    ] = IN_FLIGHT,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Measure the accuracy of labels.

    Exit code 1 if any recording failed.
    """
    from tritone_client.cli.folders import folder_for_results
    from tritone_client.display import figures
    from tritone_client.evaluation import evaluate as evaluating
    from tritone_client.evaluation import tables
    from tritone_client.evaluation.labelled import read_labelled

    option_sets: dict[str, dict[str, Any]] = {DEFAULT: {}}
    for name, values in map(option_set, options or []):
        if name in option_sets:
            raise typer.BadParameter(
                f"There already is a set '{name}': choose another name.", param_hint="--options"
            )
        option_sets[name] = values
    folder = folder_for_results(output_dir) if output_dir else None
    labelled = read_labelled(recordings)
    with open_client(url, timeout) as client:
        evaluations = evaluating.evaluate(client, labelled, option_sets, model, at_once=at_once, progress=bar)
    records = {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
    written = []
    if folder:
        path = folder / "evaluation.json"
        written.append(path)
        with writing(path), replacing(path) as stream:
            stream.write((json_text(records, indent=1) + "\n").encode())
        for name, evaluation in evaluations.items() if figures.can_plot() else ():
            path = folder / f"confusion-{name}.png"
            written.append(path)
            with writing(path), replacing(path) as stream:
                figures.plot_confusion(stream, tables.title(evaluation), evaluation.labels, evaluation.confusion)
    if as_json:
        for record in records.values():
            print_json(record)
    else:
        print_written(*written)
        tables.print_evaluations(output(), list(evaluations.values()))
        if folder and not figures.can_plot():
            tables.print_note(
                output(),
                "No confusion matrix was drawn: run pip install 'tritone-client[plot]' for Matplotlib.",
            )
    if any(evaluation.overall.failed for evaluation in evaluations.values()):
        raise typer.Exit(1)


def option_set(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options in NAME=JSON."""
    name, _, value = text.partition("=")
    try:
        options = json.loads(value)
    except ValueError:
        options = None
    if not (re.fullmatch(r"[\w.+-]+", name) and isinstance(options, dict)):
        raise typer.BadParameter(
            f"'{text}' must have the form NAME=JSON, such as 'clean={{\"denoise\": \"quietest\"}}'; "
            "names have letters, digits and any of . + - _.",
            param_hint="--options",
        )
    return name, options


def calibrate(
    recordings: Labelled,
    url: Url = URL,
    model: Model = MODEL,
    option: KeyValues = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE",
            help="Store the temperature for the server: in its model_repository, or in the manifest.json.",
        ),
    ] = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Fit the temperature that calibrates probabilities.

    It is fitted on labelled recordings, and applied by -o temperature=fitted.
    """
    from tritone_client.evaluation import calibrate as calibrating
    from tritone_client.evaluation import tables
    from tritone_client.evaluation.labelled import read_labelled

    options = key_values(option)
    path = calibrating.manifest_path(store, model) if store else None
    labelled = read_labelled(recordings)
    with open_client(url, timeout) as client:
        calibration = calibrating.calibrate(client, labelled, model, options, progress=bar)
    if as_json:
        print_json(calibration.to_dict())
    else:
        tables.print_calibration(output(), calibration)
    if path:
        calibrating.store_calibration(calibration, path)
        advice = f"Stored in '{path}': restart the server, then use -o temperature=fitted."
    else:
        advice = (
            "Nothing was stored: use --store model_repository for -o temperature=fitted, "
            f"or -o temperature={calibration.fitted.temperature:.3g}, which has the same effect."
        )
    if not as_json:
        tables.print_note(output(), advice)
