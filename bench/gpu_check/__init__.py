"""Checks a machine with an NVIDIA GPU that reaches no network: docs/operations.md, "Check a GPU machine".

`prepare` collects elsewhere what such a machine lacks; `install.sh` there makes an environment of it; `run` goes
through the stages. A stage is a command of its own, so that one that fails or hangs costs the others nothing.
"""
