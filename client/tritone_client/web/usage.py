"""The panel "Use it in your program": a visitor's question in Python, by curl and as a command, and its answer."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from tritone_client.answer import Answer
from tritone_client.defaults import URL
from tritone_client.display.texts import Language
from tritone_client.plain import json_text
from tritone_client.systems import Method
from tritone_client.web.texts import PAGE

HTTP_PORT = 8000  # Triton's default; the page knows only the port for gRPC
AS_SHOWN: dict[str, object] = {"uncertainty": "entropy", "review_threshold": 0.7, "pictures": 1, "explain": 1}
"""Options that the page sends for its own display until the visitor changes them."""


@dataclass(frozen=True)
class Question:
    """A question: the file's name, the system and its method, the visitor's options, the server's gRPC address."""

    file: str
    system: str
    method: Method
    options: Mapping[str, object]
    url: str

    def python(self) -> str:
        """Return the question as a Python program."""
        address = "" if self.is_local else repr(self.url)
        arguments = [repr(self.file), f"model={self.system!r}"]
        arguments += [f"{name}={value!r}" for name, value in self.options.items()]
        return (
            "from tritone_client import Client\n\n"
            f"with Client({address}) as client:\n"
            f"    answer = client.{self.method}({', '.join(arguments)})\n"
            f"    print(answer.best, answer.to_dict())"
        )

    def command(self) -> str:
        """Return the question as a command of `tritone`."""
        words = ["tritone", self.method, self.file, "--model", self.system]
        for name, value in self.options.items():
            words += ["-o", f"{name}={value}"]
        return shlex.join([*words, *([] if self.is_local else ["--url", self.url]), "--json"])

    def curl(self) -> str:
        """Return the question as commands of a shell.

        Without options the body is the file. With options it has the form of Triton's binary extension: a JSON
        header, then the tensor AUDIO, which begins with its size.
        """
        address = urlsplit(self.url)
        host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
        models = f"http{'s' if address.scheme == 'grpcs' else ''}://{host}:{HTTP_PORT}/v2/models"
        if not self.options:
            return (
                f"curl -s --data-binary {shlex.quote('@' + self.file)} \\\n"
                "  -H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: 0' \\\n"
                f"  {models}/{self.system}_raw/infer | tail -n 1"
            )
        options = {"name": "OPTIONS", "datatype": "BYTES", "shape": [1], "data": [json.dumps(dict(self.options))]}
        audio = {"name": "AUDIO", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": "SIZE"}}
        header = json.dumps({"outputs": [{"name": "RESULT"}], "inputs": [options, audio]})
        before, after = map(shlex.quote, header.split('"SIZE"'))
        return (
            f"file={shlex.quote(self.file)}\n"
            f'json={before}$((4 + $(wc -c < "$file"))){after}\n'
            '{ printf %s "$json"; perl -e \'print pack "V", -s shift\' "$file"; cat "$file"; } |\n'
            "  curl -s --data-binary @- -H 'Content-Type: application/octet-stream' \\\n"
            f'  -H "Inference-Header-Content-Length: ${{#json}}" {models}/{self.system}/infer'
        )

    @property
    def is_local(self) -> bool:
        """Whether the client asks this address by default."""
        return self.url.removeprefix("grpc://") == URL


def set_by_visitor(options: Mapping[str, object]) -> dict[str, object]:
    """Return those of the options that the page sends which the visitor set."""
    found = {name: value for name, value in options.items() if value is not None and value != AS_SHOWN.get(name)}
    return {"uncertainty": options["uncertainty"], **found} if "review_threshold" in found else found


def panel(question: Question, answer: Answer, language: Language) -> str:
    """Return the panel as HTML: tabs that need no script, and buttons for `result.js`, which copies."""
    words = PAGE[language]
    tabs = {"Python": question.python(), "curl": question.curl(), words["command"]: question.command()}
    heads = "".join(
        f'<input type="radio" name="t-tab" id="t-tab-{index}"{"" if index else " checked"}>'
        f'<label for="t-tab-{index}">{name}</label>'
        for index, name in enumerate(tabs)
    )
    codes = "".join(f'<pre tabindex="0">{escape(code)}</pre>' for code in tabs.values())
    buttons = "".join(
        f'<button type="button" data-copy="{what}" data-copied="{words["copied"]}">{words[what]}</button>'
        for what in ("copy_code", "copy_json")
    )
    written = escape(json_text(answer.to_dict(), indent=2))
    return (
        f'<details class="t-usage"><summary>{words["usage"]}</summary><div class="t-tabs">{heads}{codes}</div>'
        f'<div class="t-copy">{buttons}</div><pre class="t-json" hidden>{written}</pre></details>'
    )
