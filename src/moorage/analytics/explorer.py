"""Questions of the data explorer, and their answers (contract/central.md 12).

    which devices (a group, or some) ─► what they sent, each by an aggregate ─► one line, or one for each value of what
    they are grouped by ─► buckets of one length over a time

Answers come from rollups (`series.py`), so they cost the same whether a device sent ten messages or a million. A
question is about so many devices at most; who asks for more is told that the first ones were taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from moorage.accounts.model import Actor
from moorage.analytics.rollups import EPOCH, HOUR, Bucket, Key, merge_buckets
from moorage.analytics.series import MAX_DEVICES, Series
from moorage.clock import Clock
from moorage.errors import Invalid
from moorage.fleet.group_query import FACTS, device_row
from moorage.fleet.groups import DeviceGroupId, Groups, GroupTables
from moorage.fleet.model import DeviceRecord
from moorage.fleet.service import Fleet
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = [
    "AGGREGATES",
    "MAX_LINES",
    "MAX_MEASURES",
    "STEPS",
    "Aggregate",
    "Answer",
    "Axes",
    "Explorer",
    "Line",
    "Measure",
    "Question",
    "Subjects",
    "Total",
    "check_question",
    "fitting_step",
]

Aggregate = Literal["average", "minimum", "maximum", "sum", "count"]
AGGREGATES: Final[tuple[Aggregate, ...]] = get_args(Aggregate)
Axes = Literal["shared", "stacked", "overlapping"]
AXES: Final[tuple[Axes, ...]] = get_args(Axes)

# Names that one question asks for, and lines that come of grouping.
MAX_MEASURES: Final = 8
MAX_LINES: Final = 20
# In minutes.
STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440)
LONGEST: Final = timedelta(days=366)
# Far enough from where calendars end to look earlier and later than any of them.
_YEARS: Final = range(1970, 3000)
DAY: Final = 24 * 60
_BUCKETS: Final = 120
_MAX_BUCKETS: Final = 500
# Look-ups of one answer, as `series.py` counts them, which take about a tenth of a second.
_LOOK_UPS: Final = 20_000
_SLICE: Final = 10


@dataclass(frozen=True, slots=True)
class Measure:
    """`component` is '' for the device itself."""

    component: str
    name: str
    aggregate: Aggregate = "average"

    @property
    def key(self) -> Key:
        return self.component, self.name

    @property
    def label(self) -> str:
        return f"{self.component}.{self.name}" if self.component else self.name


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        group: a device group; '' where `devices` says which.
        by: '' for one line of all, `$id` for one of each device, else the property whose values make lines.
        minutes: back from now; where `since` and `until` are given, they hold.
        step: in minutes; 0 takes what fits.
    """

    group: str = ""
    devices: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    by: str = ""
    minutes: int = DAY
    since: datetime | None = None
    until: datetime | None = None
    step: int = 0
    axes: Axes = "shared"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom an answer is about: `is_cut` says that there are more devices than these."""

    devices: Sequence[DeviceRecord]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Values at the starts of the answer's buckets, None where nothing came."""

    measure: Measure
    of: str
    values: Sequence[float | None]

    @property
    def label(self) -> str:
        return f"{self.measure.label}, {self.of}" if self.of else self.measure.label


@dataclass(frozen=True, slots=True)
class Total:
    """A figure over a time, and over the time of the same length before it."""

    measure: Measure
    of: str
    value: float | None
    before: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """`told` are sentences about what is not in it."""

    since: datetime
    until: datetime
    step: int
    times: Sequence[datetime]
    lines: Sequence[Line]
    subjects: Subjects
    told: Sequence[str] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        return not any(value is not None for line in self.lines for value in line.values)


def check_question(question: Question) -> None:
    """Raises `Invalid` (`explorer.question`)."""
    if len(question.measures) > MAX_MEASURES:
        raise Invalid("explorer.question", f"{len(question.measures)} names are asked for, at most {MAX_MEASURES} are")
    if len(question.devices) > MAX_DEVICES:
        raise Invalid(
            "explorer.question",
            f"{len(question.devices)} devices are named, at most {MAX_DEVICES} are",
            field="devices",
        )
    if question.step and question.step not in STEPS:
        raise Invalid("explorer.question", f"a step of {question.step} minutes is none of {', '.join(map(str, STEPS))}")
    if not 1 <= question.minutes <= LONGEST // timedelta(minutes=1):
        raise Invalid("explorer.question", "a time is between one minute and a year long")
    if (question.since is None) != (question.until is None):
        raise Invalid("explorer.question", "a time has a beginning and an end")
    if question.since is not None and question.until is not None:
        if question.since.year not in _YEARS or question.until.year not in _YEARS:
            raise Invalid("explorer.question", f"a time lies in the years {_YEARS[0]} to {_YEARS[-1]}")
        length = question.until - question.since
        if not timedelta(minutes=1) <= length <= LONGEST:
            raise Invalid(
                "explorer.question", "the end lies at least one minute behind the beginning, and at most a year"
            )


def fitting_step(length: timedelta, devices: int, measures: int, wanted: int = 0) -> int:
    """The step in minutes: the one that is wanted, or a longer one where that would be too much."""
    minutes = max(1, int(length.total_seconds() // 60))

    def fits(step: int) -> bool:
        together = _SLICE if step % HOUR else HOUR
        most = _MAX_BUCKETS if wanted else _BUCKETS
        return minutes / step <= most and minutes / together * devices * measures <= _LOOK_UPS

    return next((step for step in STEPS if step >= wanted and fits(step)), STEPS[-1])


class Explorer:
    """Answers questions for whoever asks: about the devices that they see."""

    def __init__(
        self, hub: HubId, store: Store[GroupTables], series: Series, groups: Groups, fleet: Fleet, clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._series = series
        self._groups = groups
        self._fleet = fleet
        self._clock = clock

    async def subjects(self, actor: Actor, question: Question, most: int = MAX_DEVICES) -> Subjects:
        """Raises `NotFound` (`device_group.unknown`, `device.unknown`)."""
        if question.group:
            members = await self._groups.members(actor, DeviceGroupId(question.group), most)
            return Subjects(members.devices, bool(members.after))
        records = [self._fleet.get(actor, DeviceId(each)).record for each in dict.fromkeys(question.devices)]
        return Subjects(records[:most], len(records) > most)

    async def names(self, subjects: Subjects) -> list[Key]:
        """What these devices have sent, in order; some of them are asked."""
        return await self._series.names([each.device_id for each in subjects.devices[:20]])

    async def answer(self, actor: Actor, question: Question, *, most_devices: int = MAX_DEVICES) -> Answer:
        """Raises `Invalid` (`explorer.question`), `NotFound`, `Unavailable`."""
        check_question(question)
        subjects = await self.subjects(actor, question, most_devices)
        now = self._clock.now()
        until = question.until or now
        since = question.since or until - timedelta(minutes=question.minutes)
        ids = [each.device_id for each in subjects.devices]
        step = fitting_step(until - since, len(ids), len(question.measures), question.step)
        keys = list(dict.fromkeys(measure.key for measure in question.measures))
        found = await self._series.many_buckets(ids, keys, since, until, timedelta(minutes=step))
        parts = await self._parts(question.by, subjects)
        times = _times(since, until, step)

        def made() -> list[Line]:
            return [
                Line(measure, of, _values(found, members, measure, times))
                for measure in question.measures
                for of, members in parts
            ]

        # Of many devices this is some hundred milliseconds, which are not the loop's.
        lines = await asyncio.to_thread(made)
        if question.by:
            # Of many devices only those that said something make a line.
            lines = [line for line in lines if any(value is not None for value in line.values)]
        told = []
        if subjects.is_cut:
            told.append(f"There are more devices: these are the first {len(ids)} by their ids.")
        if question.step and step != question.step:
            told.append(f"Steps of {question.step} minutes would be too many for so long a time: these have {step}.")
        if len(lines) > MAX_LINES:
            told.append(f"There are {len(lines)} lines: the first {MAX_LINES} are shown.")
            lines = lines[:MAX_LINES]
        return Answer(since, until, step, times, lines, subjects, tuple(told))

    async def totals(self, actor: Actor, question: Question, now: datetime, *, most_devices: int) -> list[Total]:
        """One figure for each line, over the whole time up to `now`, and what it was over the time before that.

        Raises as `answer`.
        """
        check_question(question)
        subjects = await self.subjects(actor, question, most_devices)
        length = timedelta(minutes=question.minutes)
        keys = list(dict.fromkeys(measure.key for measure in question.measures))
        ids = [each.device_id for each in subjects.devices]
        step = fitting_step(length, len(ids), len(keys), 1)
        # Where one time ends the other begins, or else what is steady would seem to rise or fall.
        grain = timedelta(minutes=1 if step % HOUR else HOUR)
        begin, middle = (EPOCH + (now - times * length - EPOCH) // grain * grain for times in (2, 1))
        found = [
            await self._series.many_buckets(ids, keys, *span, timedelta(minutes=step), is_first_whole=False)
            for span in ((middle, now), (begin, middle))
        ]
        parts = await self._parts(question.by, subjects)

        def figure(measure: Measure, members: Sequence[str], at: int) -> float | None:
            whole = Bucket()
            for each in members:
                for bucket in found[at][each][measure.key].values():
                    whole.merge(bucket)
            return AGGREGATE_OF[measure.aggregate](whole) if whole.count else None

        def made() -> list[Total]:
            return [
                Total(measure, of, figure(measure, members, 0), figure(measure, members, 1))
                for measure in question.measures
                for of, members in parts
            ]

        return await asyncio.to_thread(made)

    async def _parts(self, by: str, subjects: Subjects) -> list[tuple[str, list[str]]]:
        """(what a line is of, its devices), as the question groups them."""
        if not by:
            return [("", [each.device_id for each in subjects.devices])]
        if by == "$id":
            return [(each.display_name, [each.device_id]) for each in subjects.devices]

        def work(tables: GroupTables) -> dict[str, list[str]]:
            parts: dict[str, list[str]] = {}
            for record in subjects.devices:
                twin = cloud = None
                if by not in FACTS:
                    twin = tables.twins.find(self._hub, IdentityName(record.device_id))
                    cloud = tables.devices.cloud_properties(self._hub, record.device_id)
                value = _at(device_row(record, twin, cloud or {}), by)
                parts.setdefault(_text(value), []).append(record.device_id)
            return parts

        return sorted((await self._store.scan(work)).items())


AGGREGATE_OF: Final[dict[Aggregate, Callable[[Bucket], float | None]]] = {
    "average": lambda bucket: bucket.average,
    "minimum": lambda bucket: bucket.least,
    "maximum": lambda bucket: bucket.greatest,
    "sum": lambda bucket: bucket.total,
    "count": lambda bucket: float(bucket.count),
}


def _values(
    found: Mapping[str, Mapping[Key, Mapping[datetime, Bucket]]],
    members: Sequence[str],
    measure: Measure,
    times: Sequence[datetime],
) -> list[float | None]:
    lines = [found[each][measure.key] for each in members]
    line = lines[0] if len(lines) == 1 else merge_buckets(lines)
    figure, nothing = AGGREGATE_OF[measure.aggregate], 0.0 if measure.aggregate == "count" and line else None
    return [nothing if (bucket := line.get(time)) is None else figure(bucket) for time in times]


def _times(since: datetime, until: datetime, step: int) -> list[datetime]:
    length = timedelta(minutes=step)
    first = EPOCH + (since - EPOCH) // length * length
    return [first + number * length for number in range(-(-(until - first) // length))]


def _at(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for name in [path] if path in row else path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:80] if isinstance(value, (str, int, float)) else "(an object)"
