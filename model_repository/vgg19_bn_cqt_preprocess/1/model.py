"""Preprocess step of vgg19_bn_cqt."""

from steps.genre import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
