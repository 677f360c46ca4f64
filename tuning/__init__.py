"""Finds the fastest settings for this machine: `knobs` says what can be turned, `python -m tuning` turns it."""
