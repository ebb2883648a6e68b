"""What becomes of connections: the hub goes and comes back, a second one takes over, the cloud changes its mind."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device.exceptions import CredentialError

from moorage.cli.hub_client import segment
from moorage.identities.sas import make_token
from moorage.ids import Secret
from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import Bench, Inbox, MethodResponse, authority, client, pinned, until
from tests.hubs import Hub, sdk_hub

device_does = partial(proves, "azure-iot-device", "devices and modules", transport="MQTT")

# The SDK's own pause is 10 s.
RETRY: dict[str, Any] = {"connection_retry": True, "connection_retry_interval": 1}


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Bench]:
    """A hub of the test's own, to be stopped and killed."""
    with sdk_hub(tmp_path / "hub") as hub:
        yield Bench(hub, tmp_path)


def listen(device: Any) -> tuple[Inbox, Inbox]:
    """Subscribe to everything; gives messages and desired patches. Methods are echoed."""
    messages, patches = Inbox(), Inbox()
    device.on_message_received = messages
    device.on_twin_desired_properties_patch_received = patches
    device.on_method_request_received = lambda request: device.send_method_response(
        MethodResponse.create_from_method_request(request, 200, request.payload)
    )
    return messages, patches


def talk(hub: Hub, name: str, device: Any, messages: Inbox, patches: Inbox, mark: str) -> None:
    """Everything works, in both directions."""
    device.send_message(mark)
    hub.request("POST", f"/moorage/v1/devices/{segment(name)}/messages/devicebound", body={"body": mark})
    until(f"message {mark}", lambda: any(each.data == mark.encode() for each in messages))
    body = {"methodName": "echo", "payload": mark, "responseTimeoutInSeconds": 10}
    assert hub.request("POST", f"/twins/{name}/methods", body=body) == {"status": 200, "payload": mark}
    hub.request("PATCH", f"/twins/{name}", body={"properties": {"desired": {"mark": mark}}})
    until(f"patch {mark}", lambda: any(each.get("mark") == mark for each in patches))
    device.patch_twin_reported_properties({"mark": mark})
    assert hub.request("GET", f"/twins/{name}")["properties"]["reported"]["mark"] == mark


@device_does("reconnect to a hub that was stopped or killed")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_connected_device_goes_on_when_the_hub_comes_back(mortal: Bench, end: str) -> None:
    name, root = "pump-01", certs.root("E2E Lasting Root")
    mortal.trust(root)
    mortal.create(name, authority())
    with client(mortal.by_certificate(name, mortal.x509(certs.device(root, name)), **RETRY)) as device:
        messages, patches = listen(device)
        talk(mortal.hub, name, device, messages, patches, "before")
        getattr(mortal.hub, end)()
        until("the device notices", lambda: not device.connected)
        mortal.hub.start()
        until("the device is back", lambda: device.connected)
        talk(mortal.hub, name, device, messages, patches, "after")
    assert [base64.b64decode(each["bodyBase64"]) for each in mortal.stored(name)] == [b"before", b"after"]
    assert [each.data for each in messages] == [b"before", b"after"]


def test_what_a_device_sends_while_the_hub_is_away_arrives_when_it_is_back(mortal: Bench) -> None:
    document = mortal.create("pump-01")
    with client(mortal.by_key(document, **RETRY)) as device:
        mortal.hub.kill()
        mortal.hub.start()
        device.send_message("sent on a connection that was dead or new")
    bodies = [base64.b64decode(each["bodyBase64"]) for each in mortal.stored("pump-01")]
    # At least once: an acknowledgement that was lost makes a second one.
    assert set(bodies) == {b"sent on a connection that was dead or new"}


@device_does("take over from another connection")
def test_a_second_connection_takes_over(bench: Bench, plant: Issued, new_id: Callable[..., str]) -> None:
    name = new_id()
    bench.create(name, authority())
    x509 = bench.x509(certs.device(plant, name))
    first = bench.by_certificate(name, x509, connection_retry=False, auto_connect=False)
    second = bench.by_certificate(name, x509, connection_retry=False, auto_connect=False)
    with client(first):
        listen(first)
        with client(second):
            until("the first is cut", lambda: not first.connected)
            messages, patches = listen(second)
            talk(bench.hub, name, second, messages, patches, "second")
            with pytest.raises(Exception, match="not connected"):
                first.send_message("too late")
            first.connect()
            until("the second is cut", lambda: not second.connected)
            first.send_message("first again")
    # The SDK keeps what it could not send, and sends it on the next connection.
    bodies = [base64.b64decode(each["bodyBase64"]).decode() for each in bench.stored(name)]
    assert sorted(bodies) == ["first again", "second", "too late"]


def cut(what: str, device: Any, act: Callable[[], object]) -> None:
    """`act` ends the connection within a second of its answer (decisions, 'Within a second').

    The client notices it in a thread of its own, on a machine with other things to do: it has ten. What would end the
    connection otherwise, the SDK's keep-alive of a minute, comes later.
    """
    act()
    began = time.monotonic()
    until(what, lambda: not device.connected)
    assert time.monotonic() - began < 10, f"{what}: too late"


def test_disabling_a_device_cuts_it_and_its_modules(bench: Bench, plant: Issued, new_id: Callable[..., str]) -> None:
    name = new_id()
    module = f"{name}/camera"
    bench.create(module, authority())
    device, camera = (
        bench.by_certificate(each, bench.x509(certs.device(plant, each)), connection_retry=False)
        for each in (name, module)
    )
    with client(device, camera):
        cut("the device is cut", device, lambda: bench.set_status(name, "disabled"))
        until("its module is cut", lambda: not camera.connected)
        with pytest.raises(CredentialError):
            device.connect()
    assert bench.explain(name)["reason"] == "identity.disabled"


def test_deleting_a_device_cuts_it(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    device = bench.by_key(bench.create(name), connection_retry=False)
    with client(device):
        cut("it is cut", device, lambda: bench.hub.request("DELETE", f"/devices/{name}", if_match="*"))
        with pytest.raises(CredentialError):
            device.connect()
    assert bench.explain(name)["reason"] == "identity.unknown"


def test_removing_a_ca_cuts_who_relied_on_it_and_nobody_else(
    bench: Bench, plant: Issued, new_id: Callable[..., str]
) -> None:
    root = certs.root("E2E Short-lived Trust")
    ca = bench.trust(root)
    goes, stays = new_id(), new_id()
    for name in (goes, stays):
        bench.create(name, authority())
    going = bench.by_certificate(goes, bench.x509(certs.device(root, goes)), connection_retry=False)
    staying = bench.by_certificate(stays, bench.x509(certs.device(plant, stays)), connection_retry=False)
    with client(going, staying):
        cut("it is cut", going, lambda: bench.hub.moorage("ca", "delete", ca))
        staying.send_message("here")
        assert staying.connected
        with pytest.raises(CredentialError):
            going.connect()
    assert bench.explain(goes)["reason"] == "chain.incomplete"


def test_rolling_a_thumbprint_cuts_nobody_and_replacing_it_lets_only_the_new_one_in(
    bench: Bench, new_id: Callable[..., str]
) -> None:
    name = new_id()
    old, new = certs.self_signed("old"), certs.self_signed("new")
    bench.create(name, pinned(old.certificate.sha256))
    device = bench.by_certificate(name, bench.x509(old), connection_retry=False)
    with client(device):
        put_thumbprints(bench, name, old.certificate.sha256, new.certificate.sha256)
        with client(bench.by_certificate(name, bench.x509(new))):
            pass
    put_thumbprints(bench, name, new.certificate.sha256, None)
    with pytest.raises(CredentialError), client(bench.by_certificate(name, bench.x509(old))):
        pass
    assert bench.explain(name)["reason"] == "identity.thumbprint"
    with client(bench.by_certificate(name, bench.x509(new))) as device:
        device.send_message("rolled")


def put_thumbprints(bench: Bench, name: str, primary: str, secondary: str | None) -> None:
    document = bench.hub.request("GET", f"/devices/{name}")
    body = {**document, "authentication": pinned(primary, secondary)}
    bench.hub.request("PUT", f"/devices/{name}", body=body, if_match="*")


def test_a_session_ends_with_its_certificate(bench: Bench, plant: Issued, new_id: Callable[..., str]) -> None:
    name = new_id()
    bench.create(name, authority())
    # Time to connect and to send, on any machine.
    lifetime = timedelta(seconds=8)
    leaf = certs.device(plant, name, now=datetime.now(UTC), lifetime=lifetime)
    device = bench.by_certificate(name, bench.x509(leaf), connection_retry=False)
    with client(device):
        device.send_message("in time")
        until("the session ends", lambda: not device.connected)
        # notAfter includes its whole last second (RFC 5280 4.1.2.5).
        until("that second is over", lambda: datetime.now(UTC) > leaf.certificate.not_after + timedelta(seconds=1))
        with pytest.raises(CredentialError):
            device.connect()
    assert bench.explain(name)["reason"] == "chain.expired"


def test_a_session_ends_with_its_token(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    key = Secret(bench.create(name)["authentication"]["symmetricKey"]["primaryKey"])
    expires = datetime.now(UTC) + timedelta(seconds=8)
    token = make_token(f"{bench.hub.hostname}/devices/{name}", key, expires).reveal()
    device = bench.by_token(token, connection_retry=False)
    with client(device):
        device.send_message("in time")
        until("the session ends", lambda: not device.connected)
    assert datetime.now(UTC) > expires.replace(microsecond=0)
    (attempt,) = bench.hub.attempts(device=name, limit="1")
    assert (attempt["accepted"], attempt["credential"]) == (True, "token")


def test_the_hub_knows_who_is_connected(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    document = bench.create(name)

    def state() -> str:
        return str(bench.hub.request("GET", f"/devices/{name}")["connectionState"])

    assert state() == "Disconnected"
    with client(bench.by_key(document)):
        assert state() == "Connected"
    until("it is gone", lambda: state() == "Disconnected")
