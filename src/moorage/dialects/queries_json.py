"""Saved queries of the data explorer in the JSON of our own API (contract/central.md 12).

{"displayName": "Pressure", "group": "pumps", "minutes": 1440, "by": "$id",
 "measures": [{"name": "pressure", "component": "motor", "aggregate": "average"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.analytics.boards import Board, SavedQuery
from moorage.analytics.explorer import AGGREGATES, AXES, DAY, Aggregate, Axes, Measure, Question
from moorage.dialects.members import (
    check_members,
    check_same,
    get_choice,
    get_objects,
    get_text,
    get_texts,
    get_whole,
    need_text,
)
from moorage.dialects.times import format_time, parse_time

__all__ = ["QUERY_MEMBERS", "parse_query", "query_json", "question_json"]

QUERY_MEMBERS: Final = (
    "id",
    "displayName",
    "personal",
    "organizations",
    "group",
    "devices",
    "measures",
    "by",
    "minutes",
    "since",
    "until",
    "stepMinutes",
    "axes",
    "etag",
)
_AGGREGATES: Final[Mapping[str, Aggregate]] = {aggregate: aggregate for aggregate in AGGREGATES}
_AXES: Final[Mapping[str, Axes]] = {axes: axes for axes in AXES}


def parse_query(query_id: str, body: Mapping[str, Any]) -> SavedQuery:
    """Raises `Invalid` (`body.member`, `body.id`, `time.malformed`); `check_query` says the rest."""
    check_members(body, QUERY_MEMBERS)
    check_same(body, "id", query_id)
    since, until = (
        None if body.get(member) is None else parse_time(body[member], what=member) for member in ("since", "until")
    )
    minutes = get_whole(body, "minutes")
    return SavedQuery(
        Question(
            group=get_text(body, "group") or "",
            devices=tuple(dict.fromkeys(get_texts(body, "devices"))),
            measures=tuple(dict.fromkeys(_measure(path, each) for path, each in get_objects(body, "measures"))),
            by=get_text(body, "by") or "",
            minutes=DAY if minutes is None else minutes,
            since=since,
            until=until,
            step=get_whole(body, "stepMinutes") or 0,
            axes=get_choice(body, "axes", _AXES) or "shared",
        )
    )


def _measure(path: str, body: Mapping[str, Any]) -> Measure:
    check_members(body, ("name", "component", "aggregate"), path)
    return Measure(
        get_text(body, "component", f"{path}.component") or "",
        need_text(body, "name", f"{path}.name"),
        get_choice(body, "aggregate", _AGGREGATES, f"{path}.aggregate") or "average",
    )


def query_json(board: Board[SavedQuery]) -> dict[str, Any]:
    """What `parse_query` reads, with whose it is."""
    document = {
        "id": board.board_id,
        "displayName": board.display_name,
        "personal": board.is_personal,
        **question_json(board.content.question),
        "etag": board.etag,
    }
    if board.organization and not board.is_personal:
        document["organizations"] = [board.organization]
    return document


def question_json(asked: Question) -> dict[str, Any]:
    document: dict[str, Any] = {
        "measures": [_measure_json(measure) for measure in asked.measures],
        "minutes": asked.minutes,
        "axes": asked.axes,
    }
    if asked.since is not None and asked.until is not None:
        document |= {"since": format_time(asked.since), "until": format_time(asked.until)}
    more = {"group": asked.group, "devices": list(asked.devices), "by": asked.by, "stepMinutes": asked.step}
    return document | {name: value for name, value in more.items() if value}


def _measure_json(measure: Measure) -> dict[str, str]:
    document = {"name": measure.name, "aggregate": measure.aggregate}
    return {**document, "component": measure.component} if measure.component else document
