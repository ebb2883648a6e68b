"""Policies and the SAS switches over our own REST."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.identities.sas import make_token
from moorage.ids import Secret
from tests.api.hub.world import ARM, HOST, ApiWorld

BASE = "/moorage/v1/hub/policies"


async def owner(world: ApiWorld, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    answer = await world.ask(method, path, body, policy="owner")
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_a_policy_from_its_making_to_its_end(world: ApiWorld) -> None:
    made = await owner(world, "PUT", f"{BASE}/dash", {"rights": ["registryread"]}, status=201)
    assert (made["name"], made["rights"]) == ("dash", ["RegistryRead"])
    assert await owner(world, "GET", f"{BASE}/DASH") == made
    exists = await world.ask("PUT", f"{BASE}/Dash", {"rights": ["RegistryRead"]}, policy="owner")
    assert (exists.status_code, exists.headers["moorage-reason"]) == (409, "policy.exists")

    assert (await world.ask("GET", "/devices", policy="dash")).status_code == 200
    changed = await owner(world, "PATCH", f"{BASE}/dash", {"rights": ["ServiceConnect"]})
    assert changed == {**made, "rights": ["ServiceConnect"]}
    assert (await world.ask("GET", "/devices", policy="dash")).status_code == 401

    listed = await owner(world, "GET", "/moorage/v1/policies")
    assert changed in listed["hub"] and [each["name"] for each in listed["dps"]] == ["provisioningserviceowner"]
    await owner(world, "DELETE", f"{BASE}/dash", status=204)
    assert (await world.ask("DELETE", f"{BASE}/dash", policy="owner")).headers["moorage-reason"] == "policy.not_found"


async def test_a_token_of_a_rolled_key_opens_nothing_and_the_other_goes_on(world: ApiWorld) -> None:
    before = world.policy("service")
    expires = world.clock.now().replace(year=2031)
    old = make_token(HOST, before.primary, expires, "service").reveal()
    other = make_token(HOST, before.secondary, expires, "service").reveal()

    async def asked(token: str) -> int:
        answer = await world.ask("GET", "/twins/nobody", policy=None, headers={"authorization": token})
        return answer.status_code

    assert [await asked(old), await asked(other)] == [404, 404]
    rolled = await owner(world, "POST", f"{BASE}/service/roll", {"key": "primary"})
    assert (rolled["secondaryKey"], rolled["primaryKey"] != before.primary.reveal()) == (
        before.secondary.reveal(),
        True,
    )
    assert [await asked(old), await asked(other)] == [401, 404]
    swapped = await owner(world, "POST", f"{BASE}/service/roll", {"key": "swap"})
    assert (swapped["primaryKey"], swapped["secondaryKey"]) == (rolled["secondaryKey"], rolled["primaryKey"])
    assert await asked(other) == 404
    mine = Secret("MDEyMzQ1Njc4OWFiY2RlZg==")
    given = await owner(world, "POST", f"{BASE}/service/roll", {"key": "secondary", "value": mine.reveal()})
    assert given["secondaryKey"] == mine.reveal()


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("PUT", f"{BASE}/x", {}, "policy.rights"),
        ("PUT", f"{BASE}/x", {"rights": []}, "policy.rights"),
        ("PUT", f"{BASE}/x", {"rights": "RegistryRead"}, "body.member"),
        ("PUT", f"{BASE}/x", {"rights": ["RegistryRead"] * 21}, "body.member"),
        ("PUT", f"{BASE}/x", {"rights": ["EnrollmentRead"]}, "policy.rights"),
        ("PUT", f"{BASE}/x", {"name": "y", "rights": ["RegistryRead"]}, "body.id"),
        ("PUT", f"{BASE}/x y", {"rights": ["RegistryRead"]}, "policy.name"),
        ("PUT", f"{BASE}/x", {"rights": ["RegistryRead"], "primaryKey": "c2hvcnQ="}, "key.length"),
        ("PUT", f"{BASE}/x", {"rights": ["RegistryRead"], "primaryKey": 7}, "body.member"),
        ("PATCH", f"{BASE}/iothubowner", {"rights": ["RegistryRead"]}, "policy.fixed"),
        ("PATCH", f"{BASE}/nobody", {"rights": ["RegistryRead"]}, "policy.not_found"),
        ("DELETE", f"{BASE}/iothubowner", None, "policy.fixed"),
        ("POST", f"{BASE}/service/roll", {"key": "third"}, "body.member"),
        ("POST", f"{BASE}/service/roll", {"key": "swap", "value": "x"}, "body.member"),
        ("POST", f"{BASE}/service/roll", {}, "body.member"),
        ("PATCH", "/moorage/v1/switches", {"disableDeviceSAS": "perhaps"}, "body.member"),
    ],
)
async def test_bad_input_is_refused_and_changes_nothing(
    world: ApiWorld, method: str, path: str, body: Any, reason: str
) -> None:
    before = await owner(world, "GET", "/moorage/v1/policies")
    answer = await world.ask(method, path, body, policy="owner")
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["moorage-reason"] == reason
    assert await owner(world, "GET", "/moorage/v1/policies") == before


async def test_switches_are_the_hubs_whoever_turns_them(world: ApiWorld) -> None:
    off = {"disableLocalAuth": False, "disableDeviceSAS": False, "disableModuleSAS": False}
    assert await owner(world, "GET", "/moorage/v1/switches") == off
    await owner(world, "PATCH", f"{ARM}/IotHubs/hub", {"properties": {"disableModuleSAS": True}})
    turned = await owner(world, "PATCH", "/moorage/v1/switches", {"disableLocalAuth": True})
    assert turned == {"disableLocalAuth": True, "disableDeviceSAS": False, "disableModuleSAS": True}
    assert (await world.ask("GET", "/devices")).status_code == 401
    assert await owner(world, "PATCH", "/moorage/v1/switches", off) == off
    assert (await world.ask("GET", "/devices")).status_code == 200
