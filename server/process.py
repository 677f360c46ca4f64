"""One tritonserver process with its stubs (the processes of its Python steps) and its shared memory."""

from __future__ import annotations

import collections
import ctypes
import fcntl
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.installation import ROOT

SHM = Path("/dev/shm")
SHM_PREFIX = "tritone-"
EXIT_SECONDS = 5  # that Triton may take to finish what is in flight; it always takes them after a stub has crashed
PR_SET_PDEATHSIG = 1
# Of each of its threads, in address space. Triton 24.10 parses nested JSON, and the body of a POST as a form sends
# it (curl's default), by recursion: the usual 8 MiB end at a 4 MiB file. Not unlimited: that means 2 MiB.
STACK_BYTES = 1 << 30
HURRY = "TRITONE_HURRY"
"""Environment variable of a server that is started anew: backends/rows.py does not warm the networks then."""
LIBC = ctypes.CDLL(None, use_errno=True)

# What a server built for GPUs says on a machine without one, and a stub when its server has been killed.
NOT_WORTH_SAYING = re.compile(
    r"CUDA driver version is insufficient|CudaDriverHelper|Failed to initialize NVML|DCGM|pinned system memory"
    r"|Non-graceful termination detected|^Signal \(\d+\) received"
)


@dataclass(frozen=True)
class Stub:
    """The process of one instance of a Python step.

    Attributes
    ----------
    pid : its process
    model : the model it serves
    instance : Triton's name of the instance, "vgg19_bn_cqt_preprocess_0_1"
    region : name of its shared memory
    """

    pid: int
    model: str
    instance: str
    region: str


class SharedMemory:
    """The names under /dev/shm that belong to one launcher, and their removal.

    A region outlives processes that are killed. Each launcher holds a lock while it lives, so a later one can
    tell, and remove, what a dead one left.
    """

    def __init__(self) -> None:
        self.prefix = f"{SHM_PREFIX}{uuid.uuid4().hex[:8]}"
        for lock in SHM.glob(f"{SHM_PREFIX}????????"):
            with suppress(OSError), lock.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its owner lives
                self._remove(lock.name)
        self._lock = (SHM / self.prefix).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def clear(self) -> None:
        """Remove the regions, after the end of the processes that used them."""
        for region in SHM.glob(f"{self.prefix}-*"):
            region.unlink(missing_ok=True)

    def protect(self) -> None:
        """Let no other user of the machine read the regions: Triton makes them readable, whatever the umask."""
        for region in SHM.glob(f"{self.prefix}-*"):
            with suppress(OSError):
                if region.stat().st_mode & 0o077:
                    region.chmod(0o600)

    def close(self) -> None:
        """Remove everything."""
        self._remove(self.prefix)
        self._lock.close()

    def _remove(self, prefix: str) -> None:
        for region in SHM.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)


class Triton:
    """A running tritonserver; its output is passed on to stderr and its errors are remembered.

    It ends when this process does, and leaves neither stubs nor shared memory behind.
    """

    def __init__(self, command: list[str], environment: dict[str, str], shared_memory: SharedMemory) -> None:
        self.started = time.monotonic()
        self._shared_memory = shared_memory
        self._errors: collections.deque[str] = collections.deque(maxlen=20)
        self._last = ""
        self._process = subprocess.Popen(
            [*command, f"--backend-config=python,shm-region-prefix-name={shared_memory.prefix}-"],
            env=environment,
            cwd=ROOT,  # where the stubs find the packages of the steps: they ignore PYTHONPATH
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal is for the launcher, which then stops it in order
            preexec_fn=_prepare,
        )
        self.pid = self._process.pid
        self._relay = threading.Thread(target=self._pass_on, daemon=True)
        self._relay.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs."""
        return self._process.poll()

    def reason(self) -> str:
        """Why it ended, as far as its log tells."""
        self._relay.join(timeout=2)  # until its last words have been read
        code = self._process.wait()
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        failed = [line for line in self._errors if "failed to" in line]
        return (failed or self._errors or [self._last or f"it exited with code {code}"])[-1]

    def stubs(self) -> dict[int, Stub]:
        """The living stubs by process id. One that is stopped or a zombie does not live."""
        found = {}
        for child, state in _children(self.pid).items():
            if state in "TZX":
                continue
            with suppress(OSError, IndexError):
                arguments = Path(f"/proc/{child}/cmdline").read_text().split("\0")
                if Path(arguments[0]).name == "triton_python_backend_stub":
                    model = Path(arguments[1]).parent.parent.name
                    found[child] = Stub(child, model, arguments[8], arguments[2])
        return found

    def stop(self) -> None:
        """End it in order, by force if it takes too long."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_SECONDS + 3)
        self.kill()

    def kill(self) -> None:
        """End it and its stubs at once, and remove their shared memory."""
        with suppress(ProcessLookupError):  # stubs outlive a killed server and would hold its ports
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._relay.join(timeout=2)
        self._shared_memory.clear()

    def protect(self) -> None:
        """Keep its shared memory from other users."""
        self._shared_memory.protect()

    def owes(self, stub: Stub) -> bool:
        """Whether a stub, alive or not, has requests that only it would ever have answered (backends/turns.py)."""
        return (SHM / f"{stub.region}.owed").exists()

    def discard(self, stub: Stub) -> None:
        """End a stub that is out of service, and remove its shared memory."""
        with suppress(ProcessLookupError):
            os.kill(stub.pid, signal.SIGKILL)
        (SHM / stub.region).unlink(missing_ok=True)

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last = line.strip() or self._last
            if not line.strip() or NOT_WORTH_SAYING.search(line):
                continue
            if line.startswith("E"):
                self._errors.append(line.partition("] ")[2].strip().strip('"') or line.strip())
            with suppress(OSError):
                sys.stderr.write(line)
                sys.stderr.flush()


def _prepare() -> None:
    """In the new process: have Linux end it in order when the launcher is gone, however that happened; its limits.

    With the usual 1024 open files, 1200 half-open connections would lock everybody out.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    for resource_, wanted in ((resource.RLIMIT_STACK, STACK_BYTES), (resource.RLIMIT_NOFILE, math.inf)):
        hard = resource.getrlimit(resource_)[1]
        most = math.inf if hard == resource.RLIM_INFINITY else hard
        soft = min(wanted, most)
        resource.setrlimit(resource_, (hard if soft == math.inf else int(soft), hard))


def _children(parent: int) -> dict[int, str]:
    """Process ids of the children of a process, and their state letters."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile
            # The fields after the name, which is in brackets and may contain anything.
            state, ppid = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent:
                children[int(entry)] = state
    return children
