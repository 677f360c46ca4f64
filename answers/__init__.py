"""Turns the outputs of a network into the answer for the client: a folder for each task, and shared modules.

`genre/` and `emotion/` have the same modules: `options` (the options of a request), `info` (metadata that the
preprocess step sends to the postprocess step), `answer` (the computation, in NumPy, importable without Triton) and
`steps` (the two Python steps of a system, for Triton's Python backend).

The package exports nothing, because `steps` can be imported only by Triton: import from the modules.
"""
