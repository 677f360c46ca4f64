"""model_repository/ matches the declarations, and a system that is not among them gets valid files, too."""

import ast
import subprocess
import sys
from dataclasses import replace

import pytest

from answers.emotion.info import EmotionInfo
from answers.emotion.options import EmotionOptions
from answers.genre.info import GenreInfo
from answers.genre.options import GenreOptions
from preprocess import PROFILES
from systems import SYSTEMS
from systems.__main__ import REPOSITORY, main, stale, write
from systems.configurations import files
from systems.label_set import Label, LabelSet
from systems.tasks import GENRE, TASKS
from tests.support.project import ROOT, read_config

LABELS = LabelSet(tuple(Label(name, name) for name in ("one", "two", "three")))
MINE = replace(SYSTEMS["vgg19_bn_cqt"], name="my_genres", labels=LABELS)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_the_repository_is_as_declared(system):
    assert stale(system, REPOSITORY) == [], "run python -m systems"


def test_check_names_what_is_stale_and_write_mends_it(tmp_path, capsys):
    command = ["--repository", str(tmp_path)]
    assert main(["--check", *command]) == 1 and not any(tmp_path.iterdir())
    assert main(command) == 0 and main(["--check", *command]) == 0
    config = tmp_path / "vgg19_bn_cqt_raw/config.pbtxt"
    config.write_text(config.read_text() + "# by hand\n")
    capsys.readouterr()
    assert main(["--check", *command]) == 1
    assert capsys.readouterr().err == f"{config} differs from its declaration: run python -m systems\n"
    assert write(SYSTEMS["vgg19_bn_cqt"], tmp_path) == [config]


def test_a_system_with_other_classes_gets_valid_files_of_its_own(tmp_path):
    write(MINE, tmp_path)
    configs = {path: read_config(path) for path in tmp_path.rglob("*.pbtxt")}
    assert len(configs) == 15
    for path, config in configs.items():
        assert path.relative_to(tmp_path).parts[0] == config.name and config.name.startswith("my_genres")
    for step, tensor in (("", "PROBABILITIES"), ("_network", "LOGITS"), ("_postprocess", "LABELS")):
        config = configs[tmp_path / f"my_genres{step}/config.pbtxt"]
        assert [list(output.dims) for output in config.output if output.name == tensor] == [[3]]
    [front] = [configs[tmp_path / "my_genres/config.pbtxt"].output[0]]
    assert front.label_filename == "../my_genres_network/labels.txt"


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_warm_up_is_a_request_with_the_options_of_today(system):
    """Triton reads four bytes of length and then the value."""
    value = dict(files(system))[f"{system.name}_postprocess/warmup/INFO"][4:]
    module = ast.parse((ROOT / "answers" / system.task.name / "steps.py").read_text())
    assert {node.name for node in module.body if isinstance(node, ast.ClassDef)} >= set(system.task.steps)
    if system.task.has_images:
        info = GenreInfo.from_json(value, GenreOptions, profile="ccmusic")
        assert info.options == GenreOptions(profile="ccmusic")
    else:
        info = EmotionInfo.from_json(value, EmotionOptions)
        assert info.options == EmotionOptions()
    assert info.duration == 1.0


def test_profiles_are_those_that_there_are():
    assert tuple(PROFILES.values()) == GENRE.profiles
    tasks = {profile.name: task for task in TASKS.values() for profile in task.profiles}
    assert all(tasks[system.profile.name] is system.task for system in SYSTEMS.values())


def test_the_documentation_lists_the_systems():
    page = (ROOT / "docs" / "systems.md").read_text()
    for system in SYSTEMS.values():
        assert f"| `{system.name}` | {system.about} | {len(system.labels)} " in page


def test_declarations_need_the_standard_library_alone():
    code = "import sys, systems.__main__; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) <= sys.stdlib_module_names | {"systems", "__main__"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("int8", ["musicnn_msd", "musicnn_mtt", "vgg19_bn_cqt", "vit_b_16_mel"]),
        ("explain", ["vgg19_bn_cqt", "vit_b_16_mel"]),
        ("explain musicnn_msd vgg19_bn_mel", ["vgg19_bn_mel"]),
        ("fp16 emotion2vec_plus_large", ["emotion2vec_plus_large"]),
    ],
)
def test_make_asks_which_systems_a_command_works_on(words, expected, capsys):
    assert main(["--able", *words.split()]) == 0
    assert capsys.readouterr().out.split() == expected
