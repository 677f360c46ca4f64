"""Postprocess step of musicnn_mtt."""

from answers.genre.steps import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
