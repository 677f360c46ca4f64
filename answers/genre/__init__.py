"""A recording's labels, ranked, with those of its slices: what music systems answer."""
