r"""What servers and files say, as it may reach a terminal: with control characters and their like as \uXXXX.

A name or a note may hold bytes that move the cursor, colour or hide text (ESC, C0, C1), end lines, turn the
direction of reading, or are halves of letters, which no terminal can write.
"""

import json
import re
from typing import Any

BEYOND_C0 = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
UNSAFE = re.compile(rf"[\x00-\x1f{BEYOND_C0}]")
UNSAFE_IN_JSON = re.compile(f"[{BEYOND_C0}]")  # json escapes C0 by itself, and its line ends are ours


def plain(text: object) -> str:
    """Any text in one line that shows what is in it."""
    return UNSAFE.sub(code, str(text))


def json_text(value: object, **layout: Any) -> str:
    """JSON in letters of all languages, which means the same as without the escapes that are in it."""
    return UNSAFE_IN_JSON.sub(code, json.dumps(value, ensure_ascii=False, **layout))


def code(found: re.Match[str]) -> str:
    r"""A character as \uXXXX, as JSON writes it."""
    return f"\\u{ord(found[0]):04x}"


def formatted(value: object, form: str) -> str:
    """A number in this form, and whatever else stands in its place as it is; plain."""
    try:
        return plain(format(value, form))
    except (ValueError, TypeError, OverflowError):
        return plain(value)
