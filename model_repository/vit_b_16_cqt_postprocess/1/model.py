"""Postprocess step of vit_b_16_cqt."""

from answers.genre.steps import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
