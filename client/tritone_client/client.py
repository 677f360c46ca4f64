"""The client for threads: classify recordings and streams, list systems, check the server's health."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from tritone_client.answers.emotion import EmotionPrediction, Granularity
from tritone_client.answers.prediction import Prediction
from tritone_client.calls import Calls
from tritone_client.defaults import EMOTION_MODEL, EVERY, MODEL, TIMEOUT, TOP_K, URL, WINDOW
from tritone_client.flow import Attempt, Flow, Pause, Step, T, run
from tritone_client.stream import Chunk, StreamAnswer, Windows, answers
from tritone_client.systems import Health, Method, System
from tritone_client.transport.address import Protocol, parse_url
from tritone_client.transport.common import Tls, Transport, tls_files
from tritone_client.transport.grpc import GrpcTransport
from tritone_client.transport.http import HttpTransport
from tritone_client.transport.request import Recording


class Client(Calls):
    """A connection to Tritone's server, for any number of threads; also a context manager.

    Parameters
    ----------
    url : `host:port` or a URL with the scheme grpc, grpcs, http or https.
    protocol : "grpc" or "http" for a URL without a scheme; by default port 8000 means HTTP, any other gRPC.
    timeout : seconds for a whole call, retries included.
    retries : further attempts after a temporary failure (full queue, server or model restarting);
        None allows as many as fit into `timeout`.
    root_certificates : PEM file of the authorities to trust with grpcs and https; None uses the system's.
    certificate : PEM file with this client's certificate, for servers that require one.
    private_key : PEM file with the key of `certificate`.
    headers : sent with each request, such as an authorization.

    Raises
    ------
    InvalidUrl
        The address or a TLS file cannot be used.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        protocol: Protocol | None = None,
        timeout: float = TIMEOUT,
        retries: int | None = None,
        root_certificates: str | None = None,
        certificate: str | None = None,
        private_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = parse_url(url, protocol)
        self.timeout = timeout
        self.retries = retries
        kind = GrpcTransport if self.address.protocol == "grpc" else HttpTransport
        tls = Tls(root_certificates, certificate, private_key)
        with tls_files(self.address, tls):
            self._transport: Transport = kind(self.address, tls, dict(headers or {}))
        self._closed = threading.Event()

    def classify(
        self,
        recording: Recording,
        *,
        model: str = MODEL,
        top_k: int = TOP_K,
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Prediction:
        """Return the labels of a recording.

        Parameters
        ----------
        recording : path of an audio file, its bytes, or `(samples, sample rate in Hz)` with samples [n] or
            [n, channels], float in [-1, 1] or int16.
        model : the system to ask.
        top_k : number of labels to rank.
        embedding : whether to return the network's features; only some systems have them, such as `musicnn_msd`.
        timeout : seconds for this call, instead of the client's timeout.
        options : further options of the server, such as `profile="article-a"` or `denoise="quietest"`; None
            means the server's default. `pictures=1` to 4 adds `pictures`, `explain=1` to 4 also `explanation`.

        Raises
        ------
        InvalidRecording, UnknownModel, ServerUnavailable, ServerBusy, DeadlineExceeded, InferenceFailed.
        """
        flow = self._ask("classify", recording, timeout, model, top_k, embedding, options)
        answer: Prediction = self._run(flow)
        return answer

    def emotion(
        self,
        recording: Recording,
        *,
        model: str = EMOTION_MODEL,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> EmotionPrediction:
        """Return the emotions in a recording of speech.

        Parameters
        ----------
        recording : as for `classify`.
        model : the system to ask.
        granularity : "frame" adds the scores (and embeddings) of every 20 ms.
        embedding : whether to return the network's features: 4 KB for the recording, or for each frame.
        timeout : seconds for this call, instead of the client's timeout.
        options : further options of the server, such as `smoothing=1.0` and `min_segment=0.3` (seconds, for the
            timeline); None means the server's default.

        Raises
        ------
        InvalidRecording, UnknownModel, ServerUnavailable, ServerBusy, DeadlineExceeded, InferenceFailed.
        """
        flow = self._ask("emotion", recording, timeout, model, granularity, embedding, options)
        answer: EmotionPrediction = self._run(flow)
        return answer

    def classify_stream(
        self,
        chunks: Iterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = MODEL,
        top_k: int = TOP_K,
        timeout: float | None = None,
        **options: object,
    ) -> Iterator[StreamAnswer[Prediction]]:
        """Yield the labels of a long source at intervals while it arrives, in constant memory.

        Parameters
        ----------
        chunks : the sound as it arrives: bytes of int16, little-endian, mono, or samples as for `classify`, in
            chunks of any size. The next chunk is taken when the caller has taken all answers that are due.
        sample_rate : in Hz.
        every : seconds of sound from one answer to the next. A rest of half a second or more is answered, too.
        window : seconds of sound that each answer covers: the last ones, or all sound so far.
        model, top_k, options : as for `classify`.
        timeout : seconds for each answer.

        Raises
        ------
        As `classify`; but a rejected window is an answer with an `error`, and the stream continues.
        """
        wanted: dict[str, Any] = {"top_k": top_k, **options}
        ask = partial(self.classify, model=model, timeout=timeout, **wanted)
        return answers(chunks, Windows(sample_rate, every, window), ask)

    def emotion_stream(
        self,
        chunks: Iterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = EMOTION_MODEL,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Iterator[StreamAnswer[EmotionPrediction]]:
        """Yield the emotions in speech while it arrives: as `classify_stream`, with the arguments of `emotion`."""
        wanted: dict[str, Any] = {"granularity": granularity, "embedding": embedding, **options}
        ask = partial(self.emotion, model=model, timeout=timeout, **wanted)
        return answers(chunks, Windows(sample_rate, every, window), ask)

    def models(self) -> tuple[System, ...]:
        """Return the systems that the server has loaded, by name."""
        return self._run(self._models())

    def method(self, model: str, timeout: float | None = None) -> Method:
        """Return the name of the method that asks `model`. Raises `UnknownModel` if it is not a system."""
        return self._run(self._method(model, timeout))

    def ping(self) -> None:
        """Raise `ServerUnavailable` unless a server answers; one attempt, without retries."""
        self._run(self._ping())

    def health(self) -> Health:
        """Return the server's current state; one attempt, without retries. Raises `ServerUnavailable`."""
        return self._run(self._health())

    def close(self) -> None:
        """Close all connections; calls still running in other threads fail."""
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        """Run a flow in this thread."""
        return run(flow, self._carry_out)

    def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Attempt):
            return step.call(step.seconds)
        if isinstance(step, Pause):
            return self._closed.wait(step.seconds)  # closing the client ends the pause
        return step.function()
