"""The version of the client, which is that of the server. Written by python -m systems."""

__version__ = "0.2.0"
