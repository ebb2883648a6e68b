"""Who may do what: every policy against every operation, and what a stranger hears (contract/services.md 1.3)."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, Secret
from tests.api.hub.world import ARM, HOST, ApiWorld

READ = {"iothubowner", "registryRead", "registryReadWrite", "owner"}
WRITE = {"iothubowner", "registryReadWrite", "owner"}
SERVICE = {"iothubowner", "service", "owner"}
OWNER = {"owner"}
CALLERS = ["iothubowner", "service", "device", "registryRead", "registryReadWrite", "owner", None]
HUB = f"{ARM}/IotHubs/hub"

# Method, path, body, who may; whoever may not is told 401002 whatever else is wrong with the request.
OPERATIONS: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "/devices", None, READ),
    ("GET", "/devices/pump-01", None, READ),
    ("GET", "/devices/pump-01/modules", None, READ),
    ("GET", "/devices/pump-01/modules/m", None, READ),
    ("GET", "/statistics/devices", None, READ),
    ("GET", "/statistics/service", None, READ),
    ("PUT", "/devices/new-01", {}, WRITE),
    ("DELETE", "/devices/pump-01", None, WRITE),
    ("PUT", "/devices/pump-01/modules/new", {}, WRITE),
    ("DELETE", "/devices/pump-01/modules/m", None, WRITE),
    ("DELETE", "/devices/pump-01/commands", None, SERVICE),
    ("GET", "/twins/pump-01", None, SERVICE),
    ("PATCH", "/twins/pump-01", {}, SERVICE),
    ("PUT", "/twins/pump-01", {}, SERVICE),
    ("GET", "/twins/pump-01/modules/m", None, SERVICE),
    ("POST", "/twins/pump-01/methods", {"methodName": "m"}, SERVICE),
    ("GET", HUB, None, OWNER),
    ("PATCH", HUB, {}, OWNER),
    ("POST", f"{HUB}/listkeys", None, OWNER),
    ("POST", f"{HUB}/IotHubKeys/service/listkeys", None, OWNER),
    ("GET", f"{HUB}/certificates", None, OWNER),
    ("PUT", f"{HUB}/certificates/x", {}, OWNER),
    ("POST", f"{ARM}/provisioningServices/dps/listkeys", None, OWNER),
    ("POST", "/moorage/v1/devices/pump-01/messages/devicebound", {}, OWNER),
    ("GET", "/moorage/v1/telemetry", None, OWNER),
    ("GET", "/moorage/v1/telemetry/partitions", None, OWNER),
    ("GET", "/moorage/v1/attempts", None, OWNER),
    ("GET", "/moorage/v1/env", None, OWNER),
    ("GET", "/moorage/v1/policies", None, OWNER),
    ("GET", "/moorage/v1/hub/certificates", None, OWNER),
    ("GET", "/metrics", None, OWNER),
]


def _name(value: Any) -> str:
    """The same in every process, which the order of a set is not."""
    return str(sorted(value) if isinstance(value, set) else value)[:40]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), OPERATIONS, ids=_name)
async def test_each_operation_opens_to_its_rights_alone(
    world: ApiWorld, method: str, path: str, body: Any, allowed: set[str]
) -> None:
    await world.device("pump-01")
    await world.ask("PUT", "/devices/pump-01/modules/m", {})
    for caller in sorted(CALLERS, key=lambda each: each in allowed):
        answer = await world.ask(method, path, body, policy=caller)
        if caller in allowed:
            # One writer deletes what the next one would: gone is not forbidden.
            assert answer.status_code != 401, (caller, answer.text)
            assert answer.status_code < 500
        else:
            assert answer.status_code == 401, (caller, answer.text)
            assert answer.headers["iothub-errorcode"] == "IotHubUnauthorizedAccess"


async def test_every_route_is_in_the_table_or_open_on_purpose(world: ApiWorld) -> None:
    """A new route has to be put into a right's hands here."""
    tried = {(method, path.split("/")[1].lower()) for method, path, _, _ in OPERATIONS}
    assert {first for _, first in tried} == {"devices", "statistics", "twins", "subscriptions", "moorage", "metrics"}
    for path in ("/healthz", "/readyz", "/moorage/v1/openapi.json"):
        assert (await world.ask("GET", path, policy=None)).status_code == 200


async def test_what_a_stranger_hears_does_not_tell_unknown_from_not_allowed(world: ApiWorld) -> None:
    await world.device("pump-01")
    expires = world.clock.now().replace(year=2031)
    wrong_key = Secret(base64.b64encode(b"w" * 32).decode())
    answers = [
        await world.ask("GET", path, policy=None, headers={"authorization": token.reveal()})
        for path in ("/devices/pump-01", "/devices/nobody")
        for token in (
            make_token(HOST, wrong_key, expires, "iothubowner"),
            make_token(HOST, wrong_key, expires, "nosuchpolicy"),
        )
    ]
    told = set()
    for answer in answers:
        assert answer.status_code == 401
        assert "moorage-reason" not in answer.headers
        told.add(answer.json()["Message"])
    assert told == {"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}


async def test_a_refusal_at_the_gate_is_kept_under_the_tracking_id_the_caller_was_told(world: ApiWorld) -> None:
    expires = world.clock.now().replace(year=2031)
    token = make_token(HOST, Secret(base64.b64encode(b"w" * 32).decode()), expires, "service")
    refused = await world.ask("GET", "/twins/pump-01", policy=None, headers={"authorization": token.reveal()})
    tracking = json.loads(refused.json()["Message"])["trackingId"]
    found = await world.ask("GET", f"/moorage/v1/attempts?tracking={tracking}", policy="owner")
    (attempt,) = found.json()["attempts"]
    assert (attempt["reason"], attempt["door"], attempt["accepted"]) == ("token.signature", "service", False)
    assert (attempt["claimedId"], attempt["address"]) == ("GET /twins/pump-01", "192.0.2.7:40000")


async def test_an_expired_token_is_401003(world: ApiWorld) -> None:
    token = world.token("iothubowner", minutes=-60)
    refused = await world.ask("GET", "/devices", policy=None, headers={"authorization": token})
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (401, "IotHubUnauthorized")
    assert refused.headers["moorage-reason"] == "token.expired"


async def test_a_token_for_one_device_opens_that_one_alone(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.device("pump-02")
    headers = {"authorization": world.token("iothubowner", f"{HOST}/devices/pump-01")}
    for path, status in (("/devices/pump-01", 200), ("/Devices/pump-01", 200), ("/devices/pump-02", 401)):
        assert (await world.ask("GET", path, policy=None, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer stub",
        "Bearer ",
        "Basic b3duZXI6b3duZXI=",
        "SharedAccessSignature sr=x",
        "SharedAccessSignature",
        "x" * 9000,
        "Bearer \xff",
    ],
)
async def test_the_control_plane_takes_the_owners_bearer_and_nothing_else(world: ApiWorld, authorization: str) -> None:
    for path in (f"{HUB}/certificates", "/moorage/v1/env", "/devices"):
        headers = {b"authorization": authorization.encode("latin-1")}
        refused = await world.client.get(path, headers=headers)
        assert refused.status_code == 401, path


async def test_switching_policy_tokens_off_shuts_out_all_but_the_owner(world: ApiWorld) -> None:
    assert (await world.ask("GET", "/devices")).status_code == 200
    changed = await world.ask("PATCH", HUB, {"properties": {"disableLocalAuth": True}}, policy="owner")
    assert changed.json()["properties"]["disableLocalAuth"] is True
    assert (await world.ask("GET", "/devices")).status_code == 401
    assert (await world.ask("GET", "/devices", policy="owner")).status_code == 200
    assert world.policies.switches(DEFAULT_HUB).disable_device_sas is False


async def test_figures_are_open_on_this_machine_alone(world: ApiWorld) -> None:
    api = world.client._transport.app  # type: ignore[attr-defined] # the app is the same, the caller's address is not
    for address, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 401), ("not-an-address", 401)):
        transport = httpx.ASGITransport(api, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
            answer = await client.get("/metrics")
            assert answer.status_code == status
            assert ("moorage_tests_total 1.0" in answer.text) == (status == 200)
