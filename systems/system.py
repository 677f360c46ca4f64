"""The classes that declare a served system, and what several systems share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from systems.label_set import LabelSet
from systems.profiles import Profile

# Size of an axis: a number; "classes" or "embedding", whose size the system defines; or the name of a free axis.
Size = int | str
# The axes of a row of the network, which the system's profile defines.
ROW = ("row",)
# How logits become probabilities: of exclusive classes, or of independent ones.
ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a network or a step, without the batch axis.

    Attributes
    ----------
    name, type : as in Triton, e.g. "ROWS", "FP32"
    dims : the axes
    note : comment in the configuration
    optional : whether a client may omit it
    """

    name: str
    type: str
    dims: tuple[Size, ...]
    note: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Parameter:
    """A parameter that a preprocess step reads."""

    key: str
    value: str
    note: str = ""


# Preprocess instances for a network on a GPU, in the configurations; the launcher starts one per core.
PROCESSES = 8


@dataclass(frozen=True)
class Shm:
    """Maximum MiB of /dev/shm for the steps of a system, with the network on a CPU or on a GPU (`PROCESSES`)."""

    cpu: int
    gpu: int


@dataclass(frozen=True)
class Task:
    """A kind of answer: what all systems with this kind share.

    Attributes
    ----------
    name : also the folder of its modules, `answers/<name>/`
    steps : classes in `answers/<name>/steps.py`, preprocess and postprocess
    profiles : profiles that can prepare its recordings
    inputs, outputs : tensors of the network
    used : names of the network's outputs that the postprocess step reads
    answers : output tensors for clients
    labelled : name of the output with a value for each class
    limits : limits of accepted recordings
    on_gpu : additional parameter of the preprocess step if the network runs on a GPU
    shm : shared memory for the tensors between the steps
    warm_info : INFO of one second of sound with default options
    texts : phrases of comments, by place (configurations.py)
    kept : tensors from the preprocess to the postprocess step beside INFO
    warm_sizes : name of a free axis -> its size for that second, if not 1
    """

    name: str
    steps: tuple[str, str]
    profiles: tuple[Profile, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    used: tuple[str, ...]
    answers: tuple[Tensor, ...]
    labelled: str
    limits: tuple[Parameter, ...]
    on_gpu: Parameter
    shm: Shm
    warm_info: Mapping[str, object]
    texts: Mapping[str, str]
    kept: tuple[Tensor, ...] = ()
    warm_sizes: Mapping[Size, int] = field(default_factory=dict)

    @property
    def has_images(self) -> bool:
        """Whether rows are images, all of one size, and not waveforms of many lengths."""
        return self.inputs[0].dims == ROW

    def row(self, profile: Profile) -> dict[str, object]:
        """Return the first input of its networks: name, and shape of a row."""
        return {"name": self.inputs[0].name, "shape": list(profile.shape)}


@dataclass(frozen=True)
class Architecture:
    """A kind of network, which several systems may share.

    Attributes
    ----------
    name, title : e.g. "vgg19_bn", "VGG19_BN"
    module : class that builds it from a state dict, e.g. "export.vgg:VGG19BN"
    key : name of a tensor that only its checkpoints have
    demo_head : sizes of the head of demo weights, without the classes; empty if they are made in another way
    explainer : function that turns its graph into an explanation network, e.g. "export.explain:grad_cam"; or None
    explained_by : name of that method
    """

    name: str
    title: str
    module: str
    key: str
    demo_head: tuple[int, ...] = ()
    explainer: str | None = None
    explained_by: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights released in a repository of the Hugging Face hub, and the file in it."""

    repository: str
    file: str


@dataclass(frozen=True)
class Package:
    """Weights released as data files of a Python package; its code never runs.

    Attributes
    ----------
    name, version : as on PyPI
    folder : folder of its checkpoint, relative to the folder of installed packages
    reader : function that reads a state dict of NumPy arrays from that folder: "export.musicnn_package:read"
    builder : function that builds an ONNX network from that state dict: "export.musicnn_package:build"
    answers : function that yields recordings and the package's own answers: "export.musicnn_answers:known"
    licence, citation : of the weights
    """

    name: str
    version: str
    folder: str
    reader: str
    builder: str
    answers: str
    licence: str
    citation: str


@dataclass(frozen=True)
class System:
    """A served system.

    Attributes
    ----------
    name : name of the served model; also the folder of its checkpoint
    about : description for people, e.g. "VGG19_BN over a CQT spectrogram"
    task : kind of answer
    architecture : kind of network
    spectrum : "cqt" or "mel", the spectrogram that it was trained on; None: it takes the waveform
    profile : preprocessing that its weights expect
    labels : classes in output order
    activation : how logits become probabilities, one of `ACTIVATIONS`
    released : where its weights are released; None: nowhere
    max_batch_size : maximum rows of a batch, and therefore of a recording
    embedding : size of the embedding that the network returns beside the classes; None: no embedding
    by_default : whether commands that name no system include it
    like : for a user's own system, the declared system that it resembles
    declared_in : for a system that a user declared, the name of that file
    """

    name: str
    about: str
    task: Task
    architecture: Architecture
    spectrum: str | None
    profile: Profile
    labels: LabelSet = field(repr=False)
    activation: str = "softmax"
    released: Checkpoint | Package | None = None
    max_batch_size: int = 32
    embedding: int | None = None
    by_default: bool = True
    like: str | None = None
    declared_in: str | None = None

    def __post_init__(self) -> None:
        if self.spectrum not in self.profile.spectra:
            choice = ", ".join(map(str, self.profile.spectra))
            raise ValueError(f"{self.name}: spectrum {self.spectrum!r} is not one of {choice}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"{self.name}: activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")
        if self.activation == "sigmoid" and self.labels.levels:
            raise ValueError(f"{self.name}: independent classes (sigmoid) have no coarser levels")

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own system, which no file of this project declares."""
        return bool(self.like or self.declared_in)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that can prepare its rows: its own, and those of its task with rows of the same shape."""
        return profiles_for(self.task, self.profile, self.spectrum)

    def can(self, command: str) -> bool:
        """Whether `python -m export <command>` supports it."""
        able = {"int8": self.task.has_images, "explain": bool(self.architecture.explainer)}
        return able.get(command, True)

    def own(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Select the tensors that it has: not every system returns an embedding."""
        return [tensor for tensor in tensors if self.embedding or "embedding" not in tensor.dims]

    @property
    def used(self) -> list[Tensor]:
        """The outputs of its network that the postprocess step reads, in the order of the task's `used`."""
        outputs = {tensor.name: tensor for tensor in self.own(self.task.outputs)}
        return [outputs[name] for name in self.task.used if name in outputs]

    def shape(self, tensor: Tensor) -> list[int]:
        """Return the shape of a tensor as Triton declares it; -1 for a free axis."""
        return [self.size(axis) for axis in self.dims(tensor)]

    def dims(self, tensor: Tensor) -> tuple[Size, ...]:
        """Return the axes of a tensor; those of a row with their sizes."""
        return self.profile.shape if tensor.dims == ROW else tensor.dims

    def size(self, axis: Size) -> int:
        """Return the size of an axis; -1 for a free one."""
        known = {"classes": len(self.labels), "embedding": self.embedding or -1}
        return axis if isinstance(axis, int) else known.get(axis, -1)


def profiles_for(task: Task, profile: Profile, spectrum: str | None) -> tuple[Profile, ...]:
    """Return the profile that weights expect, and the task's other profiles with rows of the same shape."""
    others = (each for each in task.profiles if each.suits(profile.shape, spectrum) and each.name != profile.name)
    return profile, *others
