"""Preprocess step of emotion2vec_plus_large."""

from answers.emotion.steps import EmotionPreprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
