"""A tritonserver process, its stubs (the processes of its Python steps) and its shared memory."""

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
EXIT_SECONDS = 5  # time limit for Triton to finish requests in flight; after a stub crash it always uses all of it
PR_SET_PDEATHSIG = 1
SEARCH_SECONDS = 10.0  # between two searches for stubs that another program has made Triton start
CHECK_SECONDS = 0.2  # between two checks of the stubs: less than between two rounds of the supervisor
GONE = ("", "T", "Z", "X")  # states of a process that does not serve: no such child, stopped, dead
# Address space of each thread's stack. Triton 24.10 parses nested JSON, and a POST body with the content type of a
# form (curl's default), recursively: with the usual 8 MiB, a file of 4 MiB overflows it. "Unlimited" would mean 2
# MiB.
STACK_BYTES = 1 << 30
# Environment variable of a restarted server: backends/rows.py then does not warm the networks.
HURRY = "TRITONE_HURRY"
LIBC = ctypes.CDLL(None, use_errno=True)

# Messages of a server built for GPUs on a machine without one, and of a stub whose server was killed.
SUPPRESSED = re.compile(
    r"CUDA driver version is insufficient|CudaDriverHelper|Failed to initialize NVML|DCGM|pinned system memory"
    r"|Non-graceful termination detected|^Signal \(\d+\) received"
)
# Lines of the level "info", some of which are followed by tables, and the one about a model.
INFO = re.compile(r"I\d{4} \d\d:\d\d:|\+-+\+|\| .*\|$")
LOADED = re.compile(r"I\d{4} .*successfully loaded '([^']+)'")


@dataclass(frozen=True)
class Stub:
    """The process of one instance of a Python step.

    Attributes
    ----------
    pid : process id
    model : name of its model
    instance : Triton's name of the instance, "vgg19_bn_cqt_preprocess_0_1"
    region : name of its shared memory
    """

    pid: int
    model: str
    instance: str
    region: str


class SharedMemory:
    """The files under /dev/shm that belong to one launcher.

    A region outlives processes that are killed. Each launcher holds a lock while it runs, so that a later launcher
    can identify and remove the regions of a dead one.
    """

    def __init__(self) -> None:
        self.prefix = f"{SHM_PREFIX}{uuid.uuid4().hex[:8]}"
        self._protected: set[str] = set()
        for lock in SHM.glob(f"{SHM_PREFIX}????????"):
            with suppress(OSError), lock.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its owner runs
                self._remove(lock.name)
        self._lock = (SHM / self.prefix).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def clear(self) -> None:
        """Remove the regions; the processes that used them must have exited."""
        for region in SHM.glob(f"{self.prefix}-*"):
            region.unlink(missing_ok=True)

    def protect(self) -> None:
        """Make new regions unreadable for other users: Triton makes them world-readable whatever the umask."""
        regions = {name for name in os.listdir(SHM) if name.startswith(f"{self.prefix}-")}
        for name in regions - self._protected:
            with suppress(OSError):
                (SHM / name).chmod(0o600)
        self._protected = regions

    def close(self) -> None:
        """Remove the regions and the lock."""
        self._remove(self.prefix)
        self._lock.close()

    def _remove(self, prefix: str) -> None:
        for region in SHM.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)


class Triton:
    """A running tritonserver; its output is forwarded to stderr and its last errors are kept.

    It exits with this process and leaves neither stubs nor shared memory behind.

    Parameters
    ----------
    command : tritonserver and its flags; it logs at least the level "info", which says what is loaded
    environment : its environment
    shared_memory : the regions of this launcher
    with_info : whether to forward the level "info", too

    Attributes
    ----------
    pid : process id
    started : time of the start, seconds of the monotonic clock
    loaded : names of the models that it has loaded
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        shared_memory: SharedMemory,
        with_info: bool = False,
    ) -> None:
        self.started = time.monotonic()
        self.loaded: set[str] = set()
        self._with_info = with_info
        self._shared_memory = shared_memory
        self._stubs: dict[int, Stub] = {}
        self._searched = self._checked = -math.inf
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
            start_new_session=True,  # Ctrl-C in a terminal reaches the launcher only, which then stops Triton
            preexec_fn=_prepare,
        )
        self.pid = self._process.pid
        self._relay = threading.Thread(target=self._pass_on, daemon=True)
        self._relay.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that killed it); None while it runs."""
        return self._process.poll()

    def reason(self) -> str:
        """Return why it exited, according to its log."""
        self._relay.join(timeout=2)  # until its last output has been read
        code = self._process.wait()
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        failed = [line for line in self._errors if "failed to" in line]
        return (failed or self._errors or [self._last or f"it exited with code {code}"])[-1]

    def stubs(self, fresh: bool = False) -> dict[int, Stub]:
        """Return the running stubs by process id, without stopped ones and zombies.

        A search through all processes of the machine takes milliseconds. Between two searches, only the processes
        that it found are checked, and if one of them has ended, the next search follows at once.

        Parameters
        ----------
        fresh : whether to search in any case, since a model may have been loaded
        """
        now = time.monotonic()
        if fresh or now > self._searched + SEARCH_SECONDS:
            self._stubs, self._searched = self._search(), now
        elif now > self._checked + CHECK_SECONDS:
            if any(_state(pid, self.pid) in GONE for pid in self._stubs):
                self._stubs, self._searched = self._search(), now
            self._checked = now
        return self._stubs.copy()

    def _search(self) -> dict[int, Stub]:
        found = {}
        for child in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if _state(child, self.pid) in GONE:
                continue
            with suppress(OSError, IndexError):
                arguments = Path(f"/proc/{child}/cmdline").read_text().split("\0")
                if Path(arguments[0]).name == "triton_python_backend_stub":
                    model = Path(arguments[1]).parent.parent.name
                    found[child] = Stub(child, model, arguments[8], arguments[2])
        return found

    def stop(self) -> None:
        """Terminate it gracefully, or kill it if that takes too long."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_SECONDS + 3)
        self.kill()

    def kill(self) -> None:
        """Kill it and its stubs, and remove their shared memory."""
        with suppress(ProcessLookupError):  # stubs would outlive a killed server and hold its ports
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._relay.join(timeout=2)
        self._shared_memory.clear()

    def protect(self) -> None:
        """Make its shared memory unreadable for other users."""
        self._shared_memory.protect()

    def has_pending(self, stub: Stub) -> bool:
        """Return whether a stub, running or not, has requests that only it can answer (backends/scheduler.py)."""
        return (SHM / f"{stub.region}.pending").exists()

    def discard(self, stub: Stub) -> None:
        """Kill a stub that is no longer used, and remove its shared memory."""
        with suppress(ProcessLookupError):
            os.kill(stub.pid, signal.SIGKILL)
        (SHM / stub.region).unlink(missing_ok=True)

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if model := LOADED.match(line):
                self.loaded.add(model[1])
            if not self._with_info and INFO.match(line):
                continue
            self._last = line.strip() or self._last
            if not line.strip() or SUPPRESSED.search(line):
                continue
            if line.startswith("E"):
                self._errors.append(line.partition("] ")[2].strip().strip('"') or line.strip())
            with suppress(OSError):
                sys.stderr.write(line)
                sys.stderr.flush()


def _prepare() -> None:
    """Runs in the new process: sets its limits, and has Linux terminate it when the launcher exits for any reason.

    With the usual limit of 1024 open files, 1200 half-open connections would block all clients.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    for resource_, wanted in ((resource.RLIMIT_STACK, STACK_BYTES), (resource.RLIMIT_NOFILE, math.inf)):
        hard = resource.getrlimit(resource_)[1]
        most = math.inf if hard == resource.RLIM_INFINITY else hard
        soft = min(wanted, most)
        resource.setrlimit(resource_, (hard if soft == math.inf else int(soft), hard))


def _state(pid: int, parent: int) -> str:
    """Return the state letter of a child of a process; "" if there is no such child."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # half the time of Path.read_text
            # The fields after the name, which is in parentheses and may contain any character.
            state, ppid = file.read().rpartition(b")")[2].split(maxsplit=2)[:2]
    except (OSError, ValueError):  # the process has exited
        return ""
    return state.decode() if int(ppid) == parent else ""
