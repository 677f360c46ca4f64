"""Answers of music systems: ranked labels of a recording, and those of its slices."""
