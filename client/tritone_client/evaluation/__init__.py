"""The accuracy of a system on labelled recordings, and the temperature that calibrates its probabilities."""
