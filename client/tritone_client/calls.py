"""The calls of both clients, as flows: retry, bypass a poisoned cache, turn failures into exceptions."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from tritone_client.answers.emotion import Granularity, emotion_outputs, parse_emotion
from tritone_client.answers.prediction import parse_prediction, prediction_outputs
from tritone_client.defaults import TOP_K
from tritone_client.errors import Failure, InferenceFailed, InvalidRecording, TritoneError, UnknownModel, explain
from tritone_client.flow import Flow, Work
from tritone_client.systems import Health, Kind, Method, System, kind_of, method_of, served_system, systems
from tritone_client.transport.address import Address
from tritone_client.transport.common import Tensors
from tritone_client.transport.request import Recording, Request, build_request
from tritone_client.transport.retry import tried

T = TypeVar("T")
Parse = Callable[[Tensors, float], T]
"""Output tensors and the seconds that the call took -> the answer."""

LARGE = 4 << 20  # bytes, which take a few milliseconds to hash


def genre_request(
    recording: Recording,
    model: str,
    top_k: int = TOP_K,
    embedding: bool = False,
    options: Mapping[str, object] | None = None,
) -> Request:
    """Return the request of `classify`."""
    options = options or {}
    return build_request(recording, model, {"top_k": top_k, **options}, prediction_outputs(options, embedding))


def emotion_request(
    recording: Recording,
    model: str,
    granularity: Granularity = "utterance",
    embedding: bool = False,
    options: Mapping[str, object] | None = None,
) -> Request:
    """Return the request of `emotion`."""
    outputs = emotion_outputs(granularity, embedding)
    options = dict(options or {})
    if "FRAME_EMBEDDINGS" in outputs:  # the server leaves it empty without this option
        options["frame_embeddings"] = True
    return build_request(recording, model, options, outputs)


KINDS: dict[Method, tuple[Callable[..., Request], Parse[Any]]] = {
    "classify": (genre_request, parse_prediction),
    "emotion": (emotion_request, parse_emotion),
}
"""A method of the client -> the function that builds its request, and the one that parses its answer."""


def is_answer_to(request: Request, answer: Any) -> bool:
    """Return whether the answer belongs to the request, by its hash; True if the server reports no hash.

    The keys of Triton's cache are hashes of 64 bits: an attacker can make another recording with the same key.
    """
    return "sha256" not in answer.raw or answer.raw["sha256"] == request.sha256


class Calls:
    """The calls to a server as flows, which `Client` and `AsyncClient` run.

    Attributes
    ----------
    address : where the server is.
    timeout : seconds for a whole call, retries included.
    retries : further attempts after a temporary failure; None for as many as fit into `timeout`.
    """

    address: Address
    timeout: float
    retries: int | None
    _transport: Any

    def _ask(
        self,
        method: Method,
        recording: Recording,
        timeout: float | None,
        *arguments: Any,
    ) -> Flow[Any]:
        """Return the answer of a method; bypass the cache if the first answer belongs to another request.

        `arguments` are the arguments of the method's request after recording. A file is read in a thread.
        """
        start = time.monotonic()
        build, parse = KINDS[method]
        request: Request = yield Work(
            partial(build, recording, *arguments), is_long=not isinstance(recording, bytes)
        )
        timeout = self.timeout if timeout is None else timeout
        answer = parse((yield from self._infer(request, method, timeout)), time.monotonic() - start)
        is_long = request.size > LARGE
        if (yield Work(partial(is_answer_to, request, answer), is_long)):
            return answer
        again = request.past_cache
        left = max(start + timeout - time.monotonic(), 1e-3)  # at least a moment: the call itself then times out
        answer = parse((yield from self._infer(again, method, left)), time.monotonic() - start)
        if (yield Work(partial(is_answer_to, again, answer), is_long)):
            return answer
        raise InferenceFailed(
            f"The server at {self.address} answered a different request, even past its cache "
            "(the SHA-256 in RESULT differs): try again, and report it to the server's operator."
        )

    def _infer(self, request: Request, method: Method, timeout: float | None) -> Flow[Tensors]:
        """Return the outputs of one inference.

        The `UnknownModel` for a system that another method asks names that method.
        """
        try:
            outputs: Tensors = yield from self._call(
                partial(self._transport.infer, request), timeout, request.model
            )
            return outputs
        except UnknownModel as error:
            raise (yield from self._other_method(request, method, timeout)) or error from None

    def _other_method(self, request: Request, asked: Method, timeout: float | None) -> Flow[TritoneError | None]:
        """Return the exception for a system that `asked` cannot ask; None if the model is not a system.

        Triton's own error only names one missing output.
        """
        try:
            method = yield from self._method(request.model, timeout)
        except TritoneError:
            return None
        if method != asked:
            return UnknownModel(
                f"Model '{request.model}' belongs to another method: use {method}() or the command "
                f"`tritone {method}`."
            )
        if "EMBEDDING" in request.outputs:
            return InvalidRecording(f"Model '{request.model}' has no embedding: ask without it.", "option")
        return None  # the server has a different version

    def _method(self, model: str, timeout: float | None = None) -> Flow[Method]:
        """Return the method that asks `model`. Raises `UnknownModel` if it is not a system."""
        config = yield from self._call(partial(self._transport.config, model), timeout, model, retries=0)
        return method_of(model, config)

    def _kinds(self, models: Iterable[str]) -> Flow[dict[str, Kind]]:
        """Return the kinds of systems by name, without those whose configuration the server does not give."""
        kinds: dict[str, Kind] = {}
        for model in models:
            with suppress(TritoneError):
                config = yield from self._call(partial(self._transport.config, model), model=model, retries=0)
                kinds[model] = kind_of(model, config)
        return kinds

    def _models(self) -> Flow[tuple[System, ...]]:
        """Return the systems that the server has loaded, by name."""
        served = yield from self._call(self._transport.statistics)
        loaded = []
        for name in systems(served):
            network = f"{name}_network"
            ready = yield from self._call(partial(self._transport.ready, model=name))
            metadata: dict[str, Any] = {}
            if network in served:
                metadata = yield from self._call(partial(self._transport.metadata, network))
            loaded.append(served_system(name, ready, served, metadata))
        return tuple(loaded)

    def _ping(self) -> Flow[None]:
        """Raise `ServerUnavailable` unless a server answers; one attempt."""
        yield from self._call(self._transport.live, retries=0)

    def _health(self) -> Flow[Health]:
        """Return the current state of the server; one attempt. Raises `ServerUnavailable`."""
        live = yield from self._call(self._transport.live, retries=0)
        ready = yield from self._call(self._transport.ready, retries=0)
        served = yield from self._call(self._transport.statistics, retries=0)
        states: dict[str, bool] = {}
        for name in systems(served):
            states[name] = yield from self._call(partial(self._transport.ready, model=name), retries=0)
        return Health(live, ready, states)

    def _call(
        self,
        attempt: Callable[[float], Any],
        timeout: float | None = None,
        model: str = "",
        retries: int | None = None,
    ) -> Flow[Any]:
        """Return the result of `attempt`, retried until the deadline. Raises the exception for the last one."""
        start = time.monotonic()
        try:
            return (
                yield from tried(
                    attempt,
                    timeout=self.timeout if timeout is None else timeout,
                    retries=self.retries if retries is None else retries,
                )
            )
        except Failure as failure:
            seconds = time.monotonic() - start
            raise explain(failure, url=str(self.address), model=model, seconds=seconds) from None
