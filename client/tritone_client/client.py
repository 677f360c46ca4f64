"""The client: deadlines, retries and errors around a transport."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from tritone_client import retry
from tritone_client.address import Protocol, parse_url
from tritone_client.emotion import (
    EMOTION_OUTPUTS,
    EmotionPrediction,
    Granularity,
    emotion_outputs,
    parse_emotion,
)
from tritone_client.errors import (
    Failure,
    InferenceFailed,
    InvalidRecording,
    TritoneError,
    UnknownModel,
    explain,
    reading_answer,
)
from tritone_client.prediction import OUTPUTS, Prediction, parse_prediction, prediction_outputs
from tritone_client.request import INPUTS, Recording, Request, build_request
from tritone_client.stream import EVERY, WINDOW, Chunk, StreamAnswer, Windows, answers
from tritone_client.transport import Tensors, Tls, open_transport

Answer = TypeVar("Answer")
Known = TypeVar("Known", Prediction, EmotionPrediction)
Parse = Callable[[Tensors, float], Known]

# A served system S is the ensemble S of these steps (S_preprocess, ...).
STEPS = ("preprocess", "network", "postprocess")

Method = Literal["classify", "emotion"]

# Which method asks a system that has these outputs.
METHODS: dict[Method, tuple[str, ...]] = {"classify": OUTPUTS, "emotion": EMOTION_OUTPUTS}


@dataclass(frozen=True)
class System:
    """A served system, and whether it takes requests.

    `platform` is what runs its network, such as `onnxruntime_onnx`; empty while that is not loaded.
    """

    name: str
    version: str
    ready: bool
    platform: str


@dataclass(frozen=True)
class Health:
    """Whether the server runs, whether all its models take requests, and whether each system does."""

    live: bool
    ready: bool
    systems: dict[str, bool]


def systems(models: Collection[str]) -> list[str]:
    """The names of the systems whose steps are among the served models, also where the system itself is not."""
    return sorted(
        {name.removesuffix(f"_{step}") for name in models for step in STEPS if name.endswith(f"_{step}")}
    )


def served_system(
    name: str, ready: bool, served: Mapping[str, Mapping[str, Any]], network: Mapping[str, Any]
) -> System:
    """A system by Triton's statistics of all that is served, and its metadata of the system's network."""
    with reading_answer():
        version = served[name]["version"] if name in served else ""
        return System(name, str(version), ready, str(network["platform"]) if network else "")


def genre_request(
    recording: Recording, model: str, top_k: int, options: Mapping[str, object], embedding: bool = False
) -> Request:
    """What `classify` asks."""
    return build_request(recording, model, {"top_k": top_k, **options}, prediction_outputs(options, embedding))


def emotion_request(
    recording: Recording, model: str, granularity: Granularity, embedding: bool, options: Mapping[str, object]
) -> Request:
    """What `emotion` asks."""
    outputs = emotion_outputs(granularity, embedding)
    if "FRAME_EMBEDDINGS" in outputs:  # the server leaves them empty unless told
        options = {**options, "frame_embeddings": True}
    return build_request(recording, model, dict(options), outputs)


def method_of(model: str, metadata: Mapping[str, Any]) -> Method:
    """The name of the method that asks `model`, by Triton's metadata. Raises `UnknownModel` for what is none."""
    with reading_answer():
        takes, gives = ({tensor["name"] for tensor in metadata.get(kind, [])} for kind in ("inputs", "outputs"))
    for method, outputs in METHODS.items():
        if takes.issuperset(INPUTS) and gives.issuperset(outputs):
            return method
    raise UnknownModel(f"Model '{model}' takes no recordings: `tritone models` lists those that do.")


def other_method(request: Request, method: Method) -> TritoneError | None:
    """The exception that names `method`, which asks `request.model`, or the embedding that the model lacks.

    None where that is what was asked.

    Triton's text names but one output that is missing, which steps and models of others lack, too.
    """
    if set(METHODS[method]).issubset(request.outputs):
        if "EMBEDDING" in request.outputs:
            return InvalidRecording(f"Model '{request.model}' has no embedding: ask without it.", "option")
        return None  # the server is of another version
    return UnknownModel(
        f"Model '{request.model}' answers other questions: ask it with the method {method}() or the "
        f"command `tritone {method}`."
    )


def is_answer_to(request: Request, answer: Prediction | EmotionPrediction) -> bool:
    """Whether an answer is to this request, by its hash; also where a server of another version names none.

    The keys of Triton's cache are hashes of 64 bits, for which another recording can be made that has the same.
    """
    return "sha256" not in answer.raw or answer.raw["sha256"] == request.sha256


def other_answer(url: str) -> InferenceFailed:
    """The exception for an answer to something else."""
    return InferenceFailed(
        f"The server at {url} answered something else than what was asked, also past its cache (the SHA-256 in "
        "RESULT is another): ask again, and tell who runs it."
    )


def seconds_left(start: float, timeout: float) -> float:
    """What is left of `timeout` since `start`, a moment at least: then the call itself is late."""
    return max(start + timeout - time.monotonic(), 1e-3)


class Client:
    """A connection to Tritone's server, for any number of threads; also a context manager.

    Args:
        url: `host:port` or a URL with the scheme grpc, grpcs, http or https.
        protocol: "grpc" or "http" where the URL has no scheme; otherwise port 8000 means HTTP, any other gRPC.
        timeout: seconds for a whole call, retries included.
        retries: further attempts after a failure that may cure itself (full queue, server or model restarting);
            None allows as many as the timeout does.
        root_certificates: PEM file of the authorities to trust with grpcs and https; None means the system's.
        certificate: PEM file with this client's certificate, for servers that ask for one.
        private_key: PEM file with the key of `certificate`.
        headers: sent with each request, such as an authorization.

    Raises:
        InvalidUrl: the address or a TLS file cannot be used.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        protocol: Protocol | None = None,
        timeout: float = 30.0,
        retries: int | None = None,
        root_certificates: str | None = None,
        certificate: str | None = None,
        private_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = parse_url(url, protocol)
        self.timeout = timeout
        self.retries = retries
        self._transport = open_transport(
            self.address, Tls(root_certificates, certificate, private_key), dict(headers or {})
        )
        self._closed = threading.Event()

    def classify(
        self,
        recording: Recording,
        *,
        model: str = "vgg19_bn_cqt",
        top_k: int = 5,
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Prediction:
        """The labels of a recording.

        Args:
            recording: path of an audio file, its bytes, or `(samples, sample rate in Hz)` with samples [n] or
                [n, channels], float in [-1, 1] or int16.
            model: the system to ask.
            top_k: how many labels to rank.
            embedding: whether the network's features are wanted; of a system that has them, such as `musicnn_msd`.
            timeout: seconds for this call instead of the client's.
            options: further options of the server, such as `profile="article-a"` or `denoise="quietest"`; None
                leaves one to the server. `pictures=1` to 4 brings `pictures`, `explain=1` to 4 also `explanation`.

        Raises:
            InvalidRecording, UnknownModel, ServerUnavailable, ServerBusy, DeadlineExceeded, InferenceFailed.
        """
        start = time.monotonic()
        request = genre_request(recording, model, top_k, options, embedding)
        return self._ask(request, parse_prediction, start, timeout)

    def emotion(
        self,
        recording: Recording,
        *,
        model: str = "emotion2vec_plus_large",
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> EmotionPrediction:
        """The emotions in a recording of speech.

        Args:
            recording: as for `classify`.
            model: the system to ask.
            granularity: "frame" for scores, and embeddings, of each 20 ms as well.
            embedding: whether the network's features are wanted, 4 KB for the recording or for each frame.
            timeout: seconds for this call instead of the client's.
            options: further options of the server, such as `smoothing=1.0` and `min_segment=0.3` (seconds, of the
                timeline); None leaves one to the server.

        Raises:
            InvalidRecording, UnknownModel, ServerUnavailable, ServerBusy, DeadlineExceeded, InferenceFailed.
        """
        start = time.monotonic()
        request = emotion_request(recording, model, granularity, embedding, options)
        return self._ask(request, parse_emotion, start, timeout)

    def classify_stream(
        self,
        chunks: Iterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = "vgg19_bn_cqt",
        top_k: int = 5,
        timeout: float | None = None,
        **options: object,
    ) -> Iterator[StreamAnswer[Prediction]]:
        """The labels of a long source, again and again while it arrives, in memory that does not grow with it.

        Args:
            chunks: the sound as it comes: bytes of int16, little-endian, mono, or samples as for `classify`, in
                chunks of any size. The next is taken when the answers that are due have been taken.
            sample_rate: in Hz.
            every: seconds of sound from one answer to the next. Half a second or more at the end is answered, too.
            window: seconds of sound that an answer is about: the last ones, or all there is yet.
            model: as for `classify`, and so are `top_k`, `timeout` (for each answer) and `options`.

        Raises:
            as `classify`; but a window that is refused is an answer with an `error`, and the stream goes on.
        """
        ask = partial(self.classify, model=model, top_k=top_k, timeout=timeout, **options)
        return answers(chunks, Windows(sample_rate, every, window), ask)

    def emotion_stream(
        self,
        chunks: Iterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = "emotion2vec_plus_large",
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Iterator[StreamAnswer[EmotionPrediction]]:
        """The emotions in speech while it arrives: as `classify_stream`, with the arguments of `emotion`."""
        wanted = {"granularity": granularity, "embedding": embedding}
        ask = partial(self.emotion, model=model, timeout=timeout, **wanted, **options)
        return answers(chunks, Windows(sample_rate, every, window), ask)

    def models(self) -> tuple[System, ...]:
        """The systems that the server has loaded, by name."""
        served = self._call(self._transport.statistics)

        def system(name: str) -> System:
            """What the server says of one of them."""
            network = f"{name}_network"
            ready = self._call(partial(self._transport.ready, model=name))
            metadata = partial(self._transport.metadata, network)
            return served_system(name, ready, served, self._call(metadata) if network in served else {})

        return tuple(system(name) for name in systems(served))

    def method(self, model: str, timeout: float | None = None) -> Method:
        """The name of the method that asks a system. Raises `UnknownModel` for what is none."""
        return method_of(model, self._call(partial(self._transport.metadata, model), timeout, model, retries=0))

    def ping(self) -> None:
        """Raise `ServerUnavailable` unless a server answers; asked once, without retries."""
        self._call(self._transport.live, retries=0)

    def health(self) -> Health:
        """How the server is at this moment; asked once, without retries. Raises `ServerUnavailable`."""

        def ask(method: Callable[[float], Answer]) -> Answer:
            return self._call(method, retries=0)

        transport = self._transport
        live, ready, served = ask(transport.live), ask(transport.ready), ask(transport.statistics)
        return Health(live, ready, {name: ask(partial(transport.ready, model=name)) for name in systems(served)})

    def close(self) -> None:
        """End all connections; calls still running in other threads fail."""
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Request, parse: Parse[Known], start: float, timeout: float | None) -> Known:
        """The answer to a request begun at `start`; asked past the cache where the first is that to another."""
        answer = parse(self._infer(request, timeout), time.monotonic() - start)
        if is_answer_to(request, answer):
            return answer
        left = seconds_left(start, self.timeout if timeout is None else timeout)
        again = request.past_cache
        answer = parse(self._infer(again, left), time.monotonic() - start)
        if is_answer_to(again, answer):
            return answer
        raise other_answer(str(self.address))

    def _infer(self, request: Request, timeout: float | None) -> Tensors:
        """The outputs of one inference; a system that another method asks is told as such."""
        try:
            return self._call(partial(self._transport.infer, request), timeout, request.model)
        except UnknownModel as error:
            raise self._other_method(request, timeout) or error from None

    def _other_method(self, request: Request, timeout: float | None) -> TritoneError | None:
        """The exception that names the method for `request.model`, None where that is no system either."""
        try:
            return other_method(request, self.method(request.model, timeout))
        except TritoneError:
            return None

    def _call(
        self,
        attempt: Callable[[float], Answer],
        timeout: float | None = None,
        model: str = "",
        retries: int | None = None,
    ) -> Answer:
        """`attempt` with retries until the deadline, its failure as the user's exception."""
        start = time.monotonic()
        try:
            return retry.call(
                attempt,
                timeout=self.timeout if timeout is None else timeout,
                retries=self.retries if retries is None else retries,
                sleep=self._closed.wait,  # a closed client does not sleep on
            )
        except Failure as failure:
            seconds = time.monotonic() - start
            raise explain(failure, url=str(self.address), model=model, seconds=seconds) from None
