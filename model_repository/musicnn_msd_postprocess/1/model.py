"""Postprocess step of musicnn_msd."""

from answers.genre.steps import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
