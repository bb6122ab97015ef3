"""Text of HTML, with offsets as a browser counts them."""

from __future__ import annotations

from html.parser import HTMLParser


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.parts.append("\n")


def plain_text(html: str) -> str:
    """The text that a browser shows of HTML."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts)


def is_hypertext(name: str, text: str) -> bool:
    """Whether the field of a task is HTML by its name and by its text."""
    return name == "html" and "<" in text and ">" in text
