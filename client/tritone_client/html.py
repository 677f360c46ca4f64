"""`answer_html` by the name that it is documented by; it is in `display.html`."""

from tritone_client.display.html import answer_html

__all__ = ["answer_html"]
