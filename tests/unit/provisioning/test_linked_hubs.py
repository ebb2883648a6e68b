"""Links to hubs: read from connection strings, changed one by one or as a list, and shown without their keys."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from moorage.errors import Invalid, NotFound, Refusal, TooLarge
from moorage.ids import DEFAULT_HUB, Secret
from moorage.provisioning.linked_hubs import (
    MAX_LINKED_HUBS,
    LinkedHubDraft,
    parse_connection_string,
    shown_connection_string,
)
from moorage.provisioning.model import LinkedHub, ProvisioningTables

from .world import HOST, World

KEY = base64.b64encode(b"k" * 32).decode()


def text(host: str = "west.example", key: str = KEY) -> Secret:
    return Secret(f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={key}")


def draft(host: str = "west.example", **more: Any) -> LinkedHubDraft:
    return LinkedHubDraft(connection_string=text(host), **more)


def names(world: World) -> list[str]:
    return [world.linked.names_of(each)[0] for each in world.linked.all()]


async def refused(call: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await call
    assert KEY not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("West.Example", "west.example", 443),
        ("west.example:8443", "west.example", 8443),
        ("127.0.0.2:9", "127.0.0.2", 9),
        ("[2001:DB8::1]:8443", "2001:db8::1", 8443),
        ("[2001:db8::1]", "2001:db8::1", 443),
    ],
)
def test_a_connection_string_says_where_and_as_whom(host: str, name: str, port: int) -> None:
    endpoint = parse_connection_string(text(host))
    assert (endpoint.host, endpoint.port, endpoint.policy) == (name, port, "iothubowner")
    assert endpoint.key.reveal() == KEY
    lines = Secret(f" sharedaccesskey={KEY} ; HOSTNAME={host};SharedAccessKeyName=x;; "[:-3])
    assert parse_connection_string(lines).host == name


@pytest.mark.parametrize(
    "wrong",
    [
        "", "HostName", f"HostName=h;SharedAccessKey={KEY}", f"SharedAccessKeyName=p;SharedAccessKey={KEY}",
        "HostName=h;SharedAccessKeyName=p", f"HostName=h/x;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=h:0;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=h:99999;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=h:0123456789;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=h:port;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=-;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        f"HostName=h;SharedAccessKeyName=p\r\nx;SharedAccessKey={KEY}",
        "HostName=h;SharedAccessKeyName=p;SharedAccessKey=not base64!",
        "HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2hvcnQ=", f"HostName={'h' * 2000};x=y",
    ],
)  # fmt: skip
def test_what_is_no_connection_string_is_refused_without_its_key(wrong: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_connection_string(Secret(wrong))
    assert refusal.value.reason in ("linked_hub.connection_string", "key.base64", "key.length")
    assert KEY not in str(refusal.value)


async def test_the_own_hub_is_linked_from_the_start_until_it_is_taken_out(world: World) -> None:
    (own,) = world.linked.all()
    assert own.is_own and world.linked.names_of(own) == (HOST, "localhost")
    assert world.linked.get("LOCALHOST") == own
    await world.linked.put(draft(), by="tests")
    assert names(world) == [HOST, "west.example"]
    await world.linked.remove("localhost", by="tests")
    assert names(world) == ["west.example"]
    await world.linked.remove("West.Example", by="tests")
    assert names(world) == []
    assert (await refused(world.linked.remove(HOST, by="tests"))).reason == "linked_hub.unknown"
    with pytest.raises(NotFound):
        world.linked.get("west.example")
    await world.linked.put(draft(HOST), by="tests")
    assert [each.is_own for each in world.linked.all()] == [True]


async def test_a_change_keeps_place_and_key_unless_it_brings_one(world: World) -> None:
    await world.linked.put(draft(weight=3, location="west"), by="tests")
    await world.linked.put(draft("east.example"), by="tests")
    changed = await world.linked.put(LinkedHubDraft(host_name="WEST.example", weight=0), by="tests")
    assert (changed.host_name, changed.weight, changed.location) == ("west.example", 0, "")
    assert changed.connection_string == text()
    starred = LinkedHubDraft(connection_string=text(key="****"), applies_policy=False)
    again = await world.linked.put(starred, by="tests")
    assert (again.connection_string, again.applies_policy) == (text(), False)
    other = base64.b64encode(b"o" * 32).decode()
    assert (
        await world.linked.put(LinkedHubDraft(connection_string=text(key=other)), by="tests")
    ).connection_string == text(key=other)
    assert names(world) == [HOST, "west.example", "east.example"]


async def test_stars_for_a_hub_that_is_not_linked_are_no_key(world: World) -> None:
    for wanted in (LinkedHubDraft(connection_string=text(key="****")), LinkedHubDraft(host_name="west.example")):
        assert (await refused(world.linked.put(wanted, by="tests"))).reason == "linked_hub.hidden_key"


async def test_stars_change_neither_port_nor_policy_unseen(world: World) -> None:
    await world.linked.put(draft("west.example:8443"), by="tests")
    for wanted in (
        "HostName=west.example;SharedAccessKeyName=iothubowner;SharedAccessKey=****",
        "HostName=west.example:8443;SharedAccessKeyName=registryReadWrite;SharedAccessKey=****",
    ):
        no = await refused(world.linked.put(LinkedHubDraft(connection_string=Secret(wanted)), by="tests"))
        assert no.reason == "linked_hub.hidden_key"
    for same in ("HostName=WEST.example:8443;SharedAccessKeyName=iothubowner", "HostName=west.example:8443"):
        kept = LinkedHubDraft(connection_string=Secret(f"{same};SharedAccessKey=****"), weight=7)
        linked = await world.linked.put(kept, by="tests")
        assert (linked.connection_string, linked.weight) == (text("west.example:8443"), 7)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"weight": -1}, "linked_hub.weight"),
        ({"weight": 1001}, "linked_hub.weight"),
        ({"location": "x" * 65}, "linked_hub.location"),
        ({"location": "a\nb"}, "linked_hub.location"),
    ],
)
async def test_a_link_out_of_bounds_is_refused(world: World, more: dict[str, Any], reason: str) -> None:
    assert (await refused(world.linked.put(draft(**more), by="tests"))).reason == reason
    assert names(world) == [HOST]


async def test_a_list_replaces_all_links_or_none(world: World) -> None:
    await world.linked.put(draft(), by="tests")

    async def replace(*drafts: LinkedHubDraft) -> list[LinkedHub]:
        def work(tables: ProvisioningTables) -> list[LinkedHub]:
            return world.linked.replace_in(tables, drafts)

        return await world.store.write(work)

    starred = LinkedHubDraft(connection_string=text(key="****"), weight=5)
    await replace(draft("east.example"), starred)
    assert names(world) == ["east.example", "west.example"]
    assert world.linked.get("west.example").connection_string == text()
    assert (await refused(replace(draft("north.example"), draft("NORTH.example")))).reason == "linked_hub.twice"
    assert (await refused(replace(draft("south.example"), draft("a/b")))).reason == "linked_hub.connection_string"
    assert names(world) == ["east.example", "west.example"]
    await replace()
    assert names(world) == []
    await replace(LinkedHubDraft(host_name=HOST), draft())
    assert names(world) == [HOST, "west.example"]


async def test_so_many_hubs_are_linked_and_no_more(world: World) -> None:
    for number in range(MAX_LINKED_HUBS - 1):
        await world.linked.put(draft(f"h{number}.example"), by="tests")
    no = await refused(world.linked.put(draft("one-more.example"), by="tests"))
    assert (type(no), no.reason) == (TooLarge, "linked_hub.too_many")
    await world.linked.put(draft("h3.example", weight=2), by="tests")
    await world.linked.remove("h3.example", by="tests")
    await world.linked.put(draft("one-more.example"), by="tests")
    assert (await world.linked.put(draft("ONE-more.example", weight=2), by="tests")).weight == 2


async def test_the_key_is_shown_to_nobody_and_who_linked_is_in_the_audit_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    linked = await world.linked.put(draft("west.example:8443"), by="somebody")
    assert shown_connection_string(linked, HOST) == (
        "HostName=west.example:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=****"
    )
    own = world.linked.get(HOST)
    assert shown_connection_string(own, HOST).startswith(f"HostName={HOST};")
    await world.linked.set_default_allocation("geoLatency", by="another")
    assert world.linked.default_allocation() == "geoLatency"
    await world.linked.remove("west.example", by="owner")
    assert [record.getMessage() for record in caplog.records] == [
        f"linked_hub.put hub={DEFAULT_HUB} linked=west.example weight=1 policy=True by=somebody",
        f"allocation_policy.set hub={DEFAULT_HUB} policy=geoLatency by=another",
        f"linked_hub.removed hub={DEFAULT_HUB} linked=west.example weight=1 policy=True by=owner",
    ]
    assert KEY not in caplog.text and KEY not in repr(linked)
