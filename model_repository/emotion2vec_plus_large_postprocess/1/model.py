"""Postprocess step of emotion2vec_plus_large."""

from steps.emotion import EmotionPostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
