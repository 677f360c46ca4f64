"""Postprocess step of vit_b_16_mel."""

from answers.genre.steps import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
