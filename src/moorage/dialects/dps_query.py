"""The query text of the provisioning service, as far as clients send it (contract/services.md P-6; decisions W5)."""

from __future__ import annotations

import re
from typing import Any, Final

from moorage.errors import Invalid

__all__ = ["check_selects_all"]

# Longer than any spelling of "all" that clients send; the patterns below may look at every character more than once.
_MAX_CHARS: Final = 1000
# `SELECT *`, with or without the collection it is asked of anyway, and the `*` of the Node samples.
_ALL: Final = re.compile(
    r"\s*(?:\*|select\s+\*(?:\s+from\s+(?:enrollments|enrollmentgroups|registrations|devices))?)\s*(?:;\s*)?",
    re.IGNORECASE,
)
# The Azure CLI sends a printed Python dictionary that has the text as its member `query`.
_PRINTED: Final = re.compile(r"\s*\{.{0,200}?'query'\s*:\s*'(?P<text>[^']{0,200})'\s*\}\s*", re.DOTALL)


def check_selects_all(text: Any) -> None:
    """Check that a query asks for everything: there is no other.

    Raises `Invalid` (`query.unsupported`) naming what follows the part that is understood.
    """
    if not isinstance(text, str):
        raise Invalid("query.unsupported", "the body has no text in its member 'query'", fix='{"query": "SELECT *"}')
    if len(text) > _MAX_CHARS:
        raise Invalid(
            "query.unsupported",
            f"the query has {len(text)} characters, at most {_MAX_CHARS} are read; what is understood is SELECT *",
            fix="SELECT *",
        )
    printed = _PRINTED.fullmatch(text)
    query = printed["text"] if printed else text
    if _ALL.fullmatch(query):
        return
    understood = _ALL.match(query)
    rest = (query[understood.end() :] if understood else query).strip()
    raise Invalid(
        "query.unsupported", f"the query is not understood from {rest[:60]!r} on; what is, is SELECT *", fix="SELECT *"
    )
