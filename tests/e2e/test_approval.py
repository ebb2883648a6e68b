"""A device that registers while auto-approve is off waits, is told 400209, is approved, and connects (PC-10).

The hub runs in this process, where a test can be its operator; the device is the unmodified SDK, in threads of its own.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError

from moorage.accounts.model import OWNER
from moorage.clock import HandClock
from moorage.dialects.dps_json import registration_json
from moorage.errors import NotFound
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, RegistrationId
from moorage.provisioning.attestation import derive_key
from moorage.provisioning.model import BySymmetricKey
from tests.hubs import SDK_MQTT_PORT, own_address
from tests.servers.world import World, eventually, running

PUMP = DeviceId("pump-01")


def register(world: World, key: str) -> Any:
    info = world.app.info()
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=info.hostname,
        registration_id=PUMP,
        id_scope=info.id_scope,
        symmetric_key=key,
        server_verification_cert=info.ca_bundle.read_text(),
    )
    return client.register()


def send_one(world: World, key: str) -> None:
    info = world.app.info()
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=info.hostname, device_id=PUMP, server_verification_cert=info.ca_bundle.read_text()
    )
    try:
        client.connect()
        client.send_message('{"temperature": 21.5}')
    finally:
        client.shutdown()


async def test_a_device_waits_is_approved_and_connects(tmp_path: Path) -> None:
    address = own_address(SDK_MQTT_PORT)
    clock = HandClock(datetime.now(UTC))
    async with running(
        tmp_path / "hub", clock=clock, bind=address, hostnames=[address], mqtt_port=SDK_MQTT_PORT
    ) as world:
        application = world.app.application
        group = world.app.enrollments.get_group(EnrollmentGroupId("SAS-IoT-Devices"))
        assert isinstance(group.attestation, BySymmetricKey)
        key = derive_key(group.attestation.primary, RegistrationId(PUMP)).reveal()
        await application.fleet.set_auto_approve(OWNER, False)
        with pytest.raises(NotFound):
            application.fleet.get(OWNER, PUMP)

        with pytest.raises(ClientError) as told:
            await asyncio.to_thread(register, world, key)
        assert "failed registration status" in str(told.value.__cause__)
        assert application.fleet.get(OWNER, PUMP).state == "waiting"
        registration = world.app.store.read().registrations.find(DEFAULT_HUB, RegistrationId(PUMP))
        assert registration is not None
        state = registration_json(registration, to_device=True)
        assert (state["status"], state["errorCode"]) == ("failed", 400209)
        assert "registration.waiting" in [attempt.reason for attempt in await world.attempts(PUMP)]

        await application.fleet.approve(OWNER, PUMP)
        result = await asyncio.to_thread(register, world, key)
        assert (result.status, result.registration_state.device_id) == ("assigned", PUMP)
        await asyncio.to_thread(send_one, world, key)
        assert application.fleet.get(OWNER, PUMP).state == "provisioned"
        await eventually(lambda: world.app.directory.count(DEFAULT_HUB) == 0)
