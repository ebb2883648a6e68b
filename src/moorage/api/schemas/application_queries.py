"""Saved queries of the data explorer (contract/central.md 12)."""

from __future__ import annotations

from typing import Final

from moorage.analytics.explorer import AGGREGATES, AXES, MAX_MEASURES, STEPS
from moorage.api.schemas.words import FLAG, TIME, Content, Schema, flag, list_of, members, named, one_of, text, whole

__all__ = ["ANSWER", "QUERY", "QUERY_DRAFT", "QUESTION"]

_MORE: Final[dict[str, Schema]] = {
    "personal": flag("Whether nobody else sees it; true when not given."),
    "organizations": list_of(text(), "Of one that is not personal; at most one.", most=1),
    "group": text("The id of a device group."),
    "devices": list_of(text(), "Where no group is named."),
    "by": text("`$id` for a line of each device, else a property whose values make lines."),
    "minutes": whole("Back from now; a day when not given.", least=1),
    "since": TIME,
    "until": TIME,
    "stepMinutes": {"type": "integer", "enum": [0, *STEPS]},
    "axes": one_of(*AXES),
}
_MEASURES: Final[dict[str, Schema]] = {
    "measures": list_of(
        members({"name": text()}, {"component": text(), "aggregate": one_of(*AGGREGATES)}), most=MAX_MEASURES
    )
}
QUESTION: Final = named("Question", members({}, {**_MEASURES, **_MORE}))
ANSWER: Final = Content("text/csv", {"type": "string"})
QUERY_DRAFT: Final = named(
    "QueryDraft", members({"displayName": text(most=128)}, {**_MEASURES, **_MORE, "etag": text()})
)
QUERY: Final = named(
    "Query", members({"id": text(), "displayName": text(), "personal": FLAG, **_MEASURES, "etag": text()}, _MORE)
)
