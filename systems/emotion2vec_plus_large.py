"""Emotion2Vec+ Large: nine emotions of a speech recording and of every 20 ms of it, and embeddings."""

from systems.architectures import EMOTION2VEC
from systems.label_set import label_set
from systems.profiles import WAVEFORM
from systems.system import Checkpoint, System
from systems.tasks import EMOTION

SYSTEM = System(
    name="emotion2vec_plus_large",
    about="Emotion2Vec+ Large",
    task=EMOTION,
    architecture=EMOTION2VEC,
    spectrum=None,
    profile=WAVEFORM,
    labels=label_set("emotion2vec"),
    released=Checkpoint("emotion2vec/emotion2vec_plus_large", "model.pt"),
    embedding=1024,
)
