r"""Text from servers and files, made safe for a terminal: control characters and the like become \uXXXX.

A name or a note may hold bytes that move the cursor, colour or hide text (ESC, C0, C1), break lines or change the
direction of reading, and lone surrogates, which no terminal can print.
"""

import json
import re
from typing import Any

BEYOND_C0 = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
UNSAFE = re.compile(rf"[\x00-\x1f{BEYOND_C0}]")
UNSAFE_IN_JSON = re.compile(f"[{BEYOND_C0}]")  # json escapes C0 itself, and its line breaks are ours


def plain(text: object) -> str:
    """Return any text as one line without control characters."""
    return UNSAFE.sub(escape, str(text))


def json_text(value: object, **layout: Any) -> str:
    """Return JSON with letters of all languages, but unsafe characters escaped."""
    return UNSAFE_IN_JSON.sub(escape, json.dumps(value, ensure_ascii=False, **layout))


def escape(match: re.Match[str]) -> str:
    r"""Return a character as \uXXXX, as JSON writes it."""
    return f"\\u{ord(match[0]):04x}"


def formatted(value: object, form: str) -> str:
    """Return a number in this format, and any other value as it is; plain."""
    try:
        return plain(format(value, form))
    except (ValueError, TypeError, OverflowError):
        return plain(value)
