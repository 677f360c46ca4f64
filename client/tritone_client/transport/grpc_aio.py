"""Requests over gRPC in an event loop, on tritonclient's asyncio client: an awaitable `GrpcTransport`.

Cancelling a task that awaits a method cancels its call, so that the server drops it. A call younger than `YOUNG`
is cancelled when it reaches that age: Triton 24.10 may crash if a call is cancelled while it arrives (its issues
7368 and 8034).
Each method takes the seconds that it may last. It raises `Failure`, or `InferenceFailed` for a malformed answer.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tritone_client.errors import Failure, reading_answer
from tritone_client.transport.address import Address
from tritone_client.transport.common import Statistics, Tensors, Tls, arrays, by_name, tensors, tls_files
from tritone_client.transport.grpc import grpc_channel, grpc_failure, grpc_headers
from tritone_client.transport.ports import check_grpc_port
from tritone_client.transport.request import Request

YOUNG = 0.05  # seconds


class AsyncGrpcTransport:
    """Triton's gRPC protocol for any number of tasks of one event loop; connects at the first call."""

    def __init__(self, address: Address, tls: Tls, headers: Mapping[str, str]) -> None:
        self._address, self._headers = address, grpc_headers(headers)
        with tls_files(address, tls):
            self._channel = grpc_channel(address, tls)
        self._client: triton_aio.InferenceServerClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[asyncio.Task[Any], float] = {}  # task -> when it began
        self._closed = self._answered = False

    async def infer(self, request: Request, timeout: float) -> Tensors:
        """Run one inference, and return the requested outputs by name."""
        inputs, outputs = tensors(triton_grpc, request)
        result = await self._call("infer", timeout, request.model, inputs, outputs=outputs)
        return arrays(result, request)

    async def live(self, timeout: float) -> bool:
        """Return whether the server is live."""
        return bool(await self._call("is_server_live", timeout))

    async def ready(self, timeout: float, model: str = "") -> bool:
        """Return whether the server, or one of its models, can take requests."""
        name = ("is_model_ready", timeout, model) if model else ("is_server_ready", timeout)
        return bool(await self._call(*name))

    async def statistics(self, timeout: float) -> Statistics:
        """Return Triton's counters of each loaded model, by name."""
        return by_name(await self._call("get_inference_statistics", timeout, as_json=True))

    async def metadata(self, model: str, timeout: float) -> dict[str, Any]:
        """Return Triton's metadata of a model."""
        return dict(await self._call("get_model_metadata", timeout, model, as_json=True))

    async def config(self, model: str, timeout: float) -> dict[str, Any]:
        """Return a model's configuration."""
        with reading_answer():
            return dict((await self._call("get_model_config", timeout, model, as_json=True))["config"])

    async def sleep(self, seconds: float) -> None:
        """Wait; closing the transport ends the wait."""
        await self._run(asyncio.sleep(seconds))

    async def close(self) -> None:
        """Cancel all calls and pauses, and close the channel."""
        self._closed = True
        if self._running:
            await asyncio.sleep(self._until_cancellable(max(self._running.values())))
        for task in self._running:
            task.cancel()
        if self._client:
            await self._client.close()

    async def _call(self, method: str, timeout: float, *args: Any, **kwargs: Any) -> Any:
        call = getattr(self._connected(), method)
        try:
            result = await self._run(call(*args, client_timeout=timeout, headers=self._headers, **kwargs))
        except InferenceServerException as error:
            failure = grpc_failure(error, self._closed)
            if not (self._answered or self._closed):
                await asyncio.to_thread(check_grpc_port, self._address, failure)
            raise failure from None
        self._answered = True
        return result

    def _connected(self) -> triton_aio.InferenceServerClient:
        """Return tritonclient's client, which is created in the event loop that uses it."""
        if self._closed:
            raise Failure("CANCELLED", "the client was closed")
        loop = asyncio.get_running_loop()
        if self._client is None:
            self._client, self._loop = triton_aio.InferenceServerClient(**self._channel), loop
        if loop is not self._loop:
            raise RuntimeError("This AsyncClient belongs to another event loop: make one in each.")
        return self._client

    async def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the coroutine's result; raise `Failure` if `close` cancelled it.

        Cancelling the task that awaits it cancels the coroutine, too. A separate task distinguishes the two: gRPC
        raises CancelledError for both.
        """
        task, loop = asyncio.ensure_future(coroutine), asyncio.get_running_loop()
        self._running[task] = loop.time()
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                loop.call_later(self._until_cancellable(self._running[task]), task.cancel)
        if task.cancelled():
            raise Failure("CANCELLED", "the client was closed")
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._running[task]
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would log it after a late cancellation

    @staticmethod
    def _until_cancellable(began: float) -> float:
        """Return seconds until a call may be cancelled."""
        return max(0.0, began + YOUNG - asyncio.get_running_loop().time())
