"""Postprocess step of vit_b_16_mel."""

from steps.genre import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
