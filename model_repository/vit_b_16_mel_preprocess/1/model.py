"""Preprocess step of vit_b_16_mel."""

from steps.genre import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
