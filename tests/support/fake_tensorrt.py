"""As much as Tritone uses of the Python modules of TensorRT and of TensorRT-RTX's runtime, without a GPU.

ONNX Runtime stands in for the engines; TensorRT-RTX's builder needs no GPU, and no fake (tests/support/rtx.py).

What is called, with which arguments, and which attributes are touched is recorded by the names of the real
classes, so that a test can look all of it up in the real module. A plan is its ONNX file behind the shapes it was
built for. Imported under the name `tensorrt` or `tensorrt_rtx`, in tests or by Triton's stub.
"""

# ruff: noqa: D101, D106 - the classes are described by the real ones

import ctypes
import enum
import json

import numpy as np
import onnx
import onnxruntime

__version__ = "11.4.0.106"
CALLS = []  # (class, method, arguments, keyword arguments), constructors as __init__
TOUCHED = set()  # (class, attribute)
MAGIC = "fake plan"

# What goes wrong, for tests of refusals.
parser_errors = []
build_error = None  # said by the logger; then there is no plan
no_room = False  # for an execution context
spoil = None  # changes what a plan answers
card = b"card"  # that TensorRT-RTX compiles for


class Recorded:
    """Base of all that is recorded; what these classes keep for themselves begins with an underscore."""

    def __new__(cls, *args, **kwargs):
        CALLS.append((_real_name(cls), "__init__", args, kwargs))
        return super().__new__(cls)

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        if name.startswith("_"):
            return value
        owner = _real_name(type(self))
        TOUCHED.add((owner, name))
        if not callable(value):
            return value

        def recorded(*args, **kwargs):
            CALLS.append((owner, name, args, kwargs))
            return value(*args, **kwargs)

        return recorded

    def __setattr__(self, name, value):
        if not name.startswith("_"):
            TOUCHED.add((_real_name(type(self)), name))
            CALLS.append((_real_name(type(self)), f"{name} =", (value,), {}))
        object.__setattr__(self, name, value)


def _real_name(cls):
    return next(base.__name__ for base in cls.__mro__ if base.__module__ == __name__)


class BuilderFlag(enum.Enum):
    TF32 = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = "float32"
    INT64 = "int64"


def nptype(trt_type):
    return np.dtype(trt_type.value).type


class ILogger(Recorded):
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self):
        pass


class IProgressMonitor:
    def __init__(self):
        pass


def host_memory(content):
    """An IHostMemory: a buffer, and no bytes."""
    return (ctypes.c_char * len(content)).from_buffer_copy(content)


class ITensor(Recorded):
    def __init__(self, name):
        self._name = name

    @property
    def name(self):
        return self._name


class INetworkDefinition(Recorded):
    _onnx = b""

    @property
    def num_inputs(self):
        return len(onnx.ModelProto.FromString(self._onnx).graph.input)

    def get_input(self, index):
        return ITensor(onnx.ModelProto.FromString(self._onnx).graph.input[index].name)


class ParserError(Recorded):
    def __init__(self, text):
        self._text = text

    def node_operator(self):
        return "Foo"

    def desc(self):
        return self._text


class OnnxParser(Recorded):
    def __init__(self, network, logger):
        self._network = network

    def parse_from_file(self, model):
        with open(model, "rb") as file:
            self._network._onnx = file.read()
        return not parser_errors

    @property
    def num_errors(self):
        return len(parser_errors)

    def get_error(self, index):
        return ParserError(parser_errors[index])


class IOptimizationProfile(Recorded):
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache(Recorded):
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return host_memory(self._content + b"+")


class IBuilderConfig(Recorded):
    builder_optimization_level = 3
    progress_monitor = None

    def __init__(self):
        self._profile = None

    def set_memory_pool_limit(self, pool, pool_size):
        pass

    def add_optimization_profile(self, profile):
        self._profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache):
        content = serialized_timing_cache
        return ITimingCache(content or f"timings {__version__} ".encode()) if content != b"broken" else None

    def set_timing_cache(self, cache, ignore_mismatch):
        return ignore_mismatch or cache._content.startswith(f"timings {__version__} ".encode())

    def set_flag(self, flag):
        pass


class Builder(Recorded):
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags=0):
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        severity = ILogger.Severity
        self._logger.log(severity.VERBOSE, "much")
        self._logger.log(severity.INFO, "building")
        if build_error:
            self._logger.log(severity.ERROR, build_error)
            return None
        head = [MAGIC, __version__, config._profile._shapes]
        return host_memory(json.dumps(head).encode() + b"\n" + network._onnx)


class Runtime(Recorded):
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        head, _, content = serialized_engine.partition(b"\n")
        try:
            magic, version, shapes = json.loads(head)
        except ValueError:
            magic, version = None, None
        if magic != MAGIC or version != __version__:
            self._logger.log(ILogger.Severity.ERROR, "Serialization assertion magicTagRead failed")
            return None
        return ICudaEngine(shapes, content)


class ICudaEngine(Recorded):
    device_memory_size_v2 = 12345

    def __init__(self, shapes, content):
        self._shapes = shapes
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self._tensors = self._inputs | {tensor.name: tensor for tensor in self._session.get_outputs()}

    def create_runtime_config(self):
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config=None):
        return None if no_room else IExecutionContext(self)

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return [d if isinstance(d, int) else -1 for d in self._tensors[name].shape]

    def get_tensor_dtype(self, name):
        return {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64}[self._tensors[name].type]

    def get_tensor_profile_shape(self, name, profile_index):
        return self._shapes[name]


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0


class IRuntimeCache(Recorded):
    def __init__(self):
        self._compiled = b""

    def deserialize(self, blob):
        if not blob.startswith(card):
            return False
        self._compiled = blob.removeprefix(card)
        return True

    def serialize(self):
        return host_memory(card + self._compiled + b" compiled")


class IRuntimeConfig(Recorded):
    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = None

    def __init__(self):
        pass

    def create_runtime_cache(self):
        return IRuntimeCache()

    def set_runtime_cache(self, cache):
        return True


class IExecutionContext(Recorded):
    def __init__(self, engine):
        self._engine = engine
        self._shapes = {}
        self._addresses = {}

    def set_input_shape(self, name, shape):
        smallest, _, largest = self._engine._shapes[name]
        if any(not low <= n <= high for low, n, high in zip(smallest, shape, largest, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return self._shapes[name]
        tensor = self._engine._tensors[name]
        known = {
            axis: n
            for source, shape in self._shapes.items()
            for axis, n in zip(self._engine._tensors[source].shape, shape, strict=True)
        }
        return [n if isinstance(n, int) else known[n] for n in tensor.shape]

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def _memory(self, name):
        engine = self._engine
        shape = IExecutionContext.get_tensor_shape(self, name)
        dtype = np.dtype(ICudaEngine.get_tensor_dtype(engine, name).value)
        size = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self._addresses[name]), dtype).reshape(shape)

    def execute_async_v3(self, stream_handle):
        session = self._engine._session
        feeds = {name: self._memory(name).copy() for name in self._engine._inputs}
        for tensor, values in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            self._memory(tensor.name)[:] = spoil(values) if spoil else values
        return True
