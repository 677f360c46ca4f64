"""musicnn against the package's own code, whose answers to generated recordings are in export/musicnn_answers."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tritone_client import AsyncClient, Client, InvalidRecording
from tritone_client.web.asking import ask

import preprocess
from export import musicnn_answers as golden
from export import musicnn_package, onnx_float16, packaged, sources
from export.__main__ import main
from export.errors import ExportError
from export.musicnn import MusiCNN
from export.onnx_export import Graph
from server.embedded import embedded
from sounds.examples import EXAMPLES
from systems import SYSTEMS
from systems.repository import Repository
from tests.support.project import ROOT

KNOWN = json.loads(golden.FILE.read_text())
NAMES = list(golden.MODELS)
WITHOUT_PYTORCH = """
import sys
sys.modules |= {"torch": None, "huggingface_hub": None, "onnxscript": None}  # importing them fails
from export import __main__, sources
from pathlib import Path
__main__.PACKAGES = Path(sys.argv[-2].partition("=")[2]).parent / "packages"  # nothing that was converted before
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Both systems, exported without PyTorch, as by `make demo`, with the weights of the installed package."""
    folder = tmp_path_factory.mktemp("musicnn") / "models"
    command = [sys.executable, "-c", WITHOUT_PYTORCH, *NAMES, f"--repository={folder}", "--force"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        for path in ROOT.glob(f"model_repository/{name}*"):
            for file in filter(Path.is_file, path.rglob("*")):
                target = folder / file.relative_to(ROOT / "model_repository")
                if not target.exists() and "__pycache__" not in file.parts:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    with embedded(f"--model-repository={models}", "--variant=onnxruntime", log=log) as running:
        yield running


def expected(name: str, number: int) -> np.ndarray:
    return np.array(KNOWN[f"{name} {number}"]["probabilities"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", range(len(golden.SECONDS)))
def test_the_network_computes_what_the_package_does(name, number, models):
    rows = preprocess.prepare((golden.recording(number), golden.SR), SYSTEMS[name].profile, spectrum="mel").rows
    network = onnxruntime.InferenceSession(str(Repository(models).network(name).onnx.path))
    embedding, logits = network.run(["EMBEDDING", "LOGITS"], {"ROWS": rows})
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected(name, number), rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding[0], KNOWN[f"{name} {number}"]["embedding"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_answers_what_the_package_does(name, server):
    with Client(server.grpc) as client:
        found = client.classify((golden.recording(2), golden.SR), model=name, top_k=50, embedding=True)
    tags = expected(name, 2)
    np.testing.assert_allclose(found.slice_probabilities, tags, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, tags.mean(0), rtol=0, atol=1e-5)
    assert [ranked.label for ranked in found.top[:3]] == [found.labels[c] for c in np.argsort(-tags.mean(0))[:3]]
    assert all(ranked.label_zh for ranked in found.top)
    assert found.embedding.shape == (200,) and not found.weights.demo
    assert (found.weights.origin, found.weights.source, found.notes) == ("package", "musicnn 0.1.0", ())


def test_a_guitar_is_heard_in_the_generated_prelude(server):
    """What `make demo` shows."""
    with Client(server.grpc) as client:
        instruments, styles = (client.classify(EXAMPLES["song.mp3"](), model=name) for name in NAMES[::-1])
    assert instruments.label == "guitar" and instruments.probability > 0.6
    assert {"instrumental", "acoustic", "folk"} == {entry.label for entry in styles.top[:3]}


def test_the_page_leaves_out_what_tags_have_not(server):
    async def shown() -> str:
        options = {"pictures": 1, "explain": 1, "uncertainty": "entropy", "review_threshold": 0.7}
        async with AsyncClient(server.grpc) as client:
            return await ask(client, EXAMPLES["song.mp3"](), "musicnn_mtt", "classify", options, "zh")

    html = asyncio.run(shown())
    assert "吉他" in html and html.count("<img") == 1 and "make explain" not in html


@pytest.mark.slow
def test_ten_minutes_are_heard_to_the_end(server):
    """And longer ones evenly, with a note."""
    minute = np.tile(golden.recording(1), 5)[: 60 * golden.SR]
    with Client(server.grpc, timeout=120) as client:
        ten = client.classify((np.tile(minute, 10), golden.SR), model="musicnn_mtt")
        more = client.classify((np.tile(minute, 15), golden.SR), model="musicnn_mtt")
    assert len(ten.slices) == ten.slices_total == 200 and ten.notes == () and ten.slices[-1].end > 597
    assert len(more.slices) == 256 and more.slices_total == 300
    assert more.notes == ("256 of 300 slices were used, evenly spaced over the recording.",)


@pytest.mark.parametrize(
    "option", [{"temperature": 2.0}, {"voting": "majority"}, {"profile": "ccmusic"}, {"explain": 1}]
)
def test_what_makes_no_sense_for_tags_is_refused(server, option):
    with Client(server.grpc) as client, pytest.raises(InvalidRecording, match="^OPTIONS: ") as caught:
        client.classify((golden.recording(0), golden.SR), model="musicnn_msd", **option)
    assert caught.value.code == "option"


def test_embeddings_are_the_mean_over_the_patches(models, server):
    rows = preprocess.prepare(
        (golden.recording(1), golden.SR), SYSTEMS["musicnn_mtt"].profile, spectrum="mel"
    ).rows
    network = onnxruntime.InferenceSession(str(Repository(models).network("musicnn_mtt").onnx.path))
    [each] = network.run(["EMBEDDING"], {"ROWS": rows})
    with Client(server.grpc) as client:
        found = client.classify((golden.recording(1), golden.SR), model="musicnn_mtt", embedding=True)
        assert client.classify((golden.recording(1), golden.SR), model="musicnn_mtt").embedding is None
    np.testing.assert_allclose(found.embedding, each.mean(0), rtol=0, atol=1e-5)


def probabilities(network: Path, name: str, number: int) -> np.ndarray:
    """Tags of a golden recording's patches, by a file beside the exported network, in ONNX Runtime."""
    rows = preprocess.prepare((golden.recording(number), golden.SR), SYSTEMS[name].profile, spectrum="mel").rows
    [logits] = onnxruntime.InferenceSession(str(network)).run(["LOGITS"], {"ROWS": rows})
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("name", NAMES)
def test_in_fp16_the_tags_are_the_same(name, models, tmp_path):
    """The command itself takes minutes for its thousand rows."""
    float32 = onnx.shape_inference.infer_shapes(onnx.load(Repository(models).network(name).onnx.path))
    half = onnx_float16.convert(float32, onnx_float16.float16_nodes(float32, {}))
    assert half.ByteSize() < 0.52 * float32.ByteSize()
    onnx.save(onnx_float16.emulate(half), tmp_path / "half.onnx")
    for number in range(len(golden.SECONDS)):
        found = probabilities(tmp_path / "half.onnx", name, number)
        np.testing.assert_allclose(found, expected(name, number), rtol=0, atol=0.005)


@pytest.mark.slow
def test_int8_is_accepted_and_keeps_the_tags(models, tmp_path):
    """By the command that a user calls; its fewest rows. The layers whose channels differ most stay in float."""
    name = "musicnn_msd"
    shutil.copytree(models / f"{name}_network", tmp_path / f"{name}_network")
    command = [sys.executable, "-m", "export", "int8", name, "--rows=100", f"--repository={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    int8 = Repository(tmp_path).network(name).int8
    assert int8.is_current and int8.description["agreement"] >= 0.99
    assert 1 <= len(int8.description["layers_in_float"]) <= 4
    for number in range(len(golden.SECONDS)):
        found = probabilities(int8.path, name, number)
        np.testing.assert_allclose(found.mean(0), expected(name, number).mean(0), rtol=0, atol=0.05)


def test_the_manifest_names_licence_and_citation(models):
    source = Repository(models).network("musicnn_msd").manifest.content["source"]
    assert source["licence"].startswith("ISC") and "Pons and Serra" in source["citation"]
    assert (source["location"], source["file"], source["revision"]) == (
        *("musicnn 0.1.0", "musicnn/MSD_musicnn", "0.1.0"),
    )


def test_pytorch_computes_the_same(models, tmp_path):
    """The module for checkpoints of one's own, of other sizes too; its normalisations have statistics to apply."""
    torch.manual_seed(0)
    network = MusiCNN(4, 2, 3, 8, 5)
    for name, values in network.state_dict().items():
        if name.endswith(("running_var", "normalisation.weight")):
            values.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            values.normal_()
    state = {name: values.numpy() for name, values in network.state_dict().items()}
    graph = Graph({"ROWS": (1, 96, 187)}, {"EMBEDDING": (8,), "LOGITS": (5,)})
    made = onnxruntime.InferenceSession(musicnn_package.build(state, graph).SerializeToString())
    rows = torch.randn(3, 1, 96, 187)
    with torch.no_grad():
        expected = network.eval()(rows)
    for found, values in zip(made.run(None, {"ROWS": rows.numpy()}), expected, strict=True):
        np.testing.assert_allclose(found, values.numpy(), rtol=0, atol=1e-5)


def test_a_network_that_answers_otherwise_than_the_package_is_refused(models):
    system, other = SYSTEMS["musicnn_mtt"], Repository(models).network("musicnn_msd").onnx.path
    assert packaged.compare(system, Repository(models).network("musicnn_mtt").onnx.path)["batches"] == [2, 4, 10]
    with pytest.raises(ExportError, match=r"model.onnx differs from the package musicnn by .* in probability"):
        packaged.compare(system, other)


def test_the_manifest_names_what_made_the_network(models):
    manifest = Repository(models).network("musicnn_mtt").manifest.content
    assert manifest["versions"].keys() == {"tritone", "onnx", "onnxruntime"}  # no PyTorch
    assert 0 < manifest["parity"]["max_probability_difference"] < 1e-5


def test_an_even_filter_is_padded_as_tensorflow_pads_it():
    """One more zero behind than before."""
    network = MusiCNN(2, 2, 2, 3, 4)
    layer = network.temporal[2].convolution
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 15] = 1.0  # the tap on the frame itself, of 32: 15 before, 16 behind
        layer.bias.zero_()
        rows = torch.rand(1, 1, 96, 187)
        wide = torch.nn.functional.pad(rows, (15, 16))
        torch.testing.assert_close(layer(wide)[0, 0], rows[0, 0])


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [
        (None, "are in the package musicnn, which is not installed: pip install --no-deps musicnn==0.1.0"),
        ("0.2.0", "are in musicnn 0.1.0, installed is 0.2.0: pip install --no-deps musicnn==0.1.0"),
    ],
)
def test_a_package_that_is_not_there_is_named(installed, sentence, tmp_path, monkeypatch):
    def distribution(name: str):
        if installed is None:
            raise sources.importlib.metadata.PackageNotFoundError(name)
        return type("Distribution", (), {"version": installed})

    monkeypatch.setattr(sources.importlib.metadata, "distribution", distribution)
    with pytest.raises(ExportError, match=sentence):
        sources.Installed(tmp_path).get(SYSTEMS["musicnn_msd"], print)


def test_demo_weights_and_the_hub_are_refused(capsys):
    assert main(["musicnn_msd", "--demo"]) == 2
    assert "there are no demo weights for musicnn_msd: trained weights are installed" in capsys.readouterr().err
    assert main(["musicnn_msd", "--hub", "--revision", "0" * 40]) == 2
    assert "no repository of the hub has the weights of musicnn_msd" in capsys.readouterr().err


def test_a_folder_of_checkpoints_need_not_have_what_a_package_has(models, tmp_path, capsys):
    """A folder's own weights of such a system come first."""
    arguments = ["musicnn_mtt", f"--checkpoints={tmp_path}", f"--repository={models}"]
    assert main(arguments) == 0 and "nothing to do" in capsys.readouterr().out
    (tmp_path / "musicnn_mtt").mkdir()
    (tmp_path / "musicnn_mtt" / "save.pt").write_bytes(b"none")
    assert main(arguments) == 2 and "save.pt" in capsys.readouterr().err
