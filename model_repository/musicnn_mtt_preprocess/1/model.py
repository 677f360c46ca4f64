"""Preprocess step of musicnn_mtt."""

from answers.genre.steps import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
