"""Generated sound, free of any rights: recordings for demo weights, tests, benchmarks and examples.

`generate` makes the samples, `recordings` the files that users send, `examples` those of the web page.
"""

from sounds.generate import FAMILIES, Samples, sound
from sounds.recordings import SUBTYPES, collection, recording, utterance, utterances

__all__ = ["FAMILIES", "SUBTYPES", "Samples", "collection", "recording", "sound", "utterance", "utterances"]
