"""One visitor's question to the server, and the HTML for its answer or error; nothing is kept in between."""

from html import escape

from tritone_client.aio import AsyncClient
from tritone_client.display.html import answer_html
from tritone_client.display.texts import Language
from tritone_client.errors import InvalidRecording, ServerUnavailable, TritoneError
from tritone_client.systems import Method
from tritone_client.web.texts import PAGE
from tritone_client.web.uploads import Refused
from tritone_client.web.usage import Question, panel, set_by_visitor

ALL_LABELS = 1000
DROPPED: dict[str, dict[str, object]] = {
    "unexplained": {"explain": None},
    "option": {"explain": None, "uncertainty": None},
}
"""Code of a rejection -> options that the page adds itself, and that not every system or server has."""


async def ask(
    client: AsyncClient,
    data: bytes,
    system: str,
    method: Method,
    options: dict[str, object],
    language: Language,
    file: str = "song.mp3",
) -> str:
    """Return the answer to a recording, and how a program asks for it, as HTML. Raises `TritoneError`."""
    question = Question(file, system, method, set_by_visitor(options), str(client.address))
    remarks: list[str] = []
    # Ranking all labels gives all their Chinese names; the strip of speech needs the frames.
    options = {"granularity": "frame"} | options if method == "emotion" else {"top_k": ALL_LABELS} | options
    ask_system = getattr(client, method)
    try:
        answer = await ask_system(data, model=system, **options)
    except InvalidRecording as error:
        if error.code not in DROPPED:
            raise
        answer = await ask_system(data, model=system, **options | DROPPED[error.code])
        if error.code == "unexplained":
            remarks.append(PAGE[language]["not_explained"])
    return answer_html(answer, language, remarks) + panel(question, answer, language)


def problem(title: str, sentence: str, cause: str = "") -> str:
    """Return an error as HTML, in place of an answer."""
    return (
        f'<div class="t-problem" role="alert" data-cause="{escape(cause)}">'
        f"<b>{escape(title)}</b><p>{escape(sentence)}</p></div>"
    )


def refused(refusal: Refused, language: Language) -> str:
    """Return the HTML for a recording that the page does not send to the server."""
    title = "ServerBusy" if refusal.reason == "crowded" else "InvalidRecording"
    return problem(PAGE[language][title], refusal.sentence(language), refusal.reason)


def failed(error: TritoneError, language: Language) -> str:
    """Return the HTML for an error: its meaning in the visitor's language, and the original message."""
    words, cause = PAGE[language], type(error).__name__
    away = f" {words['away']}" if isinstance(error, ServerUnavailable) else ""
    return problem(words.get(cause, cause), f"{error}{away}", cause)
