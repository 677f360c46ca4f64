"""The part of Triton's HTTP interface that the supervisor needs; standard library only."""

from __future__ import annotations

import http.client
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request


class ControlError(Exception):
    """Triton cannot be reached."""


class Refused(ControlError):
    """Triton answered with an error."""


class Control:
    """Checks readiness and reloads models.

    Parameters
    ----------
    http : address of the server, "http://127.0.0.1:8000"
    headers : headers of every request
    """

    def __init__(self, http: str, headers: dict[str, str]) -> None:
        self.http = http
        self._headers = headers
        self._reloads = itertools.count(1)

    def ready(self) -> bool:
        """Return whether Triton can be reached and reports that it is ready."""
        try:
            self._call("/v2/health/ready")
        except ControlError:
            return False
        return True

    def loaded(self, model: str) -> bool:
        """Return whether a model is loaded; for Triton, a model whose processes are dead is still loaded.

        Raises
        ------
        ControlError
            If Triton cannot be reached.
        """
        try:
            self._call(f"/v2/models/{model}/ready")
        except Refused:
            return False
        return True

    def reload(self, model: str, timeout: float = 120.0) -> None:
        """Reload a model; the old one serves until the new one is ready.

        Triton ignores a load request for an unchanged model, and an unload waits forever for a dead process.
        Therefore the request contains the configuration with a change that has no effect on a CPU: the number of
        input buffers from which on a GPU kernel gathers them.

        Raises
        ------
        ControlError
        """
        config = json.loads(self._call(f"/v2/models/{model}/config"))
        config.setdefault("optimization", {})["gather_kernel_buffer_threshold"] = next(self._reloads)
        body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
        self._call(f"/v2/repository/models/{model}/load", body, timeout)

    def _call(self, path: str, body: bytes | None = None, timeout: float = 20.0) -> bytes:
        request = urllib.request.Request(f"{self.http}{urllib.parse.quote(path)}", body, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise Refused(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(f"{path}: {error}") from error
