"""Preprocess step of emotion2vec_plus_large."""

from steps.emotion import EmotionPreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
