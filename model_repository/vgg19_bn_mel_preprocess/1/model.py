"""Preprocess step of vgg19_bn_mel."""

from answers.genre.steps import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
