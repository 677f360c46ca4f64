"""Postprocess step of vgg19_bn_mel."""

from answers.genre.steps import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
