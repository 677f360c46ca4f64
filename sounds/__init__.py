"""Synthetic sound, free of any rights: recordings for demo weights, tests, benchmarks and examples.

`generate` makes samples, `recordings` makes files like those that users send, `examples` writes
those that the documentation and the web page use.
"""

from sounds.generate import FAMILIES, Samples, sound
from sounds.recordings import SUBTYPES, collection, recording, utterance, utterances

__all__ = ["FAMILIES", "SUBTYPES", "Samples", "collection", "recording", "sound", "utterance", "utterances"]
