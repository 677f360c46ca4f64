"""Finds the fastest settings for this machine: `knobs` defines the settings, `python -m tuning` searches them."""
