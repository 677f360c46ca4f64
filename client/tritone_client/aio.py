"""The client for event loops: what `Client` does, to await, and to cancel."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from tritone_client import client, retry
from tritone_client.address import parse_url
from tritone_client.client import (
    Health,
    Known,
    Method,
    Parse,
    System,
    emotion_request,
    genre_request,
    method_of,
    other_answer,
    other_method,
    seconds_left,
    served_system,
    systems,
)
from tritone_client.emotion import EmotionPrediction, Granularity, parse_emotion
from tritone_client.errors import Failure, InvalidUrl, TritoneError, UnknownModel, explain
from tritone_client.prediction import Prediction, parse_prediction
from tritone_client.request import Recording, Request
from tritone_client.stream import EVERY, WINDOW, Chunk, StreamAnswer, Windows, answers_async
from tritone_client.transport import Tensors, Tls
from tritone_client.transport_aio import AsyncGrpcTransport

Answer = TypeVar("Answer")

MUCH = 4 << 20  # bytes that take a few milliseconds to hash


class AsyncClient:
    """A connection to Tritone's server over gRPC, for any number of tasks of one event loop.

    Also an asynchronous context manager. Arguments, answers, retries and errors are those of `Client`. Cancelling
    the task that awaits an answer, as `asyncio.timeout` does, ends the call at the server, too.

    Args:
        url: `host:port` or a URL with the scheme grpc or grpcs.
        timeout: seconds for a whole call, retries included.
        retries: further attempts after a failure that may cure itself (full queue, server or model restarting);
            None allows as many as the timeout does.
        root_certificates: PEM file of the authorities to trust with grpcs; None means the system's.
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
        timeout: float = 30.0,
        retries: int | None = None,
        root_certificates: str | None = None,
        certificate: str | None = None,
        private_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = parse_url(url)
        if self.address.protocol != "grpc":
            raise InvalidUrl(
                f"AsyncClient speaks gRPC, not {self.address}: give the server's gRPC port, or use Client."
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
        model: str = "vgg19_bn_cqt",
        top_k: int = 5,
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> Prediction:
        """The labels of a recording; arguments and errors as for `Client.classify`. A file is read in a thread."""
        start = time.monotonic()
        request = await built(recording, partial(genre_request, recording, model, top_k, options, embedding))
        return await self._ask(request, parse_prediction, start, timeout)

    async def emotion(
        self,
        recording: Recording,
        *,
        model: str = "emotion2vec_plus_large",
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> EmotionPrediction:
        """The emotions in a recording of speech; arguments and errors as for `Client.emotion`."""
        start = time.monotonic()
        request = await built(
            recording, partial(emotion_request, recording, model, granularity, embedding, options)
        )
        return await self._ask(request, parse_emotion, start, timeout)

    def classify_stream(
        self,
        chunks: AsyncIterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = "vgg19_bn_cqt",
        top_k: int = 5,
        timeout: float | None = None,
        **options: object,
    ) -> AsyncIterator[StreamAnswer[Prediction]]:
        """The labels of a long source while it arrives; arguments and errors as for `Client.classify_stream`."""
        ask = partial(self.classify, model=model, top_k=top_k, timeout=timeout, **options)
        return answers_async(chunks, Windows(sample_rate, every, window), ask)

    def emotion_stream(
        self,
        chunks: AsyncIterable[Chunk],
        sample_rate: int,
        *,
        every: float = EVERY,
        window: float = WINDOW,
        model: str = "emotion2vec_plus_large",
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
        **options: object,
    ) -> AsyncIterator[StreamAnswer[EmotionPrediction]]:
        """The emotions in speech while it arrives: as `classify_stream`, with the arguments of `emotion`."""
        wanted = {"granularity": granularity, "embedding": embedding}
        ask = partial(self.emotion, model=model, timeout=timeout, **wanted, **options)
        return answers_async(chunks, Windows(sample_rate, every, window), ask)

    async def models(self) -> tuple[System, ...]:
        """The systems that the server has loaded, by name."""
        served = await self._call(self._transport.statistics)

        async def system(name: str) -> System:
            """What the server says of one of them."""
            network = f"{name}_network"
            ready = await self._call(partial(self._transport.ready, model=name))
            metadata = partial(self._transport.metadata, network)
            return served_system(name, ready, served, await self._call(metadata) if network in served else {})

        return tuple([await system(name) for name in systems(served)])

    async def method(self, model: str, timeout: float | None = None) -> Method:
        """The name of the method that asks a system. Raises `UnknownModel` for what is none."""
        metadata = partial(self._transport.metadata, model)
        return method_of(model, await self._call(metadata, timeout, model, retries=0))

    async def ping(self) -> None:
        """Raise `ServerUnavailable` unless a server answers; asked once, without retries."""
        await self._call(self._transport.live, retries=0)

    async def health(self) -> Health:
        """How the server is at this moment; asked once, without retries. Raises `ServerUnavailable`."""
        transport, ask = self._transport, partial(self._call, retries=0)
        live, ready, served = (
            await ask(transport.live),
            await ask(transport.ready),
            await ask(transport.statistics),
        )
        return Health(
            live, ready, {name: await ask(partial(transport.ready, model=name)) for name in systems(served)}
        )

    async def close(self) -> None:
        """End all connections; calls still running in other tasks fail."""
        await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, request: Request, parse: Parse[Known], start: float, timeout: float | None) -> Known:
        """The answer to a request begun at `start`; asked past the cache where the first is that to another."""
        answer = parse(await self._infer(request, timeout), time.monotonic() - start)
        if await is_answer_to(request, answer):
            return answer
        left = seconds_left(start, self.timeout if timeout is None else timeout)
        again = request.past_cache
        answer = parse(await self._infer(again, left), time.monotonic() - start)
        if await is_answer_to(again, answer):
            return answer
        raise other_answer(str(self.address))

    async def _infer(self, request: Request, timeout: float | None) -> Tensors:
        """The outputs of one inference; a system that another method asks is told as such."""
        try:
            return await self._call(partial(self._transport.infer, request), timeout, request.model)
        except UnknownModel as error:
            raise await self._other_method(request, timeout) or error from None

    async def _other_method(self, request: Request, timeout: float | None) -> TritoneError | None:
        """The exception that names the method for `request.model`, None where that is no system either."""
        try:
            return other_method(request, await self.method(request.model, timeout))
        except TritoneError:
            return None

    async def _call(
        self,
        attempt: Callable[[float], Awaitable[Answer]],
        timeout: float | None = None,
        model: str = "",
        retries: int | None = None,
    ) -> Answer:
        """`attempt` with retries until the deadline, its failure as the user's exception."""
        start = time.monotonic()
        try:
            return await retry.call_async(
                attempt,
                timeout=self.timeout if timeout is None else timeout,
                retries=self.retries if retries is None else retries,
                sleep=self._transport.sleep,
            )
        except Failure as failure:
            seconds = time.monotonic() - start
            raise explain(failure, url=str(self.address), model=model, seconds=seconds) from None


async def built(recording: Recording, build: Callable[[], Request]) -> Request:
    """The request that `build` makes: in a thread where a file is read or samples are mixed, which takes time."""
    return build() if isinstance(recording, bytes) else await asyncio.to_thread(build)


async def is_answer_to(request: Request, answer: Prediction | EmotionPrediction) -> bool:
    """As `client.is_answer_to`: in a thread where there is much to hash."""
    if sum(array.nbytes if array.dtype != object else len(array[0]) for array in request.inputs.values()) < MUCH:
        return client.is_answer_to(request, answer)
    return await asyncio.to_thread(client.is_answer_to, request, answer)
