"""Postprocess step of vgg19_bn_cqt."""

from steps.genre import GenrePostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
