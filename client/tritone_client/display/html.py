"""Answers as HTML, for notebooks and the web page: one fragment, without scripts, links or style sheets.

Colours are those of the labels, or the text's with less opacity, so that the fragment is legible on a light and on
a dark background. `shown` escapes every value from the server, also numbers; lengths and positions are `drawn`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tritone_client.answer import Answer, Part, Ranked, Tick
from tritone_client.display.svg import Block, area, clock, colour_of, drawn, png_uri, smoothed, strip
from tritone_client.display.texts import TEXTS, Language
from tritone_client.plain import formatted

FEW = 9  # up to this many labels are all shown; of more labels, the first BARS
BARS = 5
SMOOTHED_SECONDS = 0.1  # of frames, which change too fast for the eye
MUTED = "opacity:.68"
AXIS = "font-size:.75em;opacity:.65;font-variant-numeric:tabular-nums"
TRACK = "background:rgba(128,128,128,.2)"
NUMBER = "flex:none;font-variant-numeric:tabular-nums"
AMBER = "border-left:3px solid #c98a12;background:rgba(201,138,18,.12)"
RUNNERS = {
    **{"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"},
    **{"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"},
}


def shown(value: object, form: str = "") -> str:
    """Return a value from the server as HTML text: a number in this format, anything else as it is."""
    return escape(formatted(value, form))


@dataclass(frozen=True)
class Shown:
    """A value from the server for `str.format`, which escapes it by `shown`."""

    value: object

    def __format__(self, form: str) -> str:
        return shown(self.value, form)


@dataclass(frozen=True)
class Reader:
    """The display language, and the labels' Chinese names if the server sent them."""

    language: Language
    chinese: dict[str, str]

    def __getitem__(self, key: str) -> str:
        return TEXTS[self.language][key]

    def sentence(self, key: str, **values: object) -> str:
        """Return a sentence in the reader's language, filled with values from the server, as HTML."""
        return self[key].format(**{name: Shown(value) for name, value in values.items()})

    def measure(self, name: str) -> str:
        """Return the name of a measure of uncertainty in the reader's language, or the server's name for it."""
        return TEXTS[self.language].get(name, name)

    def name(self, label: str) -> str:
        """Return the label in the reader's language, as HTML."""
        return shown(self.names(label)[0])

    def both(self, label: str) -> str:
        """Return the label in the reader's language and, muted, in the other, as HTML."""
        first, *other = map(shown, self.names(label))
        return first + "".join(f' <span style="font-weight:400;{MUTED}">{name}</span>' for name in other)

    def names(self, label: str) -> list[str]:
        """Return the label's one or two names, first the one in the reader's language."""
        found = [label, *filter(None, [self.chinese.get(label)])]
        return found[::-1] if self.language == "zh" else found


def answer_html(answer: Answer, language: Language = "en", remarks: Sequence[str] = ()) -> str:
    """Return an answer as a fragment of HTML; `remarks` are sentences in addition to the answer's own notes."""
    reader = Reader(language, {entry.label: entry.label_zh for entry in answer.ranking})
    content = [demo(answer, reader), headline(answer.best, answer.needs_review, reader)]
    if answer.best is None:
        content.append(f'<p style="margin:.5em 0">{reader["silent"]}</p>')
    else:
        ranked = sorted(answer.ranking, key=lambda entry: -drawn(entry.probability))
        ranked = ranked if len(answer.labels) <= FEW else ranked[:BARS]
        content += [bars(ranked, answer.labels, reader), timeline(answer, reader), frames(answer, reader)]
    content += [images(answer, reader), uncertainty(answer, reader)]
    content += [notes(answer, reader, remarks), facts(answer, reader)]
    return (
        f'<div class="tritone-answer" lang="{language}" '
        f'style="max-width:46em;line-height:1.45;overflow-wrap:anywhere">{"".join(content)}</div>'
    )


def demo(answer: Answer, reader: Reader) -> str:
    """Return a line that says that the weights are demo weights; nothing for trained ones.

    In English it is the server's own note, which says more than the text of this package.
    """
    if not answer.weights.demo:
        return ""
    own = [note for note in answer.notes if is_demo_note(note)] if reader.language == "en" else []
    sentence = shown(own[0]) if own else reader["demo"]
    return (
        '<div class="tritone-demo" style="margin-bottom:.7em;padding:.15em .7em;border-radius:0 6px 6px 0;'
        f'{AMBER};font-size:.85em">{sentence}</div>'
    )


def is_demo_note(note: object) -> bool:
    """Return whether a note of the server says that the weights are demo weights, as `demo` does."""
    return "demo weights" in str(note).lower()


def headline(best: Ranked | None, needs_review: bool | None, reader: Reader) -> str:
    """Return the label in large letters, its probability, and whether a person should check it."""
    name = reader["silence"] if best is None else reader.both(best.label)
    share = ""
    if best is not None:
        share = f'<span style="font-weight:400;{MUTED}">{percent(best.probability)}</span>'
    badge = ""
    if needs_review:
        badge = (
            '<span class="tritone-review" style="font-size:.5em;font-weight:600;padding:.25em .7em;'
            f'border-radius:1em;background:rgba(201,138,18,.2);white-space:nowrap">{reader["review"]}</span>'
        )
    return (
        '<div class="tritone-label" style="display:flex;flex-wrap:wrap;align-items:center;gap:.1em .5em;'
        f'font-size:1.6em;font-weight:650;line-height:1.3"><span>{name}</span>{share}{badge}</div>'
    )


def bars(ranked: Iterable[Ranked], labels: tuple[str, ...], reader: Reader) -> str:
    """Return a bar for each label, in its colour."""
    rows = "".join(
        '<div class="tritone-bar" style="margin:.45em 0">'
        '<div style="display:flex;justify-content:space-between;gap:1em">'
        f'<span>{reader.both(entry.label)}</span><span style="{NUMBER}">{percent(entry.probability)}</span>'
        f"</div>{meter(entry.probability, colour_of(entry.label, labels))}</div>"
        for entry in ranked
    )
    return f'<div style="margin:.7em 0 1.2em">{rows}</div>'


def meter(share: float, fill: str, height: int = 8) -> str:
    """Return a share of 1 as a bar."""
    return (
        f'<div style="height:{height}px;border-radius:{height}px;overflow:hidden;{TRACK}">'
        f'<div style="width:{100 * drawn(share, 1):.1f}%;height:100%;border-radius:inherit;background:{fill}">'
        "</div></div>"
    )


def percent(share: object) -> str:
    """Return a share in percent as HTML, with a decimal below 10 % so that small shares differ."""
    return shown(share, ".1%" if drawn(share) < 0.0995 else ".0%")


def section(title: str, explanation: str, content: str) -> str:
    """Return a section of the answer with its title."""
    return (
        f'<div style="margin:1.3em 0"><div style="margin-bottom:.45em"><b style="font-weight:600">{title}</b> '
        f'<span style="font-size:.85em;{MUTED}">{explanation}</span></div>{content}</div>'
    )


def timeline(answer: Answer, reader: Reader) -> str:
    """Return the parts as a strip over time; nothing if one slice is the whole recording."""
    explanation = reader["timeline_of"]
    if answer.parts_total is not None:
        if len(answer.parts) < 2:
            return ""
        explanation = reader.sentence("slices_of", used=len(answer.parts), total=answer.parts_total)
    if answer.agreement is not None:
        explanation += "; " + reader.sentence("agreement", share=answer.agreement)
    # The areas of frames, below, have all labels.
    labels = [part.label for part in answer.parts] if answer.frames is None else answer.labels
    return section(reader["slices"], explanation, strip_of(answer, reader) + legend(labels, answer, reader))


def frames(answer: Answer, reader: Reader) -> str:
    """Return the scores of all frames as areas, averaged for the eye; nothing if they were not requested."""
    if answer.frames is None:
        return ""
    scores, hop = answer.frames.scores, drawn(answer.frames.hop)
    width = round(SMOOTHED_SECONDS / hop) if hop else 1
    colours = [colour_of(label, answer.labels) for label in answer.labels]
    areas = area(smoothed(scores, min(max(width, 1), len(scores))), len(scores) * hop, colours)
    return section(reader["frames"], reader["frames_of"], areas)


def strip_of(answer: Answer, reader: Reader) -> str:
    """Return the parts of the recording as a strip over time."""

    def block(part: Part) -> Block:
        return Block(
            part.start, part.end, colour_of(part.label, answer.labels), part.probability, caption(part, reader)
        )

    # The last part may be padded, and end after the recording.
    seconds = max(map(drawn, [answer.duration, *(part.end for part in answer.parts[-1:])]))
    return strip([block(part) for part in answer.parts], seconds)


def caption(part: Part, reader: Reader) -> str:
    """Return a part's start and end, its label and its probability, as HTML."""
    return f"{clock(part.start)} – {clock(part.end)}: {reader.name(part.label)} {percent(part.probability)}"


def legend(labels: Iterable[str], answer: Answer, reader: Reader) -> str:
    """Return the legend of the colours, with each label once."""
    entries = "".join(
        '<span style="display:inline-flex;align-items:center;gap:.4em">'
        f'<span style="width:.7em;height:.7em;border-radius:.2em;flex:none;'
        f'background:{colour_of(label, answer.labels)}"></span>{reader.name(label)}</span>'
        for label in dict.fromkeys(labels)
    )
    style = "display:flex;flex-wrap:wrap;gap:.2em 1.1em;margin-top:.4em;font-size:.85em"
    return f'<div class="tritone-legend" style="{style}">{entries}</div>'


def images(answer: Answer, reader: Reader) -> str:
    """Return images of the network's input and of where it looked; nothing if they were not requested."""
    if not answer.images:
        return ""
    rows = []
    for image in answer.images:
        shown_images = [image.picture] if image.overlay is None else [image.picture, image.overlay]
        tags = "".join(
            f'<div style="flex:none;width:min(224px,50% - 32px)"><img src="{png_uri(pixels)}" alt="" '
            'style="display:block;width:100%;margin:0;border-radius:6px;aspect-ratio:1">'
            f"{times(image.part)}</div>"
            for pixels in shown_images
        )
        rows.append(
            '<figure class="tritone-picture" style="margin:0 0 .8em">'
            f'<div style="display:flex;gap:8px">{scale(image.ticks)}{tags}</div>'
            f'<figcaption style="font-size:.85em;{MUTED};margin-top:.3em">{caption(image.part, reader)}'
            "</figcaption></figure>"
        )
    explained = any(image.overlay is not None for image in answer.images)
    return section(reader["pictures"], reader["explained"] if explained else "", "".join(rows))


def scale(ticks: Sequence[Tick]) -> str:
    """Return the frequency axis at the side of an image: pitches or Hz."""
    marks = "".join(
        f'<span style="position:absolute;right:0;top:{100 * (1 - drawn(tick.at, 1)):.1f}%;'
        f'transform:translateY(-50%)">{shown(tick.label)}</span>'
        for tick in ticks
    )
    if not marks:
        return ""
    # As high as the image: the times beneath it take 1.5em.
    style = f"position:relative;flex:none;width:3.6em;margin-bottom:1.5em;white-space:nowrap;{AXIS}"
    return f'<div class="tritone-scale" style="{style}">{marks}</div>'


def times(part: Part) -> str:
    """Return the time axis beneath an image: from the part's start to its end."""
    return (
        f'<div style="display:flex;justify-content:space-between;height:1.5em;{AXIS}">'
        f"<span>{clock(part.start)}</span><span>{clock(part.end)}</span></div>"
    )


def uncertainty(answer: Answer, reader: Reader) -> str:
    """Return the measures as small bars, and why a person should listen; nothing if they were not requested."""
    if not answer.uncertainty:
        return ""
    measures = "".join(
        '<div><div style="display:flex;justify-content:space-between;font-size:.85em">'
        f'<span>{shown(reader.measure(name))}</span><span style="{NUMBER}">{shown(value, ".2f")}</span></div>'
        f"{meter(value, 'rgba(128,128,128,.9)', 4)}</div>"
        for name, value in answer.uncertainty.items()
    )
    why, review = "", answer.raw.get("review")
    if answer.needs_review and review:
        by, threshold = review["by"], review["threshold"]
        value = answer.uncertainty.get(by, "")
        why = box(reader.sentence("reviewed_by", measure=reader.measure(by), value=value, threshold=threshold))
    style = "display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5em,1fr));gap:.6em 1.4em;margin-top:.7em"
    return section(reader["uncertainty"], reader["uncertainty_of"], f'{why}<div style="{style}">{measures}</div>')


def notes(answer: Answer, reader: Reader, remarks: Sequence[str]) -> str:
    """Return each note for people as a box, except the one that `demo` shows; the server's are English."""
    others = [note for note in answer.notes if not (answer.weights.demo and is_demo_note(note))]
    return "".join(box(shown(note)) for note in (*answer.remarks, *others, *remarks))


def box(content: str) -> str:
    """Return a sentence in a highlighted box."""
    return (
        f'<div class="tritone-note" style="margin:.5em 0;padding:.5em .8em;border-radius:0 6px 6px 0;{AMBER};'
        f'font-size:.9em">{content}</div>'
    )


def facts(answer: Answer, reader: Reader) -> str:
    """Return the line about the computation: time, system, device, precision, profile and duration."""
    parts = [f"{1000 * answer.seconds:.0f} ms", shown(answer.model)]
    if where := answer.runtime:
        parts += [shown(where.device), shown(f"{where.precision} ({RUNNERS.get(where.backend, where.backend)})")]
    parts += [
        reader.sentence("profile", profile=answer.raw.get("profile", "")),
        reader.sentence("sound", seconds=answer.duration),
    ]
    line = " · ".join(parts)
    return f'<div class="tritone-facts" style="margin-top:1em;font-size:.85em;{MUTED}">{line}</div>'
