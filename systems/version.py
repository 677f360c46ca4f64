"""The version of Tritone, which is declared here and nowhere else.

The server prints it when it starts and every export records it in manifest.json. The client is installed without
this folder, so `python -m systems` writes a module of the client from it.
"""

from __future__ import annotations

__version__ = "0.2.0"


def client_module() -> bytes:
    """Content of client/tritone_client/version.py, from which the client's package takes its version."""
    return (
        '"""The version of the client, which is that of the server. Written by python -m systems."""\n\n'
        f'__version__ = "{__version__}"\n'
    ).encode()
