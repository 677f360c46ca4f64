"""The documented name of `answer_html`, which is implemented in `display.html`."""

from tritone_client.display.html import answer_html

__all__ = ["answer_html"]
