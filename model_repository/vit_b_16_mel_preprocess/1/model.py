"""Preprocess step of vit_b_16_mel."""

from answers.genre.steps import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
