"""Postprocess step of vit_b_16_cqt."""

from steps.genre import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
