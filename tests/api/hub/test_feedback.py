"""Feedback over HTTP (contract/services.md 2.2); what is recorded, and for how long, is in tests/unit/hub."""

from __future__ import annotations

from pathlib import Path

from moorage.api.hub_feedback import feedback_routes
from moorage.hub.feedback import FeedbackService
from moorage.ids import DEFAULT_HUB
from tests.api.hub.world import ApiWorld, open_world

PATH = "/messages/serviceBound/feedback"


async def test_a_batch_is_received_given_back_and_completed(tmp_path: Path) -> None:
    async with open_world(
        tmp_path, more_routes=lambda world: feedback_routes(DEFAULT_HUB, FeedbackService(world.store, world.clock))
    ) as world:
        await _converse(world)


async def _converse(world: ApiWorld) -> None:
    device = await world.device("pump")
    assert (await world.ask("GET", PATH, policy="service")).status_code == 204
    path = "/moorage/v1/devices/pump/messages/devicebound"
    for message_id, ack in (("m1", "negative"), ("m2", "none")):
        await world.ask("POST", path, {"body": "x", "messageId": message_id, "ack": ack}, policy="owner")
    await world.ask("DELETE", "/devices/pump/commands")
    # Paths match without case: Node and the Azure CLI spell it differently.
    received = await world.ask("GET", PATH.lower(), policy="service")
    assert received.status_code == 200
    assert received.headers["content-type"] == "application/vnd.microsoft.iothub.feedback.json"
    (record,) = received.json()
    assert (record["originalMessageId"], record["statusCode"]) == ("m1", "Purged")
    assert (record["deviceId"], record["deviceGenerationId"]) == ("pump", device["generationId"])
    lock = received.headers["iothub-locktoken"]
    assert received.headers["etag"] == f'"{lock}"'
    assert (await world.ask("GET", PATH)).status_code == 204
    assert (await world.ask("POST", f"{PATH}/{lock}/abandon")).status_code == 204
    again = (await world.ask("GET", PATH)).headers["iothub-locktoken"]
    for method, lost in (("POST", f"{PATH}/{lock}/abandon"), ("DELETE", f"{PATH}/{lock}")):
        response = await world.ask(method, lost)
        assert (response.status_code, response.headers["iothub-errorcode"]) == (412, "DeviceMessageLockLost")
    # As an etag is spelled, in quotes, too.
    assert (await world.ask("DELETE", f"{PATH}/%22{again}%22")).status_code == 204
    assert (await world.ask("GET", PATH)).status_code == 204
    assert (await world.ask("GET", PATH, policy="registryRead")).status_code == 401
