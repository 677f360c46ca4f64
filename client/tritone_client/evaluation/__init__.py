"""How often a system is right on labelled recordings, and the temperature that calibrates its probabilities."""
