"""What is remembered of telemetry: the last value of each name, and for every minute and hour how many values there
were, their sum, the least, the greatest, the first and the last.

A `Batch` gathers what messages say until it is written; it is plain data that one thread fills. Names come out of
messages as `Value`s: numbers and booleans are counted and summed, texts are only counted. Booleans are 0 and 1 here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

__all__ = [
    "EPOCH",
    "HOUR",
    "MINUTE_MS",
    "Batch",
    "Bucket",
    "DeviceBatch",
    "Key",
    "LastValue",
    "Readings",
    "Scalar",
    "bucket_start",
    "merge_buckets",
]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_MS: Final = 60_000
# In minutes.
HOUR: Final = 60

Scalar = float | int | bool | str
# (component, name): the component is '' for what the device itself says, `@module` before that of a module.
Key = tuple[str, str]


class Readings(NamedTuple):
    """What one message says: the Unix time in ms that it says it for, and its values."""

    at_ms: int
    values: list[tuple[Key, Scalar]]


class LastValue(NamedTuple):
    at: datetime
    value: Scalar


@dataclass(slots=True)
class Bucket:
    """Values of one name in one stretch of time, of one device or of several. The figures are None while only texts
    came."""

    count: int = 0
    total: float | None = None
    least: float | None = None
    greatest: float | None = None
    first: float | None = None
    last: float | None = None

    @property
    def average(self) -> float | None:
        return None if self.total is None else self.total / self.count

    def add(self, value: Scalar) -> None:
        self.count += 1
        if isinstance(value, str):
            return
        number = float(value)
        if self.total is None or self.least is None or self.greatest is None:
            self.total = self.least = self.greatest = self.first = self.last = number
            return
        self.total += number
        if number < self.least:
            self.least = number
        if number > self.greatest:
            self.greatest = number
        self.last = number

    def merge(self, later: Bucket) -> None:
        """`later` is not earlier than what is in here, as far as its first and last value go."""
        self.count += later.count
        if later.total is None or later.least is None or later.greatest is None:
            return
        self.total = later.total if self.total is None else self.total + later.total
        self.least = later.least if self.least is None else min(self.least, later.least)
        self.greatest = later.greatest if self.greatest is None else max(self.greatest, later.greatest)
        self.first = later.first if self.first is None else self.first
        self.last = later.last

    def copy(self) -> Bucket:
        return Bucket(self.count, self.total, self.least, self.greatest, self.first, self.last)


@dataclass(slots=True)
class DeviceBatch:
    """`last` is (ms, value) by the number of a name; `buckets` by (number of the name, minute since 1970)."""

    number: int
    offsets: list[int] = field(default_factory=list)
    last: dict[int, tuple[int, Scalar]] = field(default_factory=dict)
    buckets: dict[tuple[int, int], Bucket] = field(default_factory=dict)

    def copy(self) -> DeviceBatch:
        buckets = {place: bucket.copy() for place, bucket in self.buckets.items()}
        return DeviceBatch(self.number, list(self.offsets), dict(self.last), buckets)


@dataclass(slots=True)
class Batch:
    """What was read and is not written yet. `number` grows by one with each that is written.

    Attributes:
        devices: by their ids.
        generations: of devices that have no number in the store yet, with their ids.
        names: those that have no number in the store yet.
        traffic: messages of all devices by the minute in which they came.
        end: the place in the log from which on nothing is in it.
        mark: (offset, partition, sequence) of its last message, by which the log is known again.
        size: messages and buckets, for a bound.
    """

    number: int
    devices: dict[str, DeviceBatch] = field(default_factory=dict)
    generations: dict[str, tuple[int, str]] = field(default_factory=dict)
    names: dict[Key, int] = field(default_factory=dict)
    traffic: dict[int, int] = field(default_factory=dict)
    end: int = 0
    mark: tuple[int, int, int] | None = None
    messages: int = 0
    size: int = 0


def bucket_start(minute: int, step: int) -> datetime:
    """Steps are counted from 1970, so that those of one length fall together whoever asks."""
    return EPOCH + timedelta(minutes=minute - minute % step)


def merge_buckets(series: Iterable[Mapping[datetime, Bucket]]) -> dict[datetime, Bucket]:
    """Of several devices one line, in the order of time."""
    merged: dict[datetime, Bucket] = {}
    for each in series:
        for start, bucket in each.items():
            merged.setdefault(start, Bucket()).merge(bucket)
    return dict(sorted(merged.items()))
