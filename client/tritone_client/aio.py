"""The client for event loops: the methods of `Client`, which can be awaited and cancelled."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from functools import partial
from typing import Any

from tritone_client.answers.emotion import EmotionPrediction, Granularity
from tritone_client.answers.prediction import Prediction
from tritone_client.calls import Calls
from tritone_client.defaults import EMOTION_MODEL, EVERY, MODEL, TIMEOUT, TOP_K, URL, WINDOW
from tritone_client.errors import InvalidUrl
from tritone_client.flow import Attempt, Flow, Pause, Step, T, run_async
from tritone_client.stream import Chunk, StreamAnswer, Windows, answers_async
from tritone_client.systems import Health, Method, System
from tritone_client.transport.address import parse_url
from tritone_client.transport.common import Tls
from tritone_client.transport.grpc_aio import AsyncGrpcTransport
from tritone_client.transport.request import Recording


class AsyncClient(Calls):
    """A connection to Tritone's server over gRPC, for any number of tasks of one event loop.

    Also an asynchronous context manager. Arguments, answers, retries and errors are those of `Client`. Cancelling
    the task that awaits an answer, as `asyncio.timeout` does, also ends the call on the server.

    Parameters
    ----------
    url : `host:port` or a URL with the scheme grpc or grpcs.
    timeout : seconds for a whole call, retries included.
    retries : further attempts after a temporary failure (full queue, server or model restarting);
        None allows as many as fit into `timeout`.
    root_certificates : PEM file of the authorities to trust with grpcs; None uses the system's.
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
        timeout: float = TIMEOUT,
        retries: int | None = None,
        root_certificates: str | None = None,
        certificate: str | None = None,
        private_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = parse_url(url)
        if self.address.protocol != "grpc":
            raise InvalidUrl(
                f"AsyncClient uses gRPC, not {self.address}: give the server's gRPC port, or use Client."
            )
        self.timeout = timeout
        self.retries = retries
        self._transport = AsyncGrpcTransport(
            self.address, Tls(root_certificates, certificate, private_key), dict(headers or {})
        )

    async def classify(
        self,
        recording: Recording,
        *,
        model: str = MODEL,
        top_k: int = TOP_K,
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Prediction:
        """Return the labels of a recording; arguments and errors as for `Client.classify`.

        A file is read in a thread.
        """
        flow = self._ask("classify", recording, timeout, model, top_k, embedding, options)
        answer: Prediction = await self._run(flow)
        return answer

    async def emotion(
        self,
        recording: Recording,
        *,
        model: str = EMOTION_MODEL,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> EmotionPrediction:
        """Return the emotions in a recording of speech; arguments and errors as for `Client.emotion`."""
        flow = self._ask("emotion", recording, timeout, model, granularity, embedding, options)
        answer: EmotionPrediction = await self._run(flow)
        return answer

    def classify_stream(
        self,
        chunks: AsyncIterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = MODEL,
        top_k: int = TOP_K,
        timeout: float | None = None,
        **options: object,
    ) -> AsyncIterator[StreamAnswer[Prediction]]:
        """Yield the labels of a long source while it arrives, like `Client.classify_stream`."""
        wanted: dict[str, Any] = {"top_k": top_k, **options}
        ask = partial(self.classify, model=model, timeout=timeout, **wanted)
        return answers_async(chunks, Windows(sample_rate, every, window), ask)

    def emotion_stream(
        self,
        chunks: AsyncIterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = EMOTION_MODEL,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> AsyncIterator[StreamAnswer[EmotionPrediction]]:
        """Yield the emotions in speech while it arrives: as `classify_stream`, with the arguments of `emotion`."""
        wanted: dict[str, Any] = {"granularity": granularity, "embedding": embedding, **options}
        ask = partial(self.emotion, model=model, timeout=timeout, **wanted)
        return answers_async(chunks, Windows(sample_rate, every, window), ask)

    async def models(self) -> tuple[System, ...]:
        """Return the systems that the server has loaded, by name."""
        return await self._run(self._models())

    async def method(self, model: str, timeout: float | None = None) -> Method:
        """Return the name of the method that asks `model`. Raises `UnknownModel` if it is not a system."""
        return await self._run(self._method(model, timeout))

    async def ping(self) -> None:
        """Raise `ServerUnavailable` unless a server answers; one attempt, without retries."""
        await self._run(self._ping())

    async def health(self) -> Health:
        """Return the server's current state; one attempt, without retries. Raises `ServerUnavailable`."""
        return await self._run(self._health())

    async def close(self) -> None:
        """Close all connections; calls still running in other tasks fail."""
        await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        """Run a flow in this event loop."""
        return await run_async(flow, self._carry_out)

    async def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Attempt):
            return await step.call(step.seconds)
        if isinstance(step, Pause):
            return await self._transport.sleep(step.seconds)
        return await asyncio.to_thread(step.function) if step.is_long else step.function()
