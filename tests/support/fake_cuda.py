"""As much of cuda.bindings.runtime as Tritone uses: the GPU's memory is the host's, and each copy is looked at.

Calls are recorded like those of fake_tensorrt. Imported under the name `cuda.bindings.runtime`.
"""

# ruff: noqa: D101 - the classes are described by the real ones

import ctypes
import enum
import functools

CALLS = []  # (function, arguments, keyword arguments)
MEMORY = {}  # address of a device buffer -> it
STREAMS = set()
room = 1 << 30  # bytes on the GPU


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStream_t:
    def __int__(self):
        return id(self)


started = cudaError_t.cudaSuccess  # what the driver says to the runtime


def recorded(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        CALLS.append((function.__name__, args, kwargs))
        return function(*args, **kwargs)

    return call


@recorded
def cudaSetDevice(device):
    return (cudaError_t.cudaSuccess,)


@recorded
def cudaGetDeviceCount():
    return started, 1 if started == cudaError_t.cudaSuccess else None


@recorded
def cudaMalloc(size):
    if size + sum(map(ctypes.sizeof, MEMORY.values())) > room:
        return cudaError_t.cudaErrorMemoryAllocation, None
    buffer = (ctypes.c_char * size)()
    MEMORY[ctypes.addressof(buffer)] = buffer
    return cudaError_t.cudaSuccess, ctypes.addressof(buffer)


@recorded
def cudaFree(devPtr):
    return (cudaError_t.cudaSuccess if MEMORY.pop(devPtr, None) else cudaError_t.cudaErrorInvalidValue,)


@recorded
def cudaStreamCreate():
    stream = cudaStream_t()
    STREAMS.add(stream)
    return cudaError_t.cudaSuccess, stream


@recorded
def cudaStreamSynchronize(stream):
    return (cudaError_t.cudaSuccess if stream in STREAMS else cudaError_t.cudaErrorInvalidValue,)


@recorded
def cudaStreamDestroy(stream):
    STREAMS.remove(stream)
    return (cudaError_t.cudaSuccess,)


@recorded
def cudaMemcpyAsync(dst, src, count, kind, stream):
    on_device = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
    buffer = MEMORY.get(on_device, b"")
    if stream not in STREAMS or count > len(buffer):
        return (cudaError_t.cudaErrorInvalidValue,)
    ctypes.memmove(dst, src, count)
    return (cudaError_t.cudaSuccess,)


@recorded
def cudaGetErrorString(error):
    return cudaError_t.cudaSuccess, f"fake {error.name}".encode()
