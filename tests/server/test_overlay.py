"""How many processes prepare recordings beside a GPU: by the cores and /dev/shm, and in the real Triton."""

from pathlib import Path

import pytest

from server import overlay
from server.errors import ServerError
from systems import SYSTEMS
from systems.repository import Repository
from tests.support import tiny
from tests.support.launcher import Launcher

NEEDS = {name: SYSTEMS[name].task.shm for name in ("vgg19_bn_cqt", "emotion2vec_plus_large")}
ROOM = 1 << 40
EIGHT = (896 + 1536) << 20


@pytest.mark.parametrize(
    ("cores", "free", "processes"),
    [
        *((1, ROOM, 2), (4, ROOM, 4), (16, ROOM, 16), (128, ROOM, 32)),
        *((16, 2 * EIGHT, 16), (16, EIGHT, 8), (16, 2 * EIGHT - 1, 15), (16, 1, 2)),
    ],
)
def test_one_for_each_core_as_far_as_there_is_room(cores, free, processes):
    assert overlay.fitting(NEEDS, cores, free) == processes


def test_many_systems_share_what_a_machine_bears():
    five = {f"{k}": SYSTEMS["vgg19_bn_cqt"].task.shm for k in range(5)}
    assert [overlay.fitting(five, cores, ROOM) for cores in (8, 16, 128)] == [8, 12, 12]
    forty = {f"{k}": SYSTEMS["vgg19_bn_cqt"].task.shm for k in range(40)}
    assert overlay.fitting(forty, 16, ROOM) == 2


def test_what_so_many_need_is_never_less_than_on_the_cpu():
    assert overlay.needed(NEEDS, 8) == EIGHT and overlay.needed(NEEDS, 16) == 2 * EIGHT
    assert overlay.needed(NEEDS, 2) == (256 + 704) << 20


@pytest.fixture
def models(tmp_path) -> Repository:
    """The tiny system, with a variant for a GPU that runs on the CPU."""
    repository = Repository(tiny.write_repository(tmp_path / "models"))
    step = repository.model("tiny", "preprocess")
    (step / "configs").mkdir(exist_ok=True)
    (step / "configs" / "openvino.pbtxt").write_text((step / "config.pbtxt").read_text())
    return repository


def test_triton_has_as_many_and_answers(models, tmp_path):
    folder = tmp_path / "laid_out"
    folder.mkdir()
    overlay.lay_out(models, folder, ["tiny"], "openvino", 3)
    launcher = Launcher(tmp_path, folder, "--variant=openvino").until_ready()
    try:
        assert launcher.classify(tiny.wav(2))["rows"] == 2
        stubs = [line for line in Path("/proc").glob("[0-9]*/cmdline") if b"stub" in read(line)]
        steps = [read(path) for path in stubs if str(folder).encode() in read(path)]
        assert sum(b"tiny_preprocess" in each for each in steps) == 3
        assert sum(b"tiny_postprocess" in each for each in steps) == 1
    finally:
        launcher.stop(2, 15)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_configuration_without_a_count_is_named(models, tmp_path):
    step = models.model("tiny", "preprocess") / "configs" / "openvino.pbtxt"
    step.write_text('backend: "python"\n')
    folder = tmp_path / "laid_out"
    folder.mkdir()
    with pytest.raises(ServerError, match="openvino.pbtxt has no line 'instance_group"):
        overlay.lay_out(models, folder, ["tiny"], "openvino", 3)
