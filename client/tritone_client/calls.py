"""What both clients do, as flows: try again, ask past a poisoned cache, turn failures into exceptions."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from tritone_client.answers.emotion import Granularity, emotion_outputs, parse_emotion
from tritone_client.answers.prediction import parse_prediction, prediction_outputs
from tritone_client.defaults import TOP_K
from tritone_client.errors import Failure, InferenceFailed, InvalidRecording, TritoneError, UnknownModel, explain
from tritone_client.flow import Flow, Work
from tritone_client.systems import Health, Method, System, method_of, served_system, systems
from tritone_client.transport.address import Address
from tritone_client.transport.common import Tensors
from tritone_client.transport.request import Recording, Request, build_request
from tritone_client.transport.retry import tried

Given = TypeVar("Given")
Parse = Callable[[Tensors, float], Given]
"""Output tensors and the seconds that the call took -> the answer."""

MUCH = 4 << 20  # bytes that take a few milliseconds to hash


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
    if "FRAME_EMBEDDINGS" in outputs:  # which the server leaves empty otherwise
        options["frame_embeddings"] = True
    return build_request(recording, model, options, outputs)


KINDS: dict[Method, tuple[Callable[..., Request], Parse[Any]]] = {
    "classify": (genre_request, parse_prediction),
    "emotion": (emotion_request, parse_emotion),
}
"""A method of the client -> what makes its request, and what reads its answer."""


def is_answer_to(request: Request, answer: Any) -> bool:
    """Return whether an answer is to this request, by its hash; True for a server that reports no hash.

    The keys of Triton's cache are hashes of 64 bits: another recording can be made that has the same key.
    """
    return "sha256" not in answer.raw or answer.raw["sha256"] == request.sha256


class Calls:
    """Flows of the calls to a server; `Client` and `AsyncClient` run them.

    Attributes
    ----------
    address : where the server is.
    timeout : seconds for a whole call, retries included.
    retries : further attempts after a failure that may cure itself; None for as many as `timeout` allows.
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
        """The answer of a method; asked past the cache where the first answer is to another request.

        `arguments` are those of the method's request behind the recording. A file is read in a thread.
        """
        start = time.monotonic()
        build, parse = KINDS[method]
        request: Request = yield Work(
            partial(build, recording, *arguments), is_long=not isinstance(recording, bytes)
        )
        timeout = self.timeout if timeout is None else timeout
        answer = parse((yield from self._infer(request, method, timeout)), time.monotonic() - start)
        is_long = request.size > MUCH
        if (yield Work(partial(is_answer_to, request, answer), is_long)):
            return answer
        again = request.past_cache
        left = max(start + timeout - time.monotonic(), 1e-3)  # a moment at least: then the call itself is late
        answer = parse((yield from self._infer(again, method, left)), time.monotonic() - start)
        if (yield Work(partial(is_answer_to, again, answer), is_long)):
            return answer
        raise InferenceFailed(
            f"The server at {self.address} answered another request than this one, also past its cache "
            "(RESULT has another SHA-256): ask again, and report it to those who run the server."
        )

    def _infer(self, request: Request, method: Method, timeout: float | None) -> Flow[Tensors]:
        """The outputs of one inference; `UnknownModel` names the method that asks a system, if it is another."""
        try:
            outputs: Tensors = yield from self._call(
                partial(self._transport.infer, request), timeout, request.model
            )
            return outputs
        except UnknownModel as error:
            raise (yield from self._other_method(request, method, timeout)) or error from None

    def _other_method(self, request: Request, asked: Method, timeout: float | None) -> Flow[TritoneError | None]:
        """The exception that says why a system cannot be asked so; None where the model is no system.

        Triton's text names just one missing output.
        """
        try:
            method = yield from self._method(request.model, timeout)
        except TritoneError:
            return None
        if method != asked:
            return UnknownModel(
                f"Model '{request.model}' answers other questions: ask it with the method {method}() or the "
                f"command `tritone {method}`."
            )
        if "EMBEDDING" in request.outputs:
            return InvalidRecording(f"Model '{request.model}' has no embedding: ask without it.", "option")
        return None  # the server has another version

    def _method(self, model: str, timeout: float | None = None) -> Flow[Method]:
        """The method that asks a system. Raises `UnknownModel` for any other model."""
        config = yield from self._call(partial(self._transport.config, model), timeout, model, retries=0)
        return method_of(model, config)

    def _models(self) -> Flow[tuple[System, ...]]:
        """The systems that the server has loaded, by name."""
        served = yield from self._call(self._transport.statistics)
        found = []
        for name in systems(served):
            network = f"{name}_network"
            ready = yield from self._call(partial(self._transport.ready, model=name))
            metadata: dict[str, Any] = {}
            if network in served:
                metadata = yield from self._call(partial(self._transport.metadata, network))
            found.append(served_system(name, ready, served, metadata))
        return tuple(found)

    def _ping(self) -> Flow[None]:
        """Raise `ServerUnavailable` unless a server answers; one attempt."""
        yield from self._call(self._transport.live, retries=0)

    def _health(self) -> Flow[Health]:
        """The state of the server at this moment; one attempt. Raises `ServerUnavailable`."""
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
        """The result of `attempt`, tried until the deadline. Raises the exception for its last failure."""
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
