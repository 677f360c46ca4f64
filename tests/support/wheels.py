"""Wheels of made-up packages, for a folder in the place of the package index."""

import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str = "1.0", content: str = "", **more: str) -> None:
    """A package of one module; `more` are further files, a double underscore for each slash of their names."""
    module = name.replace("-", "_").removesuffix("_gpu")  # onnxruntime-gpu has onnxruntime's files
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as archive:
        files = {
            **{file.replace("__", "/"): text for file, text in more.items()},
            f"{module}.py": content,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
        for file, text in (*files.items(), (f"{info}/RECORD", record)):
            archive.writestr(file, text)
