"""Postprocess step of emotion2vec_plus_large."""

from answers.emotion.steps import EmotionPostprocess as TritonPythonModel

__all__ = ["TritonPythonModel"]
