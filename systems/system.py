"""What is declared of a served system, and of what several have in common: data that other folders read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from systems.label_set import LabelSet
from systems.profiles import Profile

# Of an axis: a number; "classes" or "embedding", which the system knows; or the name of one that is free.
Size = int | str
# The axes of a row of its network, which the system's profile knows.
ROW = ("row",)
# Logits -> probabilities: one class is right, or each is for itself.
ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a network or of a step, without the batch.

    Attributes
    ----------
    name, type : as in Triton: "ROWS", "FP32"
    dims : its axes
    note : what operators should know of it; its comment in the configuration
    optional : whether a client may leave it out
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


# That prepare recordings for a network on a GPU, as the configurations say; the launcher takes one a core.
PROCESSES = 8


@dataclass(frozen=True)
class Shm:
    """MiB of /dev/shm that the steps of a system take at most, by where its network runs (a GPU: `PROCESSES`)."""

    cpu: int
    gpu: int


@dataclass(frozen=True)
class Task:
    """A kind of answer: what the systems that give it have in common.

    Attributes
    ----------
    name : and of the folder of its modules, `answers/<name>/`
    steps : classes of `steps` there, preprocess and postprocess
    profiles : that its recordings can be prepared by
    inputs, outputs : of the network
    used : names of the outputs that make the answer
    answers : what a client may ask for
    labelled : the one of them that has a value for each class
    limits : of what is accepted
    on_gpu : the preprocess step's further parameter where the network runs on a GPU
    shm : what its steps pass through shared memory
    warm_info : a INFO of a second of sound, with default options
    texts : what comments say of it, by place (configurations.py)
    kept : what the preprocess step sends to the postprocess step beside INFO
    warm_sizes : name of a free axis -> its size for that second, where that is not 1
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
        """Whether rows are pictures, all of one size, and not waveforms of many lengths."""
        return self.inputs[0].dims == ROW

    def row(self, profile: Profile) -> dict[str, object]:
        """The first input of its networks: name, and shape of a row."""
        return {"name": self.inputs[0].name, "shape": list(profile.shape)}


@dataclass(frozen=True)
class Architecture:
    """A kind of network, which several systems may have.

    Attributes
    ----------
    name, title : "vgg19_bn", "VGG19_BN"
    module : class that makes it of a state dict, "export.vgg:VGG19BN"
    key : name of a tensor that only its checkpoints have
    demo_head : sizes of the head of demo weights, without the classes; empty where they are made in another way
    explainer : function that makes of its graph one that explains, "export.explain:grad_cam"; None without one
    explained_by : the name of that method
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
    """Where weights are released: a repository of the Hugging Face hub, and the file in it."""

    repository: str
    file: str


@dataclass(frozen=True)
class Package:
    """Where weights are released: data files of a package that is installed, whose code is never run.

    Attributes
    ----------
    name, version : as on PyPI
    folder : of its checkpoint, as seen from the one that packages are installed in
    reader : function that makes a state dict of that folder, "export.musicnn:read"
    licence, citation : of the weights
    """

    name: str
    version: str
    folder: str
    reader: str
    licence: str
    citation: str


@dataclass(frozen=True)
class System:
    """A served system.

    Attributes
    ----------
    name : of the served model; also the folder of its checkpoint
    about : what it is, for people: "VGG19_BN over a CQT spectrogram"
    task : the kind of its answer
    architecture : the kind of its network
    spectrum : "cqt" or "mel", the picture that it was trained on; None: it takes the waveform
    profile : preprocessing that its weights expect
    labels : classes in output order
    activation : what makes probabilities of its logits, one of `ACTIVATIONS`
    released : where its weights are; None where nowhere
    max_batch_size : rows that its network takes at once, and so the most that a recording has
    embedding : values of the embedding that it puts out beside the classes; None where it has none
    by_default : whether commands work on it that name no system
    like : of a system of the user's own, the declared one that it is like
    declared_in : of one that the user has declared, the name of that file
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
        """Whether it is one of the user's own, which no file of this project declares."""
        return bool(self.like or self.declared_in)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """That its rows can be prepared by: its own, and those of its task that make such rows."""
        return profiles_for(self.task, self.profile, self.spectrum)

    def can(self, command: str) -> bool:
        """Whether `python -m export <command>` makes something of it."""
        able = {"int8": self.task.has_images, "explain": bool(self.architecture.explainer)}
        return able.get(command, True)

    def own(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Those of its task's tensors that it has: not every system puts out an embedding."""
        return [tensor for tensor in tensors if self.embedding or "embedding" not in tensor.dims]

    @property
    def used(self) -> list[Tensor]:
        """The outputs of its network that make the answer, in the order of its task's `used`."""
        outputs = {tensor.name: tensor for tensor in self.own(self.task.outputs)}
        return [outputs[name] for name in self.task.used if name in outputs]

    def shape(self, tensor: Tensor) -> list[int]:
        """Of a tensor, as Triton declares it; -1 where an axis is free."""
        return [self.size(axis) for axis in self.dims(tensor)]

    def dims(self, tensor: Tensor) -> tuple[Size, ...]:
        """The axes of a tensor, those of a row with their sizes."""
        return self.profile.shape if tensor.dims == ROW else tensor.dims

    def size(self, axis: Size) -> int:
        """Of an axis; -1 where it is free."""
        known = {"classes": len(self.labels), "embedding": self.embedding or -1}
        return axis if isinstance(axis, int) else known.get(axis, -1)


def profiles_for(task: Task, profile: Profile, spectrum: str | None) -> tuple[Profile, ...]:
    """The profile that weights expect, and the other ones of the task that make rows of the same shape."""
    others = (each for each in task.profiles if each.suits(profile.shape, spectrum) and each.name != profile.name)
    return profile, *others
