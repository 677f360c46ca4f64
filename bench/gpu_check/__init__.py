"""Checks a machine with an NVIDIA GPU and without a network: docs/operations.md, "Check a GPU machine".

On another machine, `prepare` collects the packages; on the GPU machine, `install.sh` creates an environment from
them, and `run` runs the stages. Each stage is a separate command, so that a failing or hanging one does not affect
the others.
"""
