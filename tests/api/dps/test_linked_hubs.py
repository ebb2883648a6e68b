"""Linked hubs over our own REST: for the owner, without their keys."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.provisioning.world import HOST

from .world import DpsWorld

KEY = base64.b64encode(b"k" * 32).decode()
PATH = "/moorage/v1/linked-hubs"
WEST = "west.example"


def text(host: str = WEST, key: str = KEY) -> str:
    return f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={key}"


async def links(dps: DpsWorld) -> list[str]:
    answer = (await dps.ask_as_owner("GET", PATH)).json()
    return [each["name"] for each in answer["linkedHubs"]]


async def test_a_hub_is_linked_weighed_and_taken_out(dps: DpsWorld) -> None:
    made = await dps.ask_as_owner(
        "PUT", f"{PATH}/{WEST}", {"connectionString": text(f"{WEST}:8443"), "location": "pier"}
    )
    assert made.json() == {
        "name": WEST,
        "connectionString": text(f"{WEST}:8443", "****"),
        "location": "pier",
        "applyAllocationPolicy": True,
        "allocationWeight": 1,
        "isOwn": False,
    }
    changed = await dps.ask_as_owner("PUT", f"{PATH}/WEST.example", {"allocationWeight": 7})
    assert (changed.json()["allocationWeight"], changed.json()["location"]) == (7, "pier")
    changed = await dps.ask_as_owner("PUT", f"{PATH}/{WEST}", {"applyAllocationPolicy": False, "location": None})
    assert changed.json() == made.json() | {"allocationWeight": 7, "applyAllocationPolicy": False}
    assert (await dps.ask_as_owner("GET", f"{PATH}/{WEST}")).json() == changed.json()
    assert await links(dps) == [HOST, WEST]
    assert (await dps.ask_as_owner("DELETE", f"{PATH}/{WEST}")).status_code == 204
    assert await links(dps) == [HOST]
    for method in ("GET", "DELETE"):
        gone = await dps.ask_as_owner(method, f"{PATH}/{WEST}")
        assert (gone.status_code, gone.headers["moorage-reason"]) == (404, "linked_hub.unknown")


async def test_what_changes_while_a_body_comes_stays_changed(dps: DpsWorld) -> None:
    await dps.ask_as_owner("PUT", f"{PATH}/{WEST}", {"connectionString": text()})

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"location": '
        changed = await dps.ask_as_owner("PUT", f"{PATH}/{WEST}", {"allocationWeight": 7})
        assert changed.status_code == 200
        yield b'"pier"}'

    bearer = dps.owner.mint("api", timedelta(hours=1), dps.world.clock.now()).reveal()
    answer = await dps.client.put(f"{PATH}/{WEST}", content=slow(), headers={"authorization": f"Bearer {bearer}"})
    assert (answer.json()["location"], answer.json()["allocationWeight"]) == ("pier", 7)


async def test_the_own_hub_is_weighed_under_any_of_its_names(dps: DpsWorld) -> None:
    changed = await dps.ask_as_owner("PUT", f"{PATH}/localhost", {"allocationWeight": 0})
    assert (changed.json()["name"], changed.json()["isOwn"], changed.json()["allocationWeight"]) == (HOST, True, 0)
    assert (await dps.ask_as_owner("POST", f"{PATH}/{HOST}/check")).json() == {"name": HOST, "isReachable": True}


async def test_the_policy_for_enrollments_that_name_none_is_set(dps: DpsWorld) -> None:
    assert (await dps.ask_as_owner("GET", PATH)).json()["allocationPolicy"] == "hashed"
    for given in ("static", "STATIC", "geoLatency"):
        answer = await dps.ask_as_owner("PUT", "/moorage/v1/allocation-policy", {"allocationPolicy": given})
        assert answer.status_code == 200
    assert (await dps.ask_as_owner("GET", PATH)).json()["allocationPolicy"] == "geoLatency"
    made = await dps.put("/enrollments/a", {"type": "symmetricKey"})
    assert made["allocationPolicy"] == "geoLatency"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "linked_hub.hidden_key"),
        ({"connectionString": text(key="****")}, "key.base64"),
        ({"connectionString": text("east.example")}, "body.id"),
        ({"connectionString": text(), "name": "east.example"}, "body.id"),
        ({"connectionString": "nonsense"}, "linked_hub.connection_string"),
        ({"connectionString": 7}, "body.member"),
        ({"connectionString": text(), "allocationWeight": 1001}, "linked_hub.weight"),
        ({"connectionString": text(), "allocationWeight": "many"}, "body.member"),
        ({"connectionString": text(), "location": "x" * 65}, "linked_hub.location"),
        ({"connectionString": text(), "applyAllocationPolicy": 1}, "body.member"),
        ([], "json.not_object"),
    ],
)
async def test_a_link_that_is_none_is_refused_and_its_key_is_not_repeated(
    dps: DpsWorld, body: Any, reason: str
) -> None:
    answer = await dps.ask_as_owner("PUT", f"{PATH}/{WEST}", body)
    assert (answer.status_code, answer.headers["moorage-reason"]) == (400, reason)
    assert KEY not in answer.text
    assert await links(dps) == [HOST]


@pytest.mark.parametrize("policy", ["custom", "random", "", None, 7])
async def test_a_policy_that_a_service_cannot_have_is_refused(dps: DpsWorld, policy: Any) -> None:
    answer = await dps.ask_as_owner("PUT", "/moorage/v1/allocation-policy", {"allocationPolicy": policy})
    assert (answer.status_code, answer.headers["moorage-reason"]) == (400, "body.member")


async def test_a_hub_that_may_not_be_called_says_so_when_it_is_checked(dps: DpsWorld) -> None:
    await dps.ask_as_owner("PUT", f"{PATH}/127.0.0.1", {"connectionString": text("127.0.0.1:9")})
    answer = await dps.ask_as_owner("POST", f"{PATH}/127.0.0.1/check")
    assert (answer.status_code, answer.headers["moorage-reason"]) == (400, "egress.not_allowed")
    assert "--egress-allow 127.0.0.1" in answer.json()["error"]["fix"]


async def test_policies_of_the_service_cannot_link_hubs(dps: DpsWorld) -> None:
    for method, path in (("GET", PATH), ("PUT", f"{PATH}/{WEST}"), ("DELETE", f"{PATH}/{HOST}")):
        assert (await dps.ask(method, path, {})).status_code == 401


@pytest.mark.parametrize(("path", "own"), [("enrollments", "enrollments"), ("enrollmentGroups", "enrollment-groups")])
async def test_a_web_hooks_whole_url_is_for_the_owner(dps: DpsWorld, path: str, own: str) -> None:
    hook = {"webhookUrl": "https://hook.example/a?code=open-sesame", "apiVersion": "2021-10-01"}
    more = {"allocationPolicy": "custom", "customAllocationDefinition": hook}
    made = await dps.put(f"/{path}/a", {"type": "symmetricKey"}, **more)
    shown = hook | {"webhookUrl": "https://hook.example/a?****"}
    assert made["customAllocationDefinition"] == shown
    for document in (
        (await dps.ask("GET", f"/{path}/a")).json(),
        (await dps.ask("POST", f"/{path}/query", {"query": "*"})).json()[0],
    ):
        assert document["customAllocationDefinition"] == shown
    # What was read is written back, and keeps its key (P-3).
    again = await dps.put(f"/{path}/a", **{**made, "initialTwin": {"tags": {"a": 1}}})
    assert again["customAllocationDefinition"] == shown
    assert (await dps.ask_as_owner("GET", f"/moorage/v1/{own}/a/webhook")).json() == hook
    assert (await dps.ask("GET", f"/moorage/v1/{own}/a/webhook")).status_code == 401
    await dps.put(f"/{path}/b", {"type": "symmetricKey"})
    none = await dps.ask_as_owner("GET", f"/moorage/v1/{own}/b/webhook")
    assert (none.status_code, none.headers["moorage-reason"]) == (404, "enrollment.no_webhook")
