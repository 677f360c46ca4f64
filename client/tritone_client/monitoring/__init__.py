"""What a server counts, and where the time of a recording goes."""
