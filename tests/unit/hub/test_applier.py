"""Configurations on a real store: who gets what, what is taken back, and a hub that stops in the middle."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.clock import HandClock
from moorage.dialects.query_rows import TwinSource
from moorage.events import Event
from moorage.hub.applier import ConfigurationApplier
from moorage.hub.conditions import ConditionTargets
from moorage.hub.configuration_model import Configuration, ConfigurationId
from moorage.hub.merging import apply_settings
from moorage.hub.model import HubTables
from moorage.hub.reconcile import decide_settings
from moorage.hub.twins import TwinChange, TwinService
from moorage.identities.registry import IdentityDraft, IdentityRegistry, create_in
from moorage.ids import DEFAULT_HUB
from tests.unit.hub.absent import NobodyConnected
from tests.unit.hub.samples import NOW, configuration, named

# A bit less than a quarter of a twin.
MEMBERS = [f"member-{number:04}" for number in range(400)]


class Fleet:
    """A hub's store with an applier that works when it is told to."""

    def __init__(self, store: SqliteStore, bus: LocalBus) -> None:
        self.clock = HandClock(NOW)
        self._version = 0
        self.store = store
        self.bus = bus
        self.twins = TwinService(store, self.clock)
        self.registry = IdentityRegistry(store)
        presence = NobodyConnected()
        self.targets = ConditionTargets(
            store,
            {
                "devices": TwinSource("devices", presence, self.clock),
                "devices.modules": TwinSource("devices.modules", presence, self.clock),
            },
        )
        self.applier = self.another_applier()

    def another_applier(self) -> ConfigurationApplier:
        return ConfigurationApplier(DEFAULT_HUB, self.store, self.bus, self.targets, self.clock)

    async def create(self, name: str, *, edge: bool = False, tags: Mapping[str, Any] | None = None) -> None:
        await self.registry.create(DEFAULT_HUB, IdentityDraft(named(name), is_edge=edge), NOW)
        if tags:
            await self.twins.patch(DEFAULT_HUB, named(name), TwinChange(tags=tags))

    async def create_many(self, count: int) -> None:
        def work(tables: HubTables) -> None:
            for number in range(count):
                create_in(tables, DEFAULT_HUB, IdentityDraft(named(f"pump-{number:04}")), NOW)

        await self.store.write(work)

    async def put(self, *configurations: Configuration) -> None:
        """Each as another version than any before."""
        self._version += 1

        def work(tables: AllTables) -> None:
            for each in configurations:
                tables.configurations.put(replace(each, version=self._version))
                tables.configurations.begin_work(DEFAULT_HUB, each.id)

        await self.store.write(work)

    async def delete(self, name: str) -> None:
        def work(tables: AllTables) -> None:
            tables.configurations.delete(DEFAULT_HUB, ConfigurationId(name))
            tables.configurations.begin_work(DEFAULT_HUB, ConfigurationId(name))

        await self.store.write(work)

    async def settle(self) -> int:
        """Until nothing is left to do; how many steps that took."""
        steps = 0
        while await self.applier.step():
            steps += 1
            assert steps < 1000, "it never comes to rest"
        return steps

    async def set(self, name: str, **change: Any) -> None:
        await self.twins.patch(DEFAULT_HUB, named(name), TwinChange(**change))

    def desired(self, name: str) -> dict[str, Any]:
        return dict(self.twins.get(DEFAULT_HUB, named(name)).desired.value)

    def statuses(self, name: str) -> dict[str, str]:
        return dict(self.store.read().configurations.statuses(DEFAULT_HUB, named(name)))

    def tally(self, name: str) -> tuple[int, int]:
        return self.store.read().configurations.tally(DEFAULT_HUB).get(ConfigurationId(name), (0, 0))


@pytest.fixture
async def fleet(store: SqliteStore, bus: LocalBus) -> Fleet:
    return Fleet(store, bus)


# -- who gets what -----------------------------------------------------------------------------------------------------


async def test_devices_that_the_condition_selects_get_what_the_configuration_sets(fleet: Fleet) -> None:
    await fleet.create("in", tags={"hall": 1})
    await fleet.create("out", tags={"hall": 2})
    await fleet.put(configuration("a", {"properties.desired.x.y": 5}, condition="tags.hall = 1"))
    await fleet.settle()
    assert (fleet.desired("in"), fleet.statuses("in")) == ({"x": {"y": 5}}, {"a": "Applied"})
    assert (fleet.desired("out"), fleet.statuses("out")) == ({}, {})
    assert fleet.tally("a") == (1, 1)


@pytest.mark.parametrize(("condition", "targeted"), [("", 0), ("*", 3), ("deviceId IN ['a', 'b']", 2)])
async def test_conditions_select_nobody_all_or_some(fleet: Fleet, condition: str, targeted: int) -> None:
    for name in "abc":
        await fleet.create(name)
    await fleet.put(configuration("c", condition=condition))
    await fleet.settle()
    assert fleet.tally("c") == (targeted, targeted)


async def test_what_was_set_by_hand_stays_beside_it(fleet: Fleet) -> None:
    await fleet.create("d")
    await fleet.set("d", desired={"mine": 1, "x": {"mine": 2}})
    await fleet.put(configuration("a", {"properties.desired.x.y": 5, "properties.desired.gone": None}))
    await fleet.settle()
    assert fleet.desired("d") == {"mine": 1, "x": {"mine": 2, "y": 5}}
    await fleet.delete("a")
    await fleet.settle()
    assert (fleet.desired("d"), fleet.statuses("d")) == ({"mine": 1, "x": {"mine": 2}}, {})


async def test_the_higher_priority_wins_then_the_newer_one(fleet: Fleet) -> None:
    await fleet.create("d")
    await fleet.put(
        configuration("low", {"properties.desired.x": "low", "properties.desired.only": 1}, priority=1),
        configuration("old", {"properties.desired.x": "old"}, priority=5, age_s=60),
        configuration("new", {"properties.desired.x": "new"}, priority=5),
    )
    await fleet.settle()
    assert fleet.desired("d") == {"x": "new", "only": 1}
    assert fleet.statuses("d") == {"low": "Applied", "old": "Targeted", "new": "Applied"}
    assert (fleet.tally("old"), fleet.tally("new")) == ((1, 0), (1, 1))
    for deleted, left in (("new", "old"), ("old", "low")):
        await fleet.delete(deleted)
        await fleet.settle()
        assert fleet.desired("d") == {"x": left, "only": 1}


async def test_a_device_comes_and_goes_with_its_tags(fleet: Fleet) -> None:
    await fleet.put(configuration("a", condition="tags.hall = 1"), configuration("b", condition="tags.hall = 2"))
    await fleet.settle()
    await fleet.create("d", tags={"hall": 1})
    for hall, wanted in ((1, {"by": "a"}), (2, {"by": "b"}), (3, {})):
        await fleet.set("d", tags={"hall": hall})
        await fleet.settle()
        assert fleet.desired("d") == wanted
    assert fleet.statuses("d") == {}


async def test_a_new_device_is_configured_although_nobody_wrote_its_twin(fleet: Fleet) -> None:
    await fleet.put(configuration("a"), configuration("empty", {"deviceContent": {}}))
    await fleet.settle()
    await fleet.create("d")
    await fleet.settle()
    assert (fleet.desired("d"), fleet.statuses("d")) == ({"by": "a"}, {"a": "Applied", "empty": "Targeted"})


async def test_a_device_that_is_made_again_begins_anew(fleet: Fleet) -> None:
    await fleet.put(configuration("a", condition="tags.hall = 1"))
    await fleet.create("d", tags={"hall": 1})
    await fleet.settle()
    await fleet.registry.delete(DEFAULT_HUB, named("d"))
    await fleet.create("d")
    await fleet.settle()
    assert (fleet.desired("d"), fleet.statuses("d"), fleet.tally("a")) == ({}, {}, (0, 0))


async def test_what_a_device_reports_counts_where_a_condition_asks_for_it(fleet: Fleet) -> None:
    await fleet.put(configuration("a", condition="properties.reported.version < 3"))
    await fleet.create("d")
    await fleet.settle()
    await fleet.twins.report(DEFAULT_HUB, named("d"), {"version": 2})
    await fleet.settle()
    assert fleet.desired("d") == {"by": "a"}
    await fleet.twins.report(DEFAULT_HUB, named("d"), {"version": 3})
    await fleet.settle()
    assert fleet.desired("d") == {}


async def test_reports_that_no_condition_asks_for_mark_nothing(fleet: Fleet) -> None:
    await fleet.put(configuration("a", condition="tags.x = 1"))
    await fleet.create("d", tags={"x": 1})
    await fleet.settle()
    await fleet.twins.report(DEFAULT_HUB, named("d"), {"version": 2})
    assert await fleet.settle() == 0


async def test_without_configurations_nothing_is_marked(fleet: Fleet) -> None:
    await fleet.create("d", tags={"x": 1})
    await fleet.twins.report(DEFAULT_HUB, named("d"), {"version": 2})
    assert fleet.store.read().configurations.marked(DEFAULT_HUB, 10) == []


async def test_a_change_by_hand_is_set_back(fleet: Fleet) -> None:
    await fleet.put(configuration("a", {"properties.desired.x.y": 5}))
    await fleet.create("d")
    await fleet.settle()
    await fleet.set("d", desired={"x": {"y": 6, "z": 7}})
    await fleet.settle()
    assert fleet.desired("d") == {"x": {"y": 5, "z": 7}}


async def test_a_changed_priority_and_condition_take_effect(fleet: Fleet) -> None:
    await fleet.create("d")
    await fleet.put(configuration("a", priority=1), configuration("b", priority=2))
    await fleet.settle()
    assert fleet.desired("d") == {"by": "b"}
    await fleet.put(configuration("a", priority=3))
    await fleet.settle()
    assert (fleet.desired("d"), fleet.statuses("d")) == ({"by": "a"}, {"a": "Applied", "b": "Targeted"})
    await fleet.put(configuration("a", priority=3, condition=""))
    await fleet.settle()
    assert (fleet.desired("d"), fleet.statuses("d")) == ({"by": "b"}, {"b": "Applied"})


async def test_modules_are_configured_by_conditions_on_modules(fleet: Fleet) -> None:
    await fleet.create("d")
    for name in ("d/camera", "d/other"):
        await fleet.create(name)
    content = {"moduleContent": {"properties.desired.rate": 5}}
    await fleet.put(configuration("m", content, condition="FROM devices.modules WHERE moduleId = 'camera'"))
    await fleet.settle()
    assert (fleet.desired("d/camera"), fleet.statuses("d/camera")) == ({"rate": 5}, {"m": "Applied"})
    assert (fleet.desired("d/other"), fleet.desired("d")) == ({}, {})
    assert fleet.tally("m") == (1, 1)


async def test_a_device_is_told_what_changed_and_nothing_twice(fleet: Fleet, events: list[Event]) -> None:
    await fleet.create("d")
    await fleet.set("d", desired={"x": 1})
    await fleet.put(configuration("a", {"properties.desired.x": 1, "properties.desired.y": {"z": 2}}))
    await fleet.settle()
    await fleet.put(configuration("a", {"properties.desired.x": 1, "properties.desired.y": {"z": 2}}, priority=9))
    await fleet.settle()
    told = [dict(event.data) for event in events if event.kind == "twin.desired"]
    assert told[1:] == [{"patch": {"y": {"z": 2}}, "version": 3}]


async def test_what_does_not_fit_together_leaves_out_the_lowest(fleet: Fleet) -> None:
    await fleet.create("d")
    large = {f"properties.desired.{{}}{number}": "x" * 4000 for number in range(5)}
    for priority, name in enumerate("abc"):
        content = {path.format(name): text for path, text in large.items()}
        await fleet.put(configuration(name, content, priority=priority))
    await fleet.settle()
    assert fleet.statuses("d") == {"a": "Targeted", "b": "Targeted", "c": "Applied"}
    assert {name[0] for name in fleet.desired("d")} == {"c"}
    await fleet.delete("c")
    await fleet.settle()
    assert fleet.statuses("d") == {"a": "Targeted", "b": "Applied"}
    assert {name[0] for name in fleet.desired("d")} == {"b"}


# -- a hub that stops in the middle ------------------------------------------------------------------------------------


async def test_a_section_that_a_higher_one_takes_away_leaves_nothing_empty_behind(fleet: Fleet) -> None:
    await fleet.create("d")
    await fleet.put(configuration("a", {"properties.desired.x.y": 1}))
    await fleet.settle()
    await fleet.put(configuration("b", {"properties.desired.x.y": None}, priority=1))
    await fleet.settle()
    assert fleet.desired("d") == {}


async def test_many_that_do_not_fit_together_are_tried_only_a_few_times(fleet: Fleet) -> None:
    # Trying a hundred of these, one fewer each time, held the store for ten seconds a device.
    await fleet.put(
        *(
            configuration(f"c-{number:02}", {f"properties.desired.k{number}": dict.fromkeys(MEMBERS, 1)}, age_s=number)
            for number in range(100)
        )
    )
    await fleet.create_many(5)
    began = time.process_time()
    await fleet.applier.step()
    assert time.process_time() - began < 10
    assert fleet.statuses("pump-0000") == {
        f"c-{number:02}": "Applied" if number < 4 else "Targeted" for number in range(100)
    }


async def test_what_was_begun_goes_on_where_it_was(fleet: Fleet) -> None:
    await fleet.create_many(200)
    await fleet.put(configuration("a"))
    await fleet.applier.step()
    work = fleet.store.read().configurations.next_work(DEFAULT_HUB)
    assert work is not None and work.phase == "joining"
    fleet.applier = Interrupted(fleet, after=3)
    with pytest.raises(ConnectionError):
        await fleet.settle()
    begun = fleet.tally("a")[0]
    assert 0 < begun < 200
    fleet.applier = fleet.another_applier()
    steps = await fleet.settle()
    assert fleet.tally("a") == (200, 200)
    assert steps <= 2
    # And back again, also in two goes.
    await fleet.delete("a")
    await fleet.applier.step()
    assert 0 < fleet.tally("a")[0] < 200
    fleet.applier = fleet.another_applier()
    await fleet.settle()
    assert fleet.tally("a") == (0, 0)
    assert all(fleet.desired(f"pump-{number:04}") == {} for number in range(200))


async def test_a_change_in_the_middle_begins_again(fleet: Fleet) -> None:
    await fleet.create_many(60)
    await fleet.put(configuration("a", {"properties.desired.x": 1}))
    fleet.applier = Interrupted(fleet, after=2)
    with pytest.raises(ConnectionError):
        await fleet.settle()
    await fleet.put(configuration("a", {"properties.desired.x": 1}, condition="deviceId = 'pump-0001'"))
    fleet.applier = fleet.another_applier()
    await fleet.settle()
    assert fleet.tally("a") == (1, 1)
    assert [name for name in range(60) if fleet.desired(f"pump-{name:04}")] == [1]


async def test_a_condition_that_is_none_any_more_keeps_nobody_else_from_the_rest(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.create("d")
    await fleet.put(configuration("broken", condition="deviceId = 'd'"), configuration("fine"))

    def spoil(tables: AllTables) -> None:
        tables._connection.execute("UPDATE configurations SET target_condition = '=' WHERE id = 'broken'")

    await fleet.store.write(spoil)
    await fleet.settle()
    assert fleet.statuses("d") == {"fine": "Applied"}
    assert "configuration_condition id=broken" in caplog.text


async def test_devices_that_report_without_end_do_not_hold_up_a_configuration(fleet: Fleet) -> None:
    await fleet.create_many(60)
    await fleet.put(configuration("hears", condition="properties.reported.x > 0"))
    await fleet.settle()
    await fleet.put(configuration("all", {"properties.desired.all": 1}))
    for number in range(8):
        for device in range(30):
            await fleet.twins.report(DEFAULT_HUB, named(f"pump-{device:04}"), {"x": number})
        await fleet.applier.step()
    assert fleet.tally("all") == (60, 60)


class Interrupted(ConfigurationApplier):
    """Loses its store after some transactions."""

    def __init__(self, fleet: Fleet, *, after: int) -> None:
        super().__init__(DEFAULT_HUB, fleet.store, fleet.bus, fleet.targets, fleet.clock)
        self._left = after

    async def _look_at(self, *arguments: Any) -> None:
        if self._left == 0:
            raise ConnectionError("the machine lost its power")
        self._left -= 1
        await super()._look_at(*arguments)


# -- whatever happens --------------------------------------------------------------------------------------------------

HALLS = st.integers(0, 2)
CONFIGURATIONS = st.builds(
    configuration,
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(
        st.sampled_from([f"properties.desired.{path}" for path in ("x", "x.y", "x.z", "w")]),
        st.one_of(st.none(), st.integers(0, 2), st.just({"y": 3})),
        min_size=1,
        max_size=2,
    ),
    condition=st.one_of(st.just("*"), st.just(""), HALLS.map("tags.hall = {}".format)),
    priority=st.integers(0, 2),
    age_s=st.integers(0, 2),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), CONFIGURATIONS),
        st.tuples(st.just("delete"), st.sampled_from(["a", "b", "c"])),
        st.tuples(st.just("tag"), st.tuples(st.sampled_from(["d0", "d1"]), HALLS)),
        st.tuples(st.just("work"), st.sampled_from([1, 2, 9])),
    ),
    min_size=3,
    max_size=14,
)


@given(STEPS)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_in_the_end_every_twin_is_what_the_configurations_want_and_no_more(
    bus: LocalBus, steps: list[tuple[str, Any]]
) -> None:
    store = SqliteStore(":memory:", secrets_key=bytes(32), bus=bus)
    fleet = Fleet(store, bus)
    try:
        present: dict[str, Configuration] = {}
        halls = {"d0": 0, "d1": 1}
        for name, hall in halls.items():
            await fleet.create(name, tags={"hall": hall})
            await fleet.set(name, desired={"mine": name})
        for step, what in steps:
            if step == "put":
                # The content of one that is there never changes.
                kept = present.get(what.id)
                made = what if kept is None else changed(kept, what)
                present[what.id] = made
                await fleet.put(made)
            elif step == "delete" and what in present:
                del present[what]
                await fleet.delete(what)
            elif step == "tag":
                halls[what[0]] = what[1]
                await fleet.set(what[0], tags={"hall": what[1]})
            elif step == "work":
                for _ in range(what):
                    await fleet.applier.step()
        await fleet.settle()
        for name, hall in halls.items():
            targeted = [each for each in present.values() if each.target_condition in ("*", f"tags.hall = {hall}")]
            wanted, applied = decide_settings(targeted)
            assert fleet.desired(name) == apply_settings({"mine": name}, wanted)
            assert fleet.statuses(name) == {key: each.status for key, each in applied.items()}
        assert await fleet.settle() == 0
    finally:
        fleet.applier.close()
        store.close()


def changed(present: Configuration, wanted: Configuration) -> Configuration:
    return configuration(
        present.id,
        dict(present.content),
        condition=wanted.target_condition,
        priority=wanted.priority,
        age_s=int((NOW - present.created).total_seconds()),
    )


def test_the_order_in_which_configurations_are_given_does_not_matter() -> None:
    many = [
        configuration(f"c{number}", {"properties.desired.x": number}, priority=number % 3, age_s=number % 5)
        for number in range(12)
    ]
    expected = decide_settings(many)
    for seed in range(20):
        shuffled = random.Random(seed).sample(many, len(many))
        settings_made, applied = decide_settings(shuffled)
        assert (settings_made, applied) == expected
