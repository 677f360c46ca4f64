"""Answers of speech systems: emotions of a recording and of every 20 ms of it, and embeddings."""
