"""Preprocess step of vgg19_bn_cqt."""

from answers.genre.steps import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
