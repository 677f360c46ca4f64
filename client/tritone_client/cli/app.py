"""The command `tritone`: `classify`, `emotion`, `models`, `health`; the other commands are in this package.

Slow imports are inside the functions that use them, so that `tritone --help` answers at once.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritone_client.cli import bulk, evaluation, server, similar, web
from tritone_client.cli.asking import answered, in_folders, printing
from tritone_client.cli.options import (
    MODEL,
    MODEL_FLAGS,
    TIMEOUT,
    URL,
    Json,
    KeyValues,
    Timeout,
    Url,
    connection,
    key_values,
    open_client,
    output,
    print_json,
    print_written,
)
from tritone_client.defaults import EMOTION_MODEL, TOP_K
from tritone_client.errors import TritoneError
from tritone_client.plain import plain
from tritone_client.version import __version__

if TYPE_CHECKING:
    from tritone_client.answer import Answer
    from tritone_client.answers.emotion import EmotionPrediction
    from tritone_client.transport.request import Recording

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's panels take 0.13 s to import
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Classify recordings with the systems of a Triton server.",
    epilog="The environment variable in the line of an option sets that option.",
)

Files = Annotated[
    list[str], typer.Argument(help="Audio files, or folders of up to 100; - reads one from the standard input.")
]
RUNNERS_UP = 3  # emotions shown after the best one


class Granularity(str, Enum):
    """The values of `--granularity`."""

    utterance = "utterance"
    frame = "frame"


def show_version(wanted: bool) -> None:
    """Print the version and exit, if that is wanted."""
    if wanted:
        print(f"tritone {__version__}")
        raise typer.Exit()


@app.callback()
def connect(
    root_certificates: Annotated[
        str | None, typer.Option(envvar="TRITONE_ROOT_CERTIFICATES", help="PEM file of the authorities to trust.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(envvar="TRITONE_CERTIFICATE", help="PEM file with this client's certificate.")
    ] = None,
    private_key: Annotated[
        str | None, typer.Option(envvar="TRITONE_PRIVATE_KEY", help="PEM file with the key of --certificate.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(envvar="TRITONE_HEADER", help="'name:value' to send with each request; may be repeated."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Set the options of encrypted or authorized connections, which go before the command."""
    for text in header or []:
        if ":" not in text:
            raise typer.BadParameter(f"'{text}' must have the form name:value.", param_hint="--header")
    headers = {name.strip(): value.strip() for name, value in (text.split(":", 1) for text in header or [])}
    connection.update(
        root_certificates=root_certificates, certificate=certificate, private_key=private_key, headers=headers
    )


@app.command()
def classify(
    files: Files,
    url: Url = URL,
    model: Annotated[str, typer.Option(*MODEL_FLAGS, envvar="TRITONE_MODEL", help="The system to ask.")] = MODEL,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", envvar="TRITONE_TOP_K", min=1, help="Number of labels to rank.")
    ] = TOP_K,
    profile: Annotated[
        str | None,
        typer.Option(envvar="TRITONE_PROFILE", help="Preprocessing profile, instead of the system's own."),
    ] = None,
    option: KeyValues = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Print the labels of recordings.

    Exit code 1 if any of them failed.
    """
    files = in_folders(files)
    options = {"top_k": top_k, "profile": profile} | key_values(option)

    def ask(recording: Recording) -> Answer:
        return client.classify(recording, model=model, **options)

    columns = ("label", "probability", "next", "slices")
    with (
        open_client(url, timeout) as client,
        printing(files, as_json, columns, top_k - 1) as show,
        closing(answered(client, ask, files)) as results,
    ):
        for file, answer in results:
            show(file, answer)


@app.command()
def emotion(
    files: Files,
    granularity: Annotated[
        Granularity,
        typer.Option(envvar="TRITONE_GRANULARITY", help="One answer per recording, or also one per 20 ms."),
    ] = Granularity.utterance,
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.NPY",
            help="Write the 1024 features of one file; with --granularity frame those of each 20 ms.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="TRITONE_OUTPUT_DIR",
            metavar="DIR",
            help="For each file, write result.json (as the emotion2vec web UI does) and embedding.npy into a new "
            "folder NAME_YYYYMMDD_HHMMSS of DIR, with -2, -3, ... if that exists. Nothing is overwritten, and a "
            "folder is complete when it appears.",
        ),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(
            envvar="TRITONE_SMOOTHING",
            help="Seconds over which the timeline is averaged, instead of the server's default.",
        ),
    ] = None,
    min_segment: Annotated[
        float | None,
        typer.Option(
            envvar="TRITONE_MIN_SEGMENT",
            help="Minimum seconds of a segment of the timeline, instead of the server's default.",
        ),
    ] = None,
    url: Url = URL,
    # Not TRITONE_MODEL, which names a system for genres.
    model: Annotated[
        str, typer.Option(*MODEL_FLAGS, envvar="TRITONE_EMOTION_MODEL", help="The system to ask.")
    ] = EMOTION_MODEL,
    option: KeyValues = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Print the emotions in recordings of speech.

    Exit code 1 if any of them failed.
    """
    files = in_folders(files)
    if embedding and len(files) > 1:
        raise typer.BadParameter(
            f"It takes one file, not {len(files)}: use --output-dir for several.", param_hint="--embedding"
        )
    from tritone_client.cli import folders

    # Before the first call: report a path that cannot be written.
    array_file = folders.file_for_array(embedding) if embedding else None
    folder = folders.folder_for_results(output_dir) if output_dir else None
    options: dict[str, Any] = {"smoothing": smoothing, "min_segment": min_segment} | key_values(option)

    def ask(recording: Recording) -> EmotionPrediction:
        return client.emotion(
            recording,
            model=model,
            granularity=granularity.value,
            embedding=bool(array_file or folder),
            **options,
        )

    columns = ("emotion", "score", "next") + ("timeline, s",) * (granularity is Granularity.frame)
    with (
        open_client(url, timeout) as client,
        printing(files, as_json, columns, RUNNERS_UP) as show,
        closing(answered(client, ask, files)) as results,
    ):
        for file, answer in results:
            written = {}
            if not isinstance(answer, TritoneError):
                try:
                    if array_file:
                        folders.write_array(array_file, folders.embeddings(answer))
                    if folder:
                        written = {"folder": str(folders.write_folder(folder, file, answer))}
                except TritoneError as error:
                    answer = error
            show(file, answer, written)
            if not as_json and not isinstance(answer, TritoneError):
                print_written(*filter(None, (array_file, written.get("folder"))))


@app.command()
def models(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """List the systems of the server."""
    from tritone_client.display import tables

    with open_client(url, timeout) as client:
        client.ping()  # report a missing server at once, not after `timeout`
        served = client.models()
        kinds = {} if as_json else client._run(client._kinds(system.name for system in served))
    if as_json:
        for system in served:
            print_json(asdict(system))
    else:
        tables.print_systems(output(), served, kinds)


@app.command()
def health(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """Report whether the server and its systems are ready.

    Exit code 1 if not.
    """
    from tritone_client.display import tables

    with open_client(url, timeout) as client:
        state = client.health()
    if as_json:
        print_json(asdict(state))
    else:
        tables.print_health(output(), state, str(client.address))
    if not (state.ready and all(state.systems.values())):
        raise typer.Exit(1)


for command in (
    *(bulk.bulk, similar.similar, evaluation.evaluate, evaluation.calibrate),
    *(server.stats, server.timing),
):
    app.command()(command)
app.command("profile", hidden=True)(server.timing)  # another name of it
app.command()(web.web)


def run() -> None:
    """Run the command, and print an error as one line on standard error."""
    try:
        app()
    except TritoneError as error:
        print(f"tritone: {plain(error)}", file=sys.stderr)
        sys.exit(1)
