"""Preprocess step of vit_b_16_cqt."""

from steps.genre import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
