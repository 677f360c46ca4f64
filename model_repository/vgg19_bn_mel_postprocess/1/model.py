"""Postprocess step of vgg19_bn_mel."""

from steps.genre import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
