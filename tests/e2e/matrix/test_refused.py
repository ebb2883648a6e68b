"""Who is refused over WebSockets hears it as over plain MQTT."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azure.iot.device.exceptions import ClientError, CredentialError

from tests import certs
from tests.compatibility import proves
from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import authority


@proves("azure-iot-device", "devices and modules", "connect, refused", transport="MQTT-WS")
def test_who_is_refused_hears_it_as_over_plain_mqtt(workshop: Workshop, new_id: Callable[..., str]) -> None:
    bench, name = workshop.bench, new_id()
    bench.create(name, authority())
    stranger = bench.by_certificate(name, bench.x509(certs.self_signed(name)), websockets=True)
    with pytest.raises((ClientError, CredentialError)):
        stranger.connect()
    stranger.shutdown()
    attempt = workshop.hub.attempts(device=name)[0]
    assert (attempt["door"], attempt["accepted"]) == ("hub.mqtt-ws", False)
