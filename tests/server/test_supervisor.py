"""The supervisor against the real Triton: what is killed comes back, and what is stopped is gone."""

import os
import random
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from server.healthcheck import requests
from systems.version import __version__
from tests.support import tiny
from tests.support.launcher import Load, alive, shared_memory
from tests.support.waiting import wait_until


def whole(launcher) -> None:
    """Assert that several requests in a row are answered at the first attempt."""
    for _ in range(6):
        level = random.random()
        answer = launcher.classify(tiny.wav(1, level))
        assert answer["rows"] == 1 and answer["sum"] == pytest.approx(tiny.expected(1, level), rel=0.02, abs=0.02)


def test_killed_and_stopped_stubs_are_replaced_under_load(launch):
    launcher = launch().until_ready()
    triton = launcher.triton()
    deeds = [("tiny_preprocess", 1, signal.SIGKILL), ("tiny_preprocess", 2, signal.SIGKILL)]
    deeds += [("tiny_network", 1, signal.SIGKILL), ("tiny_preprocess", 1, signal.SIGSTOP)]
    with Load(launcher) as load:
        for done, (model, count, number) in enumerate(deeds, 1):
            time.sleep(0.5)
            before = load.answers
            for pid in launcher.stubs(model)[-count:]:
                os.kill(pid, number)
            wait_until(lambda done=done: launcher.log.count("; reloaded ") == done, 10)
            wait_until(lambda before=before: load.answers > before + 20, 10)
        time.sleep(2)
        whole(launcher)
    assert not load.wrong
    assert launcher.triton() == triton
    assert "lost tiny_network_0_0 (process" in launcher.log
    assert launcher.stop() == 0


def test_a_killed_server_is_started_anew_under_load(launch):
    launcher = launch().until_ready()
    first = launcher.triton()
    with Load(launcher) as load:
        time.sleep(0.5)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: "is ready again" in launcher.log, 10)
        whole(launcher)
    assert load.answers
    assert not load.wrong
    assert "restarting Triton: it was killed by SIGKILL" in launcher.log
    assert launcher.ready_file.exists()


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino"])
def test_a_server_that_is_started_anew_answers_rightly_without_being_warmed(launch, tiny_repository, variant):
    """As many batches are left out as there are in model_warmup, and none of a client."""
    name = "config.pbtxt" if variant == "onnxruntime" else "configs/openvino.pbtxt"
    config = tiny_repository / "tiny_network" / name
    sample = "key: 'ROWS' value { data_type: TYPE_FP32 dims: [ 3 ] random_data: true }"
    entries = (f"{{ name: '{n} rows' batch_size: {n} inputs {{ {sample} }} }}" for n in (1, 2, 4))
    config.write_text(config.read_text() + f"model_warmup [ {', '.join(entries)} ]\n")
    launcher = launch("--probe-seconds=60", f"--variant={variant}").until_ready()
    whole(launcher)
    os.kill(launcher.triton(), signal.SIGKILL)
    wait_until(lambda: "is ready again" in launcher.log, 20)
    whole(launcher)


def test_a_step_that_hangs_is_found_by_asking(launch, tiny_repository):
    step = tiny_repository / "tiny_preprocess/1/model.py"
    hang = f"import os\n        while os.path.exists({str(tiny_repository / 'hang')!r}): time.sleep(0.1)"
    step.write_text(tiny.PREPROCESS.replace("time.sleep(0.02)", hang))
    launcher = launch("--probe-seconds=0.5", "--hang-seconds=5").until_ready()
    (tiny_repository / "hang").touch()
    wait_until(lambda: "has answered nothing for 5 s" in launcher.log, 20)
    (tiny_repository / "hang").unlink()
    wait_until(lambda: "is ready again" in launcher.log, 20)
    assert launcher.ready_file.exists()
    whole(launcher)


def test_a_model_that_somebody_unloads_stays_unloaded(launch):
    launcher = launch("--probe-seconds=60").until_ready()
    for model in ("tiny_raw", "tiny", "tiny_postprocess"):
        post(launcher, f"{model}/unload", launchers_key(launcher))
    wait_until(lambda: not launcher.stubs("tiny_postprocess"))
    time.sleep(1.5)
    assert "lost" not in launcher.log
    assert not launcher.stubs("tiny_postprocess")


def post(launcher, path: str, headers: dict[str, str]) -> None:
    url = f"{launcher.http}/v2/repository/models/{path}"
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers, method="POST")):
        pass


def launchers_key(launcher) -> dict[str, str]:
    command = Path("/proc", str(launcher.triton()), "cmdline").read_text()
    return {"tritone-key": re.search(r"tritone-key=(\w+)", command)[1]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_stop_leaves_nothing(launch, number):
    launcher = launch().until_ready()
    prefix = launcher.memory_prefix()
    processes = [launcher.triton(), *launcher.stubs("tiny_preprocess"), *launcher.stubs("tiny_network")]
    assert len(processes) == 4
    assert len(shared_memory(prefix)) > 4
    os.kill(launcher.stubs("tiny_preprocess")[0], signal.SIGKILL)  # also after a recovery
    wait_until(lambda: "; reloaded " in launcher.log)
    assert launcher.stop(number) == 0
    assert not any(map(alive, processes))
    assert not shared_memory(prefix)
    assert not launcher.ready_file.exists()


def test_a_second_signal_ends_it_at_once(launch):
    launcher = launch().until_ready()
    began = time.monotonic()
    launcher.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    launcher.stop(signal.SIGINT)
    assert time.monotonic() - began < 2.5  # in order it takes Triton longer than that


def test_the_server_does_not_outlive_its_launcher(launch):
    launcher = launch().until_ready()
    processes = [launcher.triton(), *launcher.stubs("tiny_preprocess"), *launcher.stubs("tiny_network")]
    prefix = launcher.memory_prefix()
    launcher.process.kill()
    wait_until(lambda: not any(map(alive, processes)), 15)
    again = launch().until_ready()  # removes what the first could not
    assert not shared_memory(prefix)
    assert again.stop() == 0


@pytest.mark.slow
def test_a_server_that_does_not_come_up_again_is_started_ever_later_and_never_given_up(launch, tiny_repository):
    launcher = launch().until_ready()
    step = tiny_repository / "tiny_postprocess/1/model.py"
    step.write_text("raise RuntimeError('spoiled meanwhile')\n")
    os.kill(launcher.triton(), signal.SIGKILL)
    wait_until(lambda: "restarting Triton in 7 s" in launcher.log, 60)
    assert re.search(r"restarting Triton: .*\n(.*\n)*.* in 1 s: .*spoiled.*\n(.*\n)*.* in 3 s", launcher.log)
    step.write_text(tiny.POSTPROCESS)
    wait_until(lambda: "Triton is ready again" in launcher.log, 60)
    whole(launcher)


HANGING = tiny.PREPROCESS.replace("time.sleep(0.02)", "time.sleep(600 if audio == b'hang' else 0.02)")


def test_a_step_that_hangs_is_found_behind_a_full_queue(launch, tiny_repository):
    """Both processes of the step hang, and so many wait that every probe is refused with 503."""
    (tiny_repository / "tiny_preprocess/1/model.py").write_text(HANGING)
    launcher = launch("--hang-seconds=3").until_ready()
    url = f"{launcher.http}/v2/models/tiny_raw/infer"

    def hang() -> None:
        with suppress(OSError):
            request = urllib.request.Request(url, b"hang", {"Inference-Header-Content-Length": "0"})
            urllib.request.urlopen(request, timeout=30)

    for _ in range(24):
        threading.Thread(target=hang, daemon=True).start()
    wait_until(lambda: "tiny has answered nothing for 3 s" in launcher.log, 15)
    assert launcher.classify_with_retries(tiny.wav(2), 15)["rows"] == 2


def test_only_the_launcher_loads_models(launch):
    """A model is code, and a web page can make any browser post to a port of its own machine."""
    launcher = launch().until_ready()
    for refused in ("tiny/unload", "tiny/load"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            post(launcher, refused, {})
    os.kill(launcher.stubs("tiny_preprocess")[0], signal.SIGKILL)
    wait_until(lambda: "; reloaded " in launcher.log, 10)
    whole(launcher)


def test_a_signal_while_it_loads_stops_it(launch, tiny_repository):
    step = tiny_repository / "tiny_postprocess/1/model.py"
    step.write_text("import time\ntime.sleep(8)\n" + tiny.POSTPROCESS)
    launcher = launch()
    wait_until(lambda: launcher.log.startswith(f"tritone: version {__version__}, starting tiny on"))
    time.sleep(1.5)
    assert launcher.stop() == 0
    assert "did not start" not in launcher.log


def test_probes_are_not_counted_as_answers_of_the_system(launch):
    launcher = launch("--probe-seconds=0.2").until_ready()
    launcher.classify(tiny.wav())

    def answered(model: str) -> int:
        return requests(launcher.http, model)[model].answered

    wait_until(lambda: answered("tiny_network") > 5)
    assert (answered("tiny"), answered("tiny_raw")) == (1, 1)
    every = requests(launcher.http)
    assert every.keys() == {
        "tiny" + part for part in ("", "_raw", "_chain", "_preprocess", "_network", "_postprocess")
    }
    assert (every["tiny"].answered, every["tiny"].ended) == (1, 1) and every["tiny_network"].answered > 5


@pytest.mark.slow
def test_an_idle_server_is_probed_less_often(launch):
    launcher = launch("--probe-seconds=0.3").until_ready()

    def probed(seconds: float) -> int:
        before = requests(launcher.http, "tiny_network")["tiny_network"].answered
        time.sleep(seconds)
        return requests(launcher.http, "tiny_network")["tiny_network"].answered - before

    assert probed(9) >= 5  # one a second
    assert 1 <= probed(20) <= 5  # after 30 periods without a client, one in 30 periods
