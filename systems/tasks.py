"""The tasks: for each kind of answer the tensors between the steps, the limits and the outputs for clients."""

from __future__ import annotations

from systems.profiles import ARTICLE_A, ARTICLE_B, CCMUSIC, PATCHES, WAVEFORM
from systems.system import ROW, Parameter, Shm, Task, Tensor

# Maximum slices to explain, each of which costs as much as an answer while others wait, or to return as images.
MOST_SHOWN = 4

AUDIO = Tensor("AUDIO", "STRING", (1,), "an encoded file", optional=True)
# The inputs of every system.
RECORDING = (
    AUDIO,
    Tensor("PCM", "FP32", (-1,), "or mono samples in [-1, 1]", optional=True),
    Tensor("SAMPLE_RATE", "INT32", (1,), "and their rate in Hz", optional=True),
    Tensor("OPTIONS", "STRING", (1,), "a JSON object, see docs/options.md", optional=True),
)
RESULT = Tensor("RESULT", "STRING", (1,), "the whole answer as JSON")
INFO = Tensor("INFO", "STRING", (1,), "metadata of the recording, from preprocess to postprocess")

MAX_SECONDS, MAX_SPEECH_SECONDS = 3600, 600


def limits(max_seconds: int, note: str = "") -> tuple[Parameter, ...]:
    """Return the limits of a preprocess step."""
    return (
        Parameter("max_bytes", "67108864", "of the encoded file"),
        Parameter("max_seconds", str(max_seconds), note),
        Parameter("max_channels", "8"),
        Parameter("min_sr", "4000", "Hz"),
        Parameter("max_sr", "192000", "Hz"),
    )


GENRE = Task(
    name="genre",
    steps=("GenrePreprocess", "GenrePostprocess"),
    profiles=(CCMUSIC, ARTICLE_A, ARTICLE_B, PATCHES),
    inputs=(Tensor("ROWS", "FP32", ROW, "one row per slice"),),
    outputs=(
        Tensor("EMBEDDING", "FP32", ("embedding",), "of the row"),
        Tensor("LOGITS", "FP32", ("classes",)),
    ),
    used=("LOGITS", "EMBEDDING"),
    kept=(
        Tensor("KEPT_ROWS", "FP32", ("n", "channels", "height", "width"), "the rows, for explain and pictures"),
    ),
    answers=(
        Tensor("PROBABILITIES", "FP32", ("classes",)),
        Tensor("LABELS", "STRING", ("classes",)),
        Tensor("SLICE_PROBABILITIES", "FP32", ("slices", "classes")),
        RESULT,
        Tensor("EMBEDDING", "FP32", ("embedding",), "the mean over the slices"),
        Tensor("EXPLANATION", "FP32", ("n", "height", "width"), "[k, 14, 14] in [0, 1]; option explain"),
        Tensor("PICTURES", "UINT8", ("n", "height", "width", "channels"), "[k, 224, 224, 3]; option pictures"),
    ),
    labelled="PROBABILITIES",
    limits=limits(MAX_SECONDS),
    on_gpu=Parameter("gpu_spectrum", '"auto"', "on the GPU if that is faster"),
    # Two preprocess instances, each with a file of 64 MiB and 32 rows of 3 x 224 x 224 floats (18.4 MiB); the rows
    # again for the network; and for an explanation the rows again from either instance and for the postprocess
    # step, which passes four of them on: 243 MiB. On a GPU there are two instances of the network and eight
    # preprocess instances.
    shm=Shm(cpu=256, gpu=896),
    warm_info={
        **{"options": {}, "slices": [[0.0, 1.0]], "slices_total": 1},
        **{"duration": 1.0, "seconds_used": 1.0, "notes": []},
    },
    texts={
        "answers": "recording in, labels out",
        "rows": "slices",
        "file": "song.mp3",
        "prepares": "Decodes a recording and computes its spectrogram (answers/genre/steps.py, preprocess/).",
        "concludes": "Turns logits into the answer (answers/genre/). The labels come from manifest.json.",
        "ready": "the decoder and the filters",
        "warm": "one slice",
    },
)
EMOTION = Task(
    name="emotion",
    steps=("EmotionPreprocess", "EmotionPostprocess"),
    profiles=(WAVEFORM,),
    inputs=(
        Tensor("WAV", "FP32", ("samples",), "normalised samples, padded with zeros"),
        Tensor("LENGTH", "INT64", (1,), "how many of them are not padding"),
    ),
    outputs=(
        Tensor("FEATURES", "FP32", ("frames", "embedding"), "one for every 20 ms"),
        Tensor("FRAME_LOGITS", "FP32", ("frames", "classes")),
        Tensor("EMBEDDING", "FP32", ("embedding",), "the mean over the row's own frames"),
        Tensor("LOGITS", "FP32", ("classes",)),
    ),
    used=("FEATURES", "FRAME_LOGITS"),
    answers=(
        Tensor("SCORES", "FP32", ("classes",)),
        Tensor("LABELS", "STRING", ("classes",)),
        Tensor("FRAME_SCORES", "FP32", ("frames", "classes"), "one row for every 20 ms"),
        Tensor("SEGMENTS", "STRING", (1,), "the timeline as a JSON list"),
        Tensor("EMBEDDING", "FP32", ("embedding",)),
        Tensor(
            "FRAME_EMBEDDINGS",
            "FP32",
            ("frames", "embedding"),
            "with option frame_embeddings; else one row, the mean",
        ),
        RESULT,
    ),
    labelled="SCORES",
    limits=limits(MAX_SPEECH_SECONDS, "31 windows; the network takes 32"),
    on_gpu=Parameter("buckets", '"coarse"', "fewer lengths: fuller batches"),
    # Ten minutes are 41 MiB as rows. The network's outputs per frame are 131 MiB, which the postprocess step reads
    # and, if all outputs are requested, passes on.
    shm=Shm(cpu=704, gpu=1536),
    warm_info={"options": {}, "windows": [[0, 0, 49]], "duration": 1.0, "silent": False, "notes": []},
    warm_sizes={"frames": 49},
    texts={
        "answers": "speech in, emotions out, of the whole recording and of every 20 ms of it",
        "rows": "windows",
        "file": "speech.wav",
        "prepares": "Decodes a recording, resamples it to 16 kHz and cuts it into windows"
        " (answers/emotion/steps.py, preprocess/speech.py).",
        "concludes": "Turns features and logits of the frames into the answer (answers/emotion/). The labels come"
        " from manifest.json.",
        "cached": "For the same reason FRAME_EMBEDDINGS has an option of its own: 4 KiB for every 20 ms would fill"
        " the cache for clients that never read them. Without the option the tensor has one row, the mean, because"
        " the cache does not store an answer with an empty tensor.",
        "outputs": "Padded frames have outputs, too, which mean nothing. INFO says which frames are the"
        " recording's.",
        "ready": "the decoder and the resampler",
        "warm": "one second",
    },
)

TASKS: dict[str, Task] = {task.name: task for task in (GENRE, EMOTION)}
