"""A server's counters, and where the time of a recording goes."""
