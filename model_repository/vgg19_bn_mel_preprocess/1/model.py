"""Preprocess step of vgg19_bn_mel."""

from steps.genre import GenrePreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
