"""The emotions of a recording and of every 20 ms of it, and embeddings: what speech systems answer."""
