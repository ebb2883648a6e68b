"""What queries take and give."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import OBJECT, Named, list_of, members, named, text
from moorage.query.lexer import MAX_CHARS

__all__ = ["QUERY", "ROWS"]

QUERY: Final[Named] = named(
    "Query", members({"query": text("A statement like SELECT * FROM devices WHERE tags.site = 'A'.", most=MAX_CHARS)})
)
ROWS: Final = list_of(OBJECT, "Twins, device jobs, or what was selected of them; x-ms-item-type says which.")
