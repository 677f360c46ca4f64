"""Answers as HTML, for notebooks and the web page: one fragment, without scripts, links or style sheets.

Colours are the labels' own or shares of the text's, so that the fragment is legible on light and on dark ground.
Everything that a server says, numbers as well, is text by `shown`; what has a length or a place is `drawn`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tritone_client.emotion import EmotionPrediction
from tritone_client.plain import formatted
from tritone_client.prediction import Prediction
from tritone_client.report import reasons
from tritone_client.svg import Block, area, clock, colour_of, drawn, png_uri, strip
from tritone_client.texts import TEXTS, Language

Answer = Prediction | EmotionPrediction

BARS = 5  # labels of a genre answer; emotions are all shown
MUTED = "opacity:.68"
TRACK = "background:rgba(128,128,128,.2)"
NUMBER = "flex:none;font-variant-numeric:tabular-nums"
AMBER = "border-left:3px solid #c98a12;background:rgba(201,138,18,.12)"
RUNNERS = {
    **{"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"},
    **{"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"},
}


def shown(value: object, form: str = "") -> str:
    """What a server says as a text of HTML: a number in this form, anything else as it is."""
    return escape(formatted(value, form))


@dataclass(frozen=True)
class Shown:
    """A value that is `shown` where a text is filled with it."""

    value: object

    def __format__(self, form: str) -> str:
        return shown(self.value, form)


@dataclass(frozen=True)
class Reader:
    """In which language an answer is read, and what its labels are called in Chinese, as far as it tells."""

    language: Language
    chinese: dict[str, str]

    def __getitem__(self, key: str) -> str:
        return TEXTS[self.language][key]

    def say(self, key: str, **values: object) -> str:
        """A sentence in the reader's language, filled with what a server says, as HTML."""
        return self[key].format(**{name: Shown(value) for name, value in values.items()})

    def measure(self, name: str) -> str:
        """A measure of uncertainty in the reader's language; one that is new here as the server names it."""
        return TEXTS[self.language].get(name, name)

    def name(self, label: str) -> str:
        """The label in the reader's language, as HTML."""
        return shown(self.names(label)[0])

    def both(self, label: str) -> str:
        """The label in the reader's language and, muted, in the other, as HTML."""
        first, *other = map(shown, self.names(label))
        return first + "".join(f' <span style="font-weight:400;{MUTED}">{name}</span>' for name in other)

    def names(self, label: str) -> list[str]:
        """The label's one or two names, that in the reader's language first."""
        found = [label, *filter(None, [self.chinese.get(label)])]
        return found[::-1] if self.language == "zh" else found


def answer_html(answer: Answer, language: Language = "en", remarks: Sequence[str] = ()) -> str:
    """A prediction as a fragment of HTML; `remarks` are further sentences beside the answer's own notes."""
    if isinstance(answer, EmotionPrediction):
        reader = Reader(language, chinese_emotions(answer))
        parts = [headline(answer.emotion, answer.confidence, answer, reader)]
        if answer.silence:
            parts.append(f'<p style="margin:.5em 0">{reader["silent"]}</p>')
        else:
            ranked = sorted(answer.scores.items(), key=lambda entry: -drawn(entry[1]))
            parts += [bars(ranked, answer.labels, reader), timeline(answer, reader)]
    else:
        reader = Reader(language, {entry.label: entry.label_zh for entry in answer.top})
        ranked = [(entry.label, entry.probability) for entry in answer.top[:BARS]]
        parts = [headline(answer.label, answer.probability, answer, reader), bars(ranked, answer.labels, reader)]
        parts += [slices(answer, reader), pictures(answer, reader)]
    parts += [uncertainty(answer, reader), notes(answer, reader, remarks), computed(answer, reader)]
    return (
        f'<div class="tritone-answer" lang="{language}" '
        f'style="max-width:46em;line-height:1.45;overflow-wrap:anywhere">{"".join(parts)}</div>'
    )


def chinese_emotions(answer: EmotionPrediction) -> dict[str, str]:
    """The Chinese names of the emotions; without `labels_zh` in RESULT that of the answer alone."""
    told = dict(zip(answer.labels, answer.raw.get("labels_zh") or (), strict=False))
    return told | ({answer.emotion: answer.emotion_zh or ""} if answer.emotion else {})


def headline(label: str | None, probability: float | None, answer: Answer, reader: Reader) -> str:
    """The label in large letters, its probability, and whether a person should look."""
    name = reader["silence"] if label is None else reader.both(label)
    share = "" if probability is None else f'<span style="font-weight:400;{MUTED}">{percent(probability)}</span>'
    badge = ""
    if answer.needs_review:
        badge = (
            '<span class="tritone-review" style="font-size:.5em;font-weight:600;padding:.25em .7em;'
            f'border-radius:1em;background:rgba(201,138,18,.2);white-space:nowrap">{reader["review"]}</span>'
        )
    return (
        '<div class="tritone-label" style="display:flex;flex-wrap:wrap;align-items:center;gap:.1em .5em;'
        f'font-size:1.6em;font-weight:650;line-height:1.3"><span>{name}</span>{share}{badge}</div>'
    )


def bars(ranked: Iterable[tuple[str, float]], labels: tuple[str, ...], reader: Reader) -> str:
    """A bar for each label, in its colour."""
    rows = "".join(
        '<div class="tritone-bar" style="margin:.45em 0">'
        '<div style="display:flex;justify-content:space-between;gap:1em">'
        f'<span>{reader.both(label)}</span><span style="{NUMBER}">{percent(share)}</span>'
        f"</div>{meter(share, colour_of(label, labels))}</div>"
        for label, share in ranked
    )
    return f'<div style="margin:.7em 0 1.2em">{rows}</div>'


def meter(share: float, fill: str, height: int = 8) -> str:
    """A share of 1 as a bar."""
    return (
        f'<div style="height:{height}px;border-radius:{height}px;overflow:hidden;{TRACK}">'
        f'<div style="width:{100 * drawn(share, 1):.1f}%;height:100%;border-radius:inherit;background:{fill}">'
        "</div></div>"
    )


def percent(share: object) -> str:
    """In percent, with a decimal below ten so that small ones are told apart; as HTML."""
    return shown(share, ".1%" if drawn(share) < 0.0995 else ".0%")


def section(title: str, explanation: str, content: str) -> str:
    """A part of the answer beneath its title."""
    return (
        f'<div style="margin:1.3em 0"><div style="margin-bottom:.45em"><b style="font-weight:600">{title}</b> '
        f'<span style="font-size:.85em;{MUTED}">{explanation}</span></div>{content}</div>'
    )


def slices(answer: Prediction, reader: Reader) -> str:
    """The slices as a strip; nothing where there is but one."""
    if len(answer.slices) < 2:
        return ""
    parts = [(s.start, s.end, s.label, s.probability) for s in answer.slices]
    content = blocks(parts, answer, reader) + legend((s.label for s in answer.slices), answer, reader)
    explanation = reader.say("slices_of", used=len(answer.slices), total=answer.slices_total)
    if answer.agreement is not None:
        explanation += "; " + reader.say("agreement", share=answer.agreement)
    return section(reader["slices"], explanation, content)


def timeline(answer: EmotionPrediction, reader: Reader) -> str:
    """The segments as a strip, and where they were asked for the scores of all frames as areas."""
    parts = [(s.start, s.end, s.emotion, s.confidence) for s in answer.segments]
    content, shown = blocks(parts, answer, reader), [s.emotion for s in answer.segments]
    if answer.frame_scores is None:
        return section(reader["slices"], reader["timeline_of"], content + legend(shown, answer, reader))
    areas = area(answer.frame_scores, len(answer.frame_scores) * drawn(answer.frame_hop))
    return section(reader["slices"], reader["timeline_of"], content) + section(
        reader["frames"], reader["frames_of"], areas + legend(answer.labels, answer, reader)
    )


def blocks(parts: Sequence[tuple[float, float, str, float]], answer: Answer, reader: Reader) -> str:
    """Parts of the recording (start and end in seconds, label, its probability) as a strip."""

    def block(start: float, end: float, label: str, share: float) -> Block:
        title = f"{clock(start)} – {clock(end)}: {reader.name(label)} {percent(share)}"
        return Block(start, end, colour_of(label, answer.labels), share, title)

    seconds = max(map(drawn, [answer.duration, *(end for _, end, _, _ in parts[-1:])]))  # the last may be padded
    return strip([block(*part) for part in parts], seconds)


def legend(labels: Iterable[str], answer: Answer, reader: Reader) -> str:
    """What the colours mean, each label once."""
    entries = "".join(
        '<span style="display:inline-flex;align-items:center;gap:.4em">'
        f'<span style="width:.7em;height:.7em;border-radius:.2em;flex:none;'
        f'background:{colour_of(label, answer.labels)}"></span>{reader.name(label)}</span>'
        for label in dict.fromkeys(labels)
    )
    style = "display:flex;flex-wrap:wrap;gap:.2em 1.1em;margin-top:.4em;font-size:.85em"
    return f'<div class="tritone-legend" style="{style}">{entries}</div>'


def pictures(answer: Prediction, reader: Reader) -> str:
    """What the network saw, and beside it where it looked; nothing where no picture was asked for."""
    if answer.pictures is None or not answer.pictured:
        return ""
    explained = 0 if answer.explanation is None else len(answer.explained)
    rows = []
    for index, place in enumerate(answer.pictured):
        part = answer.slices[place]
        caption = f"{clock(part.start)} – {clock(part.end)}: {reader.name(part.label)} {percent(part.probability)}"
        shown = [answer.pictures[index]] + ([answer.overlay(index)] if index < explained else [])
        images = "".join(
            f'<img src="{png_uri(image)}" alt="" style="flex:none;width:min(224px,50% - 4px);'
            'margin:0;border-radius:6px;aspect-ratio:1">'
            for image in shown
        )
        rows.append(
            '<figure class="tritone-picture" style="margin:0 0 .8em">'
            f'<div style="display:flex;gap:8px">{images}</div>'
            f'<figcaption style="font-size:.85em;{MUTED};margin-top:.3em">{caption}</figcaption></figure>'
        )
    return section(reader["pictures"], reader["explained"] if explained else "", "".join(rows))


def uncertainty(answer: Answer, reader: Reader) -> str:
    """The measures as small bars, and why a person should look; nothing where they were not asked for."""
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
        why = box(reader.say("reviewed_by", measure=reader.measure(by), value=value, threshold=threshold))
    style = "display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5em,1fr));gap:.6em 1.4em;margin-top:.7em"
    return section(reader["uncertainty"], reader["uncertainty_of"], f'{why}<div style="{style}">{measures}</div>')


def notes(answer: Answer, reader: Reader, remarks: Sequence[str]) -> str:
    """What a person should read, a box each; demo weights in other languages, too, than the server's English."""
    demo = [reader["demo"]] if answer.weights.demo and reader.language != "en" else []
    return "".join(box(shown(note)) for note in (*demo, *reasons(answer), *answer.notes, *remarks))


def box(content: str) -> str:
    """A sentence that should not be overlooked."""
    return (
        f'<div class="tritone-note" style="margin:.5em 0;padding:.5em .8em;border-radius:0 6px 6px 0;{AMBER};'
        f'font-size:.9em">{content}</div>'
    )


def computed(answer: Answer, reader: Reader) -> str:
    """By what, where, how and how fast the answer was computed."""
    facts = [f"{1000 * answer.seconds:.0f} ms", shown(answer.model)]
    if where := answer.computed:
        facts += [shown(where.device), shown(f"{where.precision} ({RUNNERS.get(where.backend, where.backend)})")]
    facts += [
        reader.say("profile", profile=answer.raw.get("profile", "")),
        reader.say("sound", seconds=answer.duration),
    ]
    line = " · ".join(facts)
    return f'<div class="tritone-facts" style="margin-top:1em;font-size:.85em;{MUTED}">{line}</div>'
