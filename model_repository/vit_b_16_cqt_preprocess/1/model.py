"""Preprocess step of vit_b_16_cqt."""

from answers.genre.steps import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
