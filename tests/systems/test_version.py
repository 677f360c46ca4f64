"""One version: the client's package, its module and what the server and the exporter read are the same."""

import re
from importlib import metadata

import tritone_client.version

from systems import __main__, version
from tests.support.project import ROOT


def test_the_installed_package_has_the_declared_version():
    assert metadata.version("tritone-client") == version.__version__, "run make, which installs the client anew"


def test_the_client_package_takes_its_version_from_its_module():
    settings = (ROOT / "client/pyproject.toml").read_text()
    assert '\ndynamic = ["version"]\n' in settings and '\nversion = "' not in settings
    assert '\nversion = { attr = "tritone_client.version.__version__" }\n' in settings
    assert tritone_client.version.__version__ == version.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version.__version__)


def test_a_client_of_another_version_is_reported_and_written_anew(tmp_path, monkeypatch, capsys):
    module = tmp_path / "version.py"
    module.write_text('__version__ = "0.1.0"\n')
    monkeypatch.setattr(__main__, "CLIENT_VERSION", module)
    assert __main__.main(["--check"]) == 1
    assert f"{module} differs from its declaration: run python -m systems" in capsys.readouterr().err
    assert __main__.main([]) == 0 == __main__.main(["--check"])
    assert f'__version__ = "{version.__version__}"' in module.read_text()


def test_another_repository_leaves_the_client_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "CLIENT_VERSION", tmp_path / "version.py")
    assert __main__.main(["--repository", str(tmp_path / "models")]) == 0
    assert not (tmp_path / "version.py").exists()
