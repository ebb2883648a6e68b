"""Placing provisioned devices: one transaction, idempotent, and nothing written when nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Invalid, Unavailable
from moorage.events import Event
from moorage.hub.assigner import Assigner
from moorage.hub.twins import TwinService
from moorage.identities.model import Authentication, ByAuthority, BySharedKey
from moorage.identities.policies import make_key
from moorage.identities.registry import IdentityDraft, find_in, update_in
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, IdentityName, Secret
from moorage.provisioning.model import Assignment
from moorage.provisioning.placing import DeviceHome

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))
GROUP = ByAuthority(EnrollmentGroupId("line-7"))


def assigner_of(store: SqliteStore) -> DeviceHome:
    """It has the shape of the port that provisioning owns: the type checker says so here."""
    return Assigner(
        store, HandClock(NOW), DEFAULT_HUB, ("hub.example", "hub"), lambda device_id, new: Assignment(device_id, new)
    )


async def assign(
    store: SqliteStore,
    authentication: Authentication = GROUP,
    *,
    host: str = "hub.example",
    reset: bool = False,
    tags: Mapping[str, Any] | None = None,
    desired: Mapping[str, Any] | None = None,
    is_edge: bool = False,
    is_disabled: bool = False,
) -> Assignment:
    return await assigner_of(store).assign(
        host,
        DeviceId("pump-01"),
        authentication,
        reset_data=reset,
        tags=tags or {},
        desired=desired or {},
        is_edge=is_edge,
        is_disabled=is_disabled,
    )


async def test_a_new_device_comes_with_its_first_twin(store: SqliteStore, events: list[Event]) -> None:
    assert await assign(store, tags={"site": "north"}, desired={"rate": 5}) == Assignment(DeviceId("pump-01"), True)
    identity = find_in(store.read(), DEFAULT_HUB, PUMP)
    twin = TwinService(store, HandClock(NOW)).get(DEFAULT_HUB, PUMP)
    assert identity.authentication == GROUP
    assert (twin.tags, twin.desired.value, twin.desired.version) == ({"site": "north"}, {"rate": 5}, 1)
    assert [event.kind for event in events] == ["identity.created"]


@pytest.mark.parametrize("reset", [False, True])
async def test_asking_again_writes_nothing(store: SqliteStore, events: list[Event], reset: bool) -> None:
    await assign(store, desired={"rate": 5}, reset=reset)
    commits, told = store.commits, len(events)
    for host in ("hub.example", "HUB", "hub"):
        again = await assign(store, host=host, desired={"rate": 5}, reset=reset)
        assert again == Assignment(DeviceId("pump-01"), False)
    assert (store.commits, len(events)) == (commits, told)


async def test_keys_that_are_not_given_are_kept(store: SqliteStore) -> None:
    await assign(store, BySharedKey(make_key(), make_key()))
    kept = find_in(store.read(), DEFAULT_HUB, PUMP).authentication
    commits = store.commits
    await assign(store, BySharedKey(Secret(""), Secret("")))
    assert find_in(store.read(), DEFAULT_HUB, PUMP).authentication == kept
    assert store.commits == commits


async def test_another_credential_replaces_the_one_before_and_the_data_stays(
    store: SqliteStore, events: list[Event]
) -> None:
    await assign(store, desired={"rate": 5})
    twins = TwinService(store, HandClock(NOW))
    await twins.report(DEFAULT_HUB, PUMP, {"temperature": 20})
    before = twins.get(DEFAULT_HUB, PUMP)
    other = ByAuthority(EnrollmentGroupId("line-8"))
    assert (await assign(store, other, desired={"rate": 9})).created is False
    assert find_in(store.read(), DEFAULT_HUB, PUMP).authentication == other
    assert twins.get(DEFAULT_HUB, PUMP) == before
    assert [event.kind for event in events] == ["identity.created", "identity.updated"]


async def test_another_credential_is_written_to_the_audit_log_once(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    await assign(store, BySharedKey(make_key(), make_key()))
    await assign(store, GROUP)
    await assign(store, GROUP)
    assert caplog.messages == [
        f"device.created hub={DEFAULT_HUB} name=pump-01 auth=sas status=enabled by=provisioning",
        f"device.reauthenticated hub={DEFAULT_HUB} device=pump-01 was=sas auth=certificateAuthority by=provisioning",
    ]


async def test_a_reset_forgets_what_was_reported_and_tells_the_device(store: SqliteStore, events: list[Event]) -> None:
    await assign(store, tags={"site": "north"}, desired={"rate": 5})
    twins = TwinService(store, HandClock(NOW))
    await twins.report(DEFAULT_HUB, PUMP, {"temperature": 20})
    await assign(store, tags={"site": "south"}, desired={"rate": 6}, reset=True)
    twin = twins.get(DEFAULT_HUB, PUMP)
    assert (twin.tags, twin.desired.value, twin.reported.value) == ({"site": "south"}, {"rate": 6}, {})
    assert (twin.desired.version, twin.reported.version) == (2, 3)
    assert (events[-1].kind, dict(events[-1].data)) == ("twin.desired", {"patch": {"rate": 6}, "version": 2})


async def test_a_device_disabled_on_the_hub_stays_disabled(store: SqliteStore) -> None:
    await assign(store)
    draft = IdentityDraft(PUMP, status="disabled", status_reason="stolen")
    await store.write(lambda tables: update_in(tables, DEFAULT_HUB, draft, NOW))
    await assign(store, BySharedKey(make_key(), make_key()))
    identity = find_in(store.read(), DEFAULT_HUB, PUMP)
    assert (identity.status, identity.status_reason) == ("disabled", "stolen")


async def test_initial_data_that_no_twin_may_hold_makes_no_device(store: SqliteStore) -> None:
    with pytest.raises(Invalid):
        await assign(store, desired={"not allowed": 1})
    assert store.read().identities.find(DEFAULT_HUB, PUMP) is None


async def test_an_edge_device_brings_its_modules(store: SqliteStore) -> None:
    await assign(store, is_edge=True)
    assert len(store.read().identities.list_modules(DEFAULT_HUB, DeviceId("pump-01"))) == 2


async def test_a_hub_that_is_not_here_is_refused_by_name(store: SqliteStore) -> None:
    with pytest.raises(Unavailable, match="'other.example' is not a hub here; there is hub.example, hub"):
        await assign(store, host="other.example")


async def test_a_device_that_comes_disabled_is_made_or_left_so(store: SqliteStore) -> None:
    home = assigner_of(store)
    await assign(store, is_disabled=True)
    assert await home.data(DeviceId("pump-01")) == ({}, {}, True)
    await assign(store)
    assert find_in(store.read(), DEFAULT_HUB, PUMP).status == "disabled"
    await store.write(lambda tables: update_in(tables, DEFAULT_HUB, IdentityDraft(PUMP, status="enabled"), NOW))
    await assign(store, is_disabled=True)
    assert find_in(store.read(), DEFAULT_HUB, PUMP).status == "disabled"


async def test_what_goes_to_another_hub_is_told_and_then_gone_with_its_modules(store: SqliteStore) -> None:
    home = assigner_of(store)
    assert await home.data(DeviceId("pump-01")) is None
    await assign(store, tags={"site": "north"}, desired={"rate": 5}, is_edge=True)
    assert await home.data(DeviceId("pump-01")) == ({"site": "north"}, {"rate": 5}, False)
    await home.remove(DeviceId("pump-01"))
    await home.remove(DeviceId("pump-01"))
    assert await home.data(DeviceId("pump-01")) is None
    assert store.read().identities.list_modules(DEFAULT_HUB, DeviceId("pump-01")) == []
