"""The page in one language, in Gradio's blocks: recording and options on one side, the answer on the other."""

import json
import traceback
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from tritone_client.aio import AsyncClient
from tritone_client.display.texts import Language
from tritone_client.errors import ServerUnavailable, TritoneError
from tritone_client.systems import Method
from tritone_client.web import asking
from tritone_client.web.texts import LANGUAGES, PAGE, TAGGERS, example_method, example_name, in_order, system_name
from tritone_client.web.uploads import Refused, Uploads

HERE = Path(__file__).parent
AT_ONCE = 16  # concurrent questions to the page in one language; further ones wait
MOST = 200  # waiting questions; also visitors whose last answer (half a megabyte) Gradio keeps
LOOK_SECONDS = 4.0  # between two checks for a server that is down
OUTPUTS = ("result", "genre_options", "explain", "threshold", "timer", "system", "matched")  # of a question

CLEAR = (  # backgrounds of Gradio's boxes, which are inside the page's own cards
    *("block_background_fill", "block_label_background_fill", "panel_background_fill", "border_color_primary"),
    *("checkbox_label_background_fill", "checkbox_label_background_fill_selected"),
    *("checkbox_label_background_fill_hover", "checkbox_background_color"),
)
FONT = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "sans-serif")
THEME = gr.themes.Base(
    primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=("ui-monospace", "monospace"), radius_size="lg"
).set(
    # The colours of page.css, so that the page has them from its first moment.
    body_background_fill="#f6f7f9",
    body_background_fill_dark="#101216",
    body_text_color="#16202c",
    body_text_color_dark="#e8ebef",
    **{f"{part}{dark}": "transparent" for part in CLEAR for dark in ("", "_dark")},
    input_background_fill="#ffffff",
    input_background_fill_dark="#101216",
    input_border_color="#dfe3e8",
    input_border_color_dark="#2c313a",
    input_border_width="1px",
    checkbox_border_color="#8a95a3",
    checkbox_border_color_dark="#6b7684",
    block_border_width="0px",
    block_shadow="none",
)


def build_page(client: AsyncClient, uploads: Uploads, language: Language) -> gr.Blocks:
    """Return the page in a language. A visitor's data are only in the browser; handlers keep nothing."""
    words = PAGE[language]

    async def ready_systems() -> list[str]:
        """Return the systems that take requests, in the page's order."""
        return in_order([found.name for found in await client.models() if found.ready])

    async def look(system: str | None, returns: int) -> tuple[Any, ...]:
        """Return the choices of systems; start the timer for another check if the server or a system is missing.

        This reports that the server is down as long as no system is known; afterwards the answer's place does. A
        selected system that is not ready yet stays selected, and is checked again.
        """
        try:
            await client.ping()
            served = await ready_systems()
            sentence = asking.problem(words["system"], words["none_served"])
        except TritoneError as error:
            served, sentence = [], asking.failed(error, language)
        if not served or (system and system not in served):
            return gr.skip(), gr.HTML(sentence, visible=not system), gr.Timer(active=True), gr.skip()
        choices = [(system_name(name, language), name) for name in served]
        radio = gr.Radio(choices, value=system or served[0], visible=True)
        return radio, gr.HTML(visible=False), gr.Timer(active=False), returns + 1

    async def answer(source: dict[str, Any], system: str, method: Method, options: dict[str, object]) -> str:
        """Return the HTML for the recording; its memory is released before anything is shown."""
        try:
            async with uploads.read(source) as data:
                return await asking.ask(client, data, system, method, options, language, uploads.name(source))
        except Refused as refusal:
            return asking.refused(refusal, language)

    async def better_system(source: dict[str, Any], method: Method) -> str | None:
        """Return the first system that suits an example; None if `method` suits it, or no system does."""
        suits = example_method(example) if (example := uploads.example(source)) else None
        if suits in (None, method):
            return None
        for name in await ready_systems():
            if await client.method(name) == suits:
                return name
        return None

    async def ask(
        source: dict[str, Any] | None,
        system: str | None,
        crop: str,
        segments: float,
        denoise: str,
        threshold: float,
        pictures: float,
        explain: bool,
        matched: int | None,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Yield the answer to the visitor's recording, and which options the system has.

        A newly chosen example selects a system that suits it, whose change then asks; `matched` is the turn for
        which this happened, so that the visitor can select another one.
        """
        if not system:
            yield update()
            return
        try:
            method = await client.method(system)  # fails at once if the server is down
            genre = method == "classify"
            explains = system in {found.name for found in await client.models() if found.explains}
            yield update(
                result=busy(words) if source else waiting(words),
                genre_options=gr.Group(visible=genre),
                explain=gr.Checkbox(visible=explains),
                threshold=gr.Slider(visible=system not in TAGGERS),
            )
            if not source:
                return
            if source.get("turn") != matched and (better := await better_system(source, method)):
                yield update(system=better, matched=source.get("turn"))
                return
            options: dict[str, object] = {"denoise": denoise or None}
            if system not in TAGGERS:
                options |= {"uncertainty": "entropy", "review_threshold": threshold}
            if genre:
                count = int(pictures)
                options |= {"crop": crop or None, "segments": int(segments) or None}
                options |= {"pictures": count or None, "explain": (explain and explains and count) or None}
            yield update(result=await answer(source, system, method, options))
        except TritoneError as error:
            away = isinstance(error, ServerUnavailable)
            timer = gr.Timer(active=True) if away else gr.skip()
            yield update(result=asking.failed(error, language), timer=timer)
        except Exception:  # otherwise the previous answer would stay, under this recording's name
            traceback.print_exc()
            yield update(result=asking.problem(words["InferenceFailed"], words["unexpected"]))

    with gr.Blocks(title=words["title"], analytics_enabled=False) as page:
        page.queue(api_open=False, default_concurrency_limit=AT_ONCE, max_size=MOST)
        page.state_session_capacity = MOST
        gr.HTML(header(language), elem_id="t-header", apply_default_css=False, js_on_load=None)
        banner = gr.HTML(visible=False, elem_id="t-banner", apply_default_css=False, js_on_load=None)
        with gr.Row(elem_id="t-columns"):
            with gr.Column(elem_id="t-ask", min_width=300, scale=2):
                source = gr.HTML(
                    None,
                    html_template=recording_input(uploads, language),
                    js_on_load=(HERE / "input.js").read_text(encoding="utf-8"),
                    elem_id="t-source",
                    apply_default_css=False,
                )
                system = gr.Radio([], label=words["system"], visible=False, elem_id="t-system")
                with gr.Accordion(words["options"], open=False, elem_id="t-options"):
                    # Not dropdowns: Gradio's stay open when the focus leaves them by the keyboard.
                    with gr.Group(elem_classes="t-group") as genre_options:
                        crop = gr.Radio(
                            choices(words, "crop", "default", "first", "middle", "whole"),
                            value="",
                            label=words["crop"],
                        )
                        segments = gr.Slider(0, 16, value=0, step=1, label=words["segments"])
                        pictures = gr.Slider(0, 4, value=1, step=1, label=words["pictures"])
                        explain = gr.Checkbox(True, label=words["explain"])
                    with gr.Group(elem_classes="t-group"):
                        denoise = gr.Radio(
                            choices(words, "denoise", "off", "first", "quietest"), value="", label=words["denoise"]
                        )
                        threshold = gr.Slider(0, 1, value=0.7, step=0.05, label=words["threshold"])
                    again = gr.Button(words["again"], variant="primary", elem_id="t-again")
            with gr.Column(elem_id="t-answer", min_width=300, scale=3):
                result = gr.HTML(
                    waiting(words),
                    js_on_load=(HERE / "result.js").read_text(encoding="utf-8"),
                    elem_id="t-result",
                    apply_default_css=False,
                )
        timer = gr.Timer(LOOK_SECONDS, active=False)
        returns = gr.State(0)
        matched = gr.State(None)

        # Gradio would check a system against the choices in the visitor's session, and has none after a restart.
        quiet = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
        gr.on(  # one event for all: otherwise a late answer could replace a newer one
            [source.change, system.change, returns.change, again.click],
            ask,
            [source, system, crop, segments, denoise, threshold, pictures, explain, matched],
            [result, genre_options, explain, threshold, timer, system, matched],  # as OUTPUTS
            trigger_mode="always_last",
            **quiet,
        )
        looking = {"fn": look, "inputs": [system, returns], "outputs": [system, banner, timer, returns], **quiet}
        page.load(**looking)
        timer.tick(**looking)
    return page


def update(**changed: Any) -> tuple[Any, ...]:
    """Return the values of `OUTPUTS`, of which those that are not `changed` stay as they are."""
    return tuple(changed.get(name, gr.skip()) for name in OUTPUTS)


def choices(words: dict[str, str], option: str, *values: str) -> list[tuple[str, str]]:
    """Return the choices of an option; the first one means the server's default."""
    return [(words[f"{option}_{value}"], value if place else "") for place, value in enumerate(values)]


def header(language: Language) -> str:
    """Return the title, the purpose, and links to the page in the other languages."""
    words = PAGE[language]
    links = "".join(
        f'<a href="../{other}/" lang="{other}" hreflang="{other}">{name}</a>'
        for other, name in LANGUAGES.items()
        if other != language
    )
    return (
        f'<header class="t-header"><div><h1>{words["title"]}</h1><p>{words["tagline"]}</p></div>'
        f"<nav>{links}</nav></header>"
    )


def waiting(words: dict[str, str]) -> str:
    """Return the HTML in place of an answer while there is no recording."""
    return f'<div class="t-waiting">{words["waiting"]}</div>'


def busy(words: dict[str, str]) -> str:
    """Return the HTML in place of an answer while the server computes it."""
    counter = '<span class="t-seconds" aria-hidden="true"></span>'  # filled by result.js
    return f'<div class="t-waiting t-busy" role="status"><p>{words["busy"]} {counter}</p><i></i></div>'


def recording_input(uploads: Uploads, language: Language) -> str:
    """Return the markup for `input.js`: a template of Gradio, in which a file's name must not run as code."""
    words = PAGE[language]

    def safe(text: str) -> str:
        return "".join(f"&#{ord(c)};" if c in "`$\\{}" else c for c in escape(text))

    examples = "".join(
        f'<button type="button" data-example="{index}" aria-pressed="false">'
        f"{safe(example_name(path, language))}</button>"
        for index, path in enumerate(uploads.examples)
    )
    offered = f'<div class="t-examples"><span>{words["examples"]}</span>{examples}</div>' if examples else ""
    keys = ["too_large", "not_uploaded", "no_microphone", "insecure", "uploading", "bytes"]
    keys += ["stop", "record", "recording"]
    messages = {key: words[key] for key in keys} | {"no_room": words["no_room"].format(quota=uploads.quota >> 20)}
    return f"""
<div class="t-input" data-limit="{uploads.limit}" data-words="{safe(json.dumps(messages))}">
  <input class="t-file" type="file" hidden>
  <p class="t-drop">{words["drop"]}</p>
  <p class="t-hint">{words["formats"].format(limit=uploads.limit)}</p>
  <div class="t-buttons">
    <button type="button" class="t-choose">{words["choose"]}</button>
    <button type="button" class="t-record"><i></i><span>{words["record"]}</span></button>
  </div>
  <div class="t-given" hidden>
    <div><b class="t-name"></b> <span class="t-detail"></span></div>
    <audio class="t-player" controls preload="metadata"></audio>
  </div>
  <p class="t-refused" role="alert" hidden></p>
</div>
{offered}"""
