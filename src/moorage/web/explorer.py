"""Data explorer: telemetry of a device group as lines, with the figures below (contract/central.md 12).

What is asked stands in the address, so a page can be sent to somebody, kept as a bookmark, and saved under a name:

    /explorer?group=ID&s=temperature:average&s=motor/speed:maximum&by=$id&span=1440&step=15&axes=shared

The chart is drawn by a small script from the values that the page holds; without it the table says the same.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.analytics.boards import Board, Boards, SavedQuery, parse_board_id
from moorage.analytics.explorer import (
    AGGREGATES,
    AXES,
    DAY,
    STEPS,
    Answer,
    Explorer,
    Measure,
    Question,
    Subjects,
)
from moorage.analytics.rollups import Key
from moorage.dialects.answers_csv import answer_csv
from moorage.dialects.times import parse_typed_time
from moorage.errors import Invalid, NotFound, Refusal
from moorage.fleet.group_query import FACTS
from moorage.fleet.groups import Groups
from moorage.fleet.model import TemplateId
from moorage.fleet.templates import TemplateService
from moorage.ids import ETag
from moorage.web.explorer_code import explorer_acts
from moorage.web.labels import Labels
from moorage.web.pages import TOLD, Page, Visit, etag_for
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = [
    "SPANS",
    "Choice",
    "chart_json",
    "choices_of",
    "explorer_pages",
    "number_text",
    "parse_measures",
    "parse_question",
    "query_of",
    "step_text",
]

# In minutes.
SPANS: Final = {
    30: "30 minutes",
    60: "hour",
    6 * 60: "6 hours",
    DAY: "day",
    7 * DAY: "week",
    30 * DAY: "30 days",
}


def explorer_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Explorer(services, renderer)
    return [
        Page("GET", "/explorer", pages.show, "data.view"),
        Page("GET", "/explorer/data.csv", pages.csv, "data.view"),
        Page("GET", "/explorer/queries/{query_id}", pages.reopen, "data.view"),
        Page("POST", "/explorer/queries", pages.save, "data.view", keeps=True),
        Page("POST", "/explorer/queries/{query_id}/delete", pages.forget, "data.view"),
    ]


@dataclass(frozen=True, slots=True)
class Choice:
    """A name that can be asked for: `aggregate` is '' while it is not."""

    key: Key
    label: str
    aggregate: str

    @property
    def field(self) -> str:
        return _field(self.key)


class _Explorer:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._explorer: Explorer = services.explorer
        self._queries: Boards[SavedQuery] = services.queries
        self._groups: Groups = services.groups
        self._templates: TemplateService = services.templates
        self._organizations = services.organizations
        self._series = services.series
        self._info = services.info
        self._renderer = renderer

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def csv(self, visit: Visit) -> Response:
        """Of what the page shows, every value. Raises as `Explorer.answer`."""
        answer = await self._explorer.answer(visit.actor, question_of(visit))
        return Response(
            # Of the largest answer it takes a dozen milliseconds.
            await asyncio.to_thread(answer_csv, answer),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="explorer.csv"'},
        )

    async def reopen(self, visit: Visit) -> Response:
        board = self._queries.get(visit.actor, parse_board_id(visit.path["query_id"]))
        asked = query_of(board.content.question)
        return RedirectResponse(f"/explorer?{asked}&saved={board.board_id}", HTTPStatus.SEE_OTHER)

    async def save(self, visit: Visit) -> Response:
        """Under a new name, or over the one that was opened."""
        fields = await visit.form()
        try:
            visit.check_in_time()
            question = parse_question(fields.get("asked", ""))
            board_id = parse_board_id(fields.get("id", ""))
            is_personal = "shared" not in fields
            present = self._present(visit, board_id)
            board = await self._queries.put(
                visit.actor,
                board_id,
                fields.get("name", ""),
                SavedQuery(question),
                is_personal=is_personal,
                organization=OrganizationId(fields.get("organization", visit.actor.organization)),
                if_match=None if present is None or "etag" not in fields else ETag(fields["etag"]),
            )
        except TOLD as refusal:
            return await self._page(visit, parse_question(fields.get("asked", "")), refusal, fields)
        return RedirectResponse(f"/explorer/queries/{board.board_id}", HTTPStatus.SEE_OTHER)

    async def forget(self, visit: Visit) -> Response:
        await self._queries.delete(visit.actor, parse_board_id(visit.path["query_id"]))
        return RedirectResponse("/explorer", HTTPStatus.SEE_OTHER)

    # ------------------------------------------------------------------------------------------------------------------

    async def _page(
        self,
        visit: Visit,
        question: Question | None = None,
        problem: Refusal | None = None,
        fields: Mapping[str, str] = {},
    ) -> Response:
        wrong: Refusal | None = None
        try:
            question = question or question_of(visit)
        except Invalid as refusal:
            question, wrong = Question(), refusal
        groups = await self._groups.list(visit.actor)
        subjects = Subjects([], is_cut=False)
        choices: list[Choice] = []
        answer: Answer | None = None
        try:
            subjects = await self._explorer.subjects(visit.actor, question)
            choices = await choices_of(self._explorer, self._templates, question, subjects)
            if question.measures:
                answer = await self._explorer.answer(visit.actor, question)
        except (Invalid, NotFound) as refusal:
            wrong = wrong or refusal
        saved = self._present(visit, fields.get("saved", visit.query.get("saved", "")))
        labels = Labels(self._templates, subjects.devices)
        new_id = f"query-{secrets.token_hex(6)}"
        values: dict[str, Any] = {
            "question": question,
            "groups": groups,
            "choices": choices,
            "aggregates": AGGREGATES,
            "paths": self._paths(subjects),
            "spans": SPANS,
            "steps": {step: step_text(step) for step in STEPS},
            "axes": AXES,
            "answer": answer,
            "subjects": subjects,
            "chart": "" if answer is None else chart_json(answer, question.axes, labels),
            "heads": [] if answer is None else [labels.of_line(line, is_one_measure=False) for line in answer.lines],
            "asked": query_of(question),
            "zooms": {} if answer is None else _zooms(question, answer),
            "queries": await self._queries.list(visit.actor),
            "saved": saved,
            "new_id": new_id,
            "name": fields.get("name", saved.display_name if saved else ""),
            "is_shared": "shared" in fields if fields else saved is not None and not saved.is_personal,
            "etag": etag_for(fields, problem, saved.etag if saved else ""),
            "nodes": self._organizations.seen_by(visit.actor),
            "behind": self._behind(),
            "acts": explorer_acts(self._info(), question, saved, new_id) if answer is not None else [],
            "problem": problem,
            "wrong": wrong,
            "step_text": step_text,
            "number": number_text,
        }
        status = HTTPStatus.OK if problem is None and wrong is None else HTTPStatus.BAD_REQUEST
        if visit.request.headers.get("hx-target") == "explored":
            # What htmx asks for is shown whatever is wrong with it.
            return await self._renderer.long_page(visit, "explorer/explored.html", **values)
        return await self._renderer.long_page(visit, "explorer/show.html", status, **values)

    def _paths(self, subjects: Subjects) -> list[str]:
        """What lines can be grouped by."""
        paths = [fact for fact in FACTS if fact not in ("$id", "$displayName", "$template")]
        for template in {each.template for each in subjects.devices if each.template}:
            interface = self._templates.interface_of(TemplateId(template))
            if interface is not None:
                paths += [each.name for each in (*interface.properties, *interface.cloud_properties)]
        return list(dict.fromkeys(paths))

    def _behind(self) -> int:
        """Megabytes of telemetry that charts do not hold yet."""
        return self._series.progress.behind_bytes // 1_000_000

    def _present(self, visit: Visit, board_id: str) -> Board[SavedQuery] | None:
        try:
            return self._queries.get(visit.actor, parse_board_id(board_id))
        except (Invalid, NotFound):
            return None


async def choices_of(
    explorer: Explorer, templates: TemplateService, question: Question, subjects: Subjects
) -> list[Choice]:
    """What can be asked: what the template says and what the devices send, and what is asked already."""
    asked = {measure.key: measure.aggregate for measure in question.measures}
    labels = Labels(templates, subjects.devices).alone
    for key in (*await explorer.names(subjects), *asked):
        labels.setdefault(key, key[1])
    return [Choice(key, labels[key], asked.get(key, "")) for key in sorted(labels)]


def question_of(visit: Visit) -> Question:
    """Raises `Invalid` (`explorer.question`, `time.malformed`)."""
    return parse_question(visit.request.url.query)


def parse_question(asked: str) -> Question:
    """What an address asks. Raises `Invalid` (`explorer.question`, `time.malformed`)."""
    try:
        pairs = parse_qsl(asked, max_num_fields=300)
    except ValueError as error:
        raise Invalid("explorer.question", f"the address cannot be read: {error}") from None
    single = dict(pairs)
    measures = [_measure(value) for name, value in pairs if name == "s"]
    measures += parse_measures(pairs)
    since, until = single.get("since", ""), single.get("until", "")
    return Question(
        group=single.get("group", ""),
        devices=tuple(dict.fromkeys(value.strip() for name, value in pairs if name == "device" and value.strip())),
        measures=tuple(dict.fromkeys(measures)),
        by=single.get("by", ""),
        minutes=_whole(single.get("span", ""), DAY),
        since=parse_typed_time(since, what="the beginning"),
        until=parse_typed_time(until, what="the end"),
        step=_whole(single.get("step", ""), 0),
        axes=next((each for each in AXES if each == single.get("axes")), "shared"),
    )


def parse_measures(pairs: Iterable[tuple[str, str]]) -> list[Measure]:
    """As a form has them: `a.NAME` with the aggregate that a name is asked for by, '' for none."""
    return [_measure(f"{name[2:]}:{value}") for name, value in pairs if name.startswith("a.") and value]


def query_of(question: Question) -> str:
    """The address that asks `question`; the other way round of `parse_question`."""
    pairs = [("group", question.group)] if question.group else []
    pairs += [("device", each) for each in question.devices]
    pairs += [("s", f"{_field(measure.key)}:{measure.aggregate}") for measure in question.measures]
    if question.by:
        pairs.append(("by", question.by))
    if question.since is not None and question.until is not None:
        pairs += [("since", _iso(question.since)), ("until", _iso(question.until))]
    pairs.append(("span", str(question.minutes)))
    if question.step:
        pairs.append(("step", str(question.step)))
    if question.axes != "shared":
        pairs.append(("axes", question.axes))
    return urlencode(pairs)


def chart_json(answer: Answer, axes: str, labels: Labels) -> str:
    """What `islands/plot.js` draws: times in seconds, lines with their labels and values."""
    measures = list(dict.fromkeys(line.measure for line in answer.lines))
    return json.dumps(
        {
            "axes": axes,
            "times": [int(time.timestamp()) for time in answer.times],
            "lines": [
                {
                    "label": labels.of_line(line, is_one_measure=len(measures) == 1),
                    "measure": measures.index(line.measure),
                    "values": line.values,
                }
                for line in answer.lines
            ],
        },
        separators=(",", ":"),
    )


def step_text(minutes: int) -> str:
    if minutes % DAY == 0:
        return f"{minutes // DAY} d"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def number_text(value: float | None, decimals: int | None = None) -> str:
    """A value for people: no more digits than say something, unless they were asked for."""
    if value is None:
        return ""
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def _zooms(question: Question, answer: Answer) -> Mapping[str, str]:
    """Addresses of the same question over other times: what dragging does, for whoever has no mouse."""
    length = answer.until - answer.since
    latest = answer.until

    def at(since: datetime, until: datetime) -> str:
        if until - since < timedelta(minutes=2):
            until = since + timedelta(minutes=2)
        return "/explorer?" + query_of(replace(question, since=since, until=until, step=0))

    return {
        "Earlier": at(answer.since - length / 2, latest - length / 2),
        "Later": at(answer.since + length / 2, latest + length / 2),
        "Closer": at(answer.since + length / 4, latest - length / 4),
        "Wider": at(answer.since - length / 2, latest + length / 2),
    }


def _measure(text: str) -> Measure:
    field, _, aggregate = text.rpartition(":")
    found = next((each for each in AGGREGATES if each == aggregate), None)
    if found is None or not field:
        raise Invalid(
            "explorer.question", f"{text[:80]!r} is not a name with one of the aggregates {', '.join(AGGREGATES)}"
        )
    component, slash, name = field.partition("/")
    return Measure(component, name, found) if slash else Measure("", component, found)


def _field(key: Key) -> str:
    """A name as addresses have it: a component's in front, and a slash alone where the name itself has one."""
    component, name = key
    return f"{component}/{name}" if component or "/" in name else name


def _whole(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else otherwise


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
