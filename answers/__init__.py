"""What a network computed -> the answer that a client gets: a folder for each kind, and what they share.

`genre/` and `emotion/` have the same modules: `options` (what a client may ask), `info` (what the first step says
to the last), `answer` (the numbers, in NumPy, importable without Triton) and `steps` (the two Python steps of a
system, as Triton's Python backend wants them).
"""
