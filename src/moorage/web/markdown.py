"""A small part of Markdown, for texts on dashboards: what is not one of its few forms stands there as it was written.

    # heading, - item, 1. item, blank lines between paragraphs, **bold**, *italic*, `code`, [text](https://...)

Everything is escaped before anything is read, so no text can become markup that is not made here.
"""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

__all__ = ["markdown"]

_HEADING: Final = re.compile(r"(#{1,3}) +(.*)")
_ITEM: Final = re.compile(r"[-*] +(.*)")
_NUMBERED: Final = re.compile(r"\d{1,3}\. +(.*)")
# Each part begins and ends with a character that it cannot hold, so reading takes one pass.
_INLINE: Final = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|\*(?P<italic>[^*]+)\*|\[(?P<text>[^\[\]]+)\]\((?P<link>[^()\s]+)\)"
)


def markdown(text: str) -> Markup:
    """HTML of `text`."""
    parts: list[str] = []
    paragraph: list[str] = []
    items: list[str] = []
    kind = ""

    def close() -> None:
        nonlocal kind
        if paragraph:
            parts.append(f"<p>{'<br>'.join(paragraph)}</p>")
            paragraph.clear()
        if items:
            parts.append(f"<{kind}>{''.join(items)}</{kind}>")
            items.clear()
        kind = ""

    for line in text.splitlines():
        stripped = line.strip()
        heading, item, numbered = _HEADING.fullmatch(stripped), _ITEM.fullmatch(stripped), _NUMBERED.fullmatch(stripped)
        if not stripped:
            close()
        elif heading:
            close()
            # The page and the tile have the two above.
            level = len(heading[1]) + 2
            parts.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
        elif item or numbered:
            found = item or numbered
            assert found is not None
            wanted = "ul" if item else "ol"
            if kind != wanted:
                close()
                kind = wanted
            items.append(f"<li>{_inline(found[1])}</li>")
        else:
            if items:
                close()
            paragraph.append(_inline(stripped))
    close()
    return Markup("".join(parts))


def _inline(text: str) -> str:
    made: list[str] = []
    at = 0
    for found in _INLINE.finditer(text):
        made.append(str(escape(text[at : found.start()])))
        at = found.end()
        if found["code"] is not None:
            made.append(f"<code>{escape(found['code'])}</code>")
        elif found["bold"] is not None:
            made.append(f"<strong>{escape(found['bold'])}</strong>")
        elif found["italic"] is not None:
            made.append(f"<em>{escape(found['italic'])}</em>")
        elif found["link"].startswith(("https://", "http://", "/")) and not found["link"].startswith("//"):
            made.append(f'<a href="{escape(found["link"])}" rel="noopener noreferrer">{escape(found["text"])}</a>')
        else:
            made.append(str(escape(found[0])))
    made.append(str(escape(text[at:])))
    return "".join(made)
