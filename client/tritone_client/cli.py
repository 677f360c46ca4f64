"""The command `tritone`: label recordings, tell emotions, list the served systems, ask for the server's health."""

import json
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from tritone_client import outputs, report
from tritone_client.client import Client
from tritone_client.emotion import EmotionPrediction
from tritone_client.errors import TritoneError
from tritone_client.prediction import Prediction
from tritone_client.request import Recording

AT_ONCE = 4  # recordings in flight: enough to fill a batch, and no load to speak of on the server's queue

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audio classifiers on a Triton server: labels for recordings.",
    epilog="Each option can be set by the environment variable in its line.",
)

Files = Annotated[list[str], typer.Argument(help="Audio files; - reads one from the standard input.")]
Url = Annotated[
    str,
    typer.Option(
        envvar="TRITONE_URL",
        help="host:port, grpc(s)://... or http(s)://...; without a scheme, port 8000 is HTTP.",
    ),
]
Timeout = Annotated[
    float, typer.Option(envvar="TRITONE_TIMEOUT", min=0.01, help="Seconds for each recording, retries included.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

Answer = TypeVar("Answer")


class Granularity(str, Enum):
    """The values of `--granularity`."""

    utterance = "utterance"
    frame = "frame"


URL, TIMEOUT = "127.0.0.1:8001", 30.0

connection: dict[str, object] = {}  # the options before the command, for `Client`


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
) -> None:
    """Encrypted or authorized connections: these options stand before the command."""
    for text in header or []:
        if ":" not in text:
            raise typer.BadParameter(f"'{text}' is not of the form name:value.", param_hint="--header")
    headers = {name.strip(): value.strip() for name, value in (text.split(":", 1) for text in header or [])}
    connection.update(
        root_certificates=root_certificates, certificate=certificate, private_key=private_key, headers=headers
    )


@app.command()
def classify(
    files: Files,
    url: Url = URL,
    model: Annotated[str, typer.Option(envvar="TRITONE_MODEL", help="The system to ask.")] = "vgg19_bn_cqt",
    top_k: Annotated[int, typer.Option(envvar="TRITONE_TOP_K", min=1, help="How many labels to rank.")] = 5,
    profile: Annotated[
        str | None, typer.Option(envvar="TRITONE_PROFILE", help="Preprocessing, where not the system's own.")
    ] = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Print what recordings are. Exit code 1 if any of them failed."""

    def ask(client: Client, recording: Recording) -> Prediction:
        return client.classify(recording, model=model, top_k=top_k, profile=profile)

    answers: list[tuple[str, Prediction | TritoneError]] = []
    with open_client(url, timeout) as client, closing(in_order(client, ask, files)) as found:
        for file, answer in found:
            answers.append((file, answer))
            if as_json:
                print_json(report.record(file, answer))
    if not as_json:
        report.print_predictions(output(), answers)
    exit_code(answers)


@app.command()
def emotion(
    files: Files,
    granularity: Annotated[
        Granularity,
        typer.Option(envvar="TRITONE_GRANULARITY", help="One answer for the recording, or also each 20 ms."),
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
            help="Write result.json, as the emotion2vec web UI does, and embedding.npy: for each file into a new "
            "folder NAME_YYYYMMDD_HHMMSS of DIR, with -2, -3, ... where that is taken. Nothing is overwritten, "
            "and a folder is complete when it appears.",
        ),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(
            envvar="TRITONE_SMOOTHING", help="Seconds that the timeline is averaged over, where not the server's."
        ),
    ] = None,
    min_segment: Annotated[
        float | None,
        typer.Option(
            envvar="TRITONE_MIN_SEGMENT",
            help="Seconds of the timeline's shortest stretch, where not the server's.",
        ),
    ] = None,
    url: Url = URL,
    # A variable of its own: TRITONE_MODEL names a system that labels recordings.
    model: Annotated[
        str, typer.Option(envvar="TRITONE_EMOTION_MODEL", help="The system to ask.")
    ] = "emotion2vec_plus_large",
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Print the emotions in recordings of speech. Exit code 1 if any of them failed."""
    if embedding and len(files) > 1:
        raise typer.BadParameter(
            f"It takes one file, not {len(files)}: use --output-dir for several.", param_hint="--embedding"
        )
    # What cannot be written is told before anything is asked.
    array_file = outputs.file_for_array(embedding) if embedding else None
    folder = outputs.folder_for_results(output_dir) if output_dir else None

    def ask(client: Client, recording: Recording) -> EmotionPrediction:
        return client.emotion(
            recording,
            model=model,
            granularity=granularity.value,
            embedding=bool(array_file or folder),
            smoothing=smoothing,
            min_segment=min_segment,
        )

    answers: list[tuple[str, EmotionPrediction | TritoneError]] = []
    with open_client(url, timeout) as client, closing(in_order(client, ask, files)) as found:
        for file, answer in found:
            written = {}
            if isinstance(answer, EmotionPrediction):
                try:
                    if array_file:
                        outputs.write_array(array_file, outputs.embeddings(answer))
                    if folder:
                        written = {"folder": str(outputs.write_folder(folder, file, answer))}
                except TritoneError as error:
                    answer = error
            if as_json:
                print_json(report.record(file, answer) | written)
            if isinstance(answer, EmotionPrediction):  # hours of frames would fill the memory
                answer = replace(answer, frame_scores=None, embedding=None, frame_embeddings=None)
            answers.append((file, answer))
    if not as_json:
        report.print_emotions(output(), answers, timelines=granularity is Granularity.frame)
    exit_code(answers)


@app.command()
def models(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """List the systems that the server has."""
    with open_client(url, timeout) as client:
        served = client.models()
    if as_json:
        for system in served:
            print(json.dumps(asdict(system)))
    else:
        report.print_systems(output(), served)


@app.command()
def health(url: Url = URL, timeout: Timeout = TIMEOUT, as_json: Json = False) -> None:
    """Say whether the server and its systems are ready. Exit code 1 if not."""
    with open_client(url, timeout) as client:
        state = client.health()
    if as_json:
        print(json.dumps(asdict(state)))
    else:
        report.print_health(output(), state, str(client.address))
    if not (state.ready and all(state.systems.values())):
        raise typer.Exit(1)


def open_client(url: str, timeout: float) -> Client:
    """The client that the options ask for."""
    return Client(url, timeout=timeout, **connection)  # type: ignore[arg-type]


def in_order(
    client: Client, ask: Callable[[Client, Recording], Answer], files: list[str]
) -> Generator[tuple[str, Answer | TritoneError], None, None]:
    """`ask` the server of each file, a few at a time; the answers in the files' order.

    People see a progress bar. To be closed, so that an interruption ends the calls wherever it strikes.
    """

    def attempt(file: str) -> Answer | TritoneError:
        try:
            return ask(client, stdin if file == "-" else file)
        except TritoneError as error:
            return error

    stdin = sys.stdin.buffer.read() if "-" in files else b""
    client.ping()  # a server that is not there is told at once, not after a timeout for each file
    pool = ThreadPoolExecutor(AT_ONCE)
    screen = Console(stderr=True)
    hidden = len(files) == 1 or not screen.is_terminal
    try:
        with interruption() as interrupt:
            calls = deque(pool.submit(attempt, file) for file in files)
            for file in track(files, "", console=screen, transient=True, disable=hidden):
                call = calls.popleft()
                while not wait([call], timeout=0.05).done:
                    interrupt()
                interrupt()
                yield file, call.result()
    except BaseException:
        client.close()  # ends the calls in flight, so that an interruption does not wait for them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruption() -> Iterator[Callable[[], None]]:
    """What raises KeyboardInterrupt if Ctrl-C was pressed by now; pressed twice, it is raised at once.

    Python raises it wherever the main thread stands, also between the steps by which a future gives its lock
    back and takes it again: then a RuntimeError about that lock comes out instead.
    """
    usual = signal.getsignal(signal.SIGINT)
    struck = False

    def note(number: int, frame: object) -> None:
        nonlocal struck
        struck = True
        signal.signal(signal.SIGINT, usual)

    def interrupt() -> None:
        if struck:
            raise KeyboardInterrupt

    if usual is signal.default_int_handler:  # not where Ctrl-C is ignored, as in a shell's background
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, usual)


def print_json(record: dict[str, object]) -> None:
    """A line of JSON, at once: programs read it while the next recording is on its way."""
    print(json.dumps(record, ensure_ascii=False), flush=True)


def exit_code(answers: Sequence[tuple[str, object]]) -> None:
    """Exit with code 1 if any file failed."""
    if any(isinstance(answer, TritoneError) for _, answer in answers):
        raise typer.Exit(1)


def output() -> Console:
    """Where tables go: the terminal's width there, wide lines in a pipe or file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    return console


def main() -> None:
    """Run the command; an error is one line on the standard error."""
    try:
        app()
    except TritoneError as error:
        print(f"tritone: {error}", file=sys.stderr)
        sys.exit(1)
