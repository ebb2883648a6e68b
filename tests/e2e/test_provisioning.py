"""Provisioning with azure-iot-device: every kind of enrollment ends on a hub that lets the device in."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import CredentialError

from moorage.cli.hub_client import segment
from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import Bench, client, until

provisioning = partial(proves, "azure-iot-device", "provisioning", transport="MQTT")

KEYS = {"primaryKey": base64.b64encode(b"p" * 32).decode(), "secondaryKey": base64.b64encode(b"s" * 32).decode()}


def x509(slots: str, primary: Issued | None, secondary: Issued | None = None) -> dict[str, Any]:
    """An attestation by certificates; `slots` is clientCertificates or signingCertificates."""
    named = {"primary": primary, "secondary": secondary}
    held = {
        slot: {"certificate": base64.b64encode(issued.certificate.der).decode()}
        for slot, issued in named.items()
        if issued is not None
    }
    return {"type": "x509", "x509": {slots: held}}


def by_reference(primary: str | None, secondary: str | None = None) -> dict[str, Any]:
    return {"type": "x509", "x509": {"caReferences": {"primary": primary, "secondary": secondary}}}


def by_key() -> dict[str, Any]:
    return {"type": "symmetricKey", "symmetricKey": KEYS}


def enroll(bench: Bench, registration_id: str, attestation: dict[str, Any], **more: Any) -> Any:
    body = {"registrationId": registration_id, "attestation": attestation, **more}
    return bench.hub.request("PUT", f"/enrollments/{segment(registration_id)}", body=body)


def enroll_group(bench: Bench, group_id: str, attestation: dict[str, Any], **more: Any) -> Any:
    body = {"enrollmentGroupId": group_id, "attestation": attestation, **more}
    return bench.hub.request("PUT", f"/enrollmentGroups/{segment(group_id)}", body=body)


def derived(group_key: str, registration_id: str) -> str:
    """A device's key below a group's (contract/devices.md 1.6)."""
    digest = hmac.digest(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


# -- every kind of enrollment ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Widget:
    """A device, what it provisions with, and how it then connects."""

    registration_id: str
    issued: Issued | None = None
    key: str = ""
    device_id: str = ""
    send: int | None = None


def self_signed(bench: Bench, name: str) -> Widget:
    issued = certs.self_signed(name)
    enroll(bench, name, x509("clientCertificates", issued))
    return Widget(name, issued)


def self_signed_secondary(bench: Bench, name: str) -> Widget:
    issued = certs.self_signed(name, kind="rsa-2048")
    enroll(bench, name, x509("clientCertificates", certs.self_signed("another"), issued))
    return Widget(name, issued)


def signed_individual(bench: Bench, name: str) -> Widget:
    issued = certs.device(certs.root("E2E Unknown To The Hub"), name)
    enroll(bench, name, x509("clientCertificates", issued))
    return Widget(name, issued)


def individual_with_a_device_id(bench: Bench, name: str) -> Widget:
    issued = certs.self_signed(name)
    enroll(bench, name, x509("clientCertificates", issued), deviceId=f"{name}-at-the-gate")
    return Widget(name, issued, device_id=f"{name}-at-the-gate")


def group_root(bench: Bench, name: str) -> Widget:
    root = certs.root(f"E2E Root of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root))
    return Widget(name, certs.device(root, name))


def group_root_below_two_intermediates(bench: Bench, name: str) -> Widget:
    root = certs.root(f"E2E Root of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root))
    line = certs.intermediate(certs.intermediate(root, "E2E Factory"), "E2E Technician", kind="ec-p384")
    return Widget(name, certs.device(line, name))


def group_intermediate_alone(bench: Bench, name: str) -> Widget:
    line = certs.intermediate(certs.root(f"E2E Root of {name}"), f"E2E Line of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", line))
    return Widget(name, certs.device(line, name), send=1)


def group_secondary(bench: Bench, name: str) -> Widget:
    root = certs.root(f"E2E Root of {name}")
    other = certs.root(f"E2E Other Root of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", other, root))
    return Widget(name, certs.device(root, name))


def ca_reference(bench: Bench, name: str) -> Widget:
    root = certs.root(f"E2E CA of {name}")
    enroll_group(bench, f"group-{name}", by_reference(bench.trust(root)))
    return Widget(name, certs.device(root, name))


def ca_reference_secondary(bench: Bench, name: str) -> Widget:
    root, line = certs.root(f"E2E CA of {name}"), certs.root(f"E2E Second CA of {name}")
    enroll_group(bench, f"group-{name}", by_reference(bench.trust(root), bench.trust(line)))
    return Widget(name, certs.device(line, name))


def key_primary(bench: Bench, name: str) -> Widget:
    enroll(bench, name, by_key())
    return Widget(name, key=KEYS["primaryKey"])


def key_secondary(bench: Bench, name: str) -> Widget:
    enroll(bench, name, by_key())
    return Widget(name, key=KEYS["secondaryKey"])


def key_of_a_group(bench: Bench, name: str) -> Widget:
    enroll_group(bench, f"group-{name}", by_key())
    return Widget(name, key=derived(KEYS["primaryKey"], name))


KINDS: tuple[Callable[[Bench, str], Widget], ...] = (
    self_signed,
    self_signed_secondary,
    signed_individual,
    individual_with_a_device_id,
    group_root,
    group_root_below_two_intermediates,
    group_intermediate_alone,
    group_secondary,
    ca_reference,
    ca_reference_secondary,
    key_primary,
    key_secondary,
    key_of_a_group,
)


def provision(bench: Bench, widget: Widget) -> Any:
    x509 = bench.x509(widget.issued, send=widget.send) if widget.issued else None
    return bench.provisioning(widget.registration_id, x509=x509, key=widget.key).register()


@pytest.fixture(scope="module")
def provisioned(bench: Bench) -> dict[str, tuple[Widget, Future[Any]]]:
    """One device of every kind, provisioned all at once: each spends two seconds waiting, as it is told to."""
    pool = ThreadPoolExecutor(len(KINDS))
    begun = {}
    for kind in KINDS:
        widget = kind(bench, f"w-{kind.__name__.replace('_', '-')}")
        begun[kind.__name__] = widget, pool.submit(provision, bench, widget)
    pool.shutdown()
    return begun


@provisioning("register: individual and group, by certificate and by key")
@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_a_device_is_assigned_connects_and_sends(
    bench: Bench, provisioned: dict[str, tuple[Widget, Future[Any]]], kind: str
) -> None:
    widget, future = provisioned[kind]
    result = future.result()
    state = result.registration_state
    device_id = widget.device_id or widget.registration_id
    assert (result.status, state.device_id) == ("assigned", device_id)
    assert state.assigned_hub == bench.hub.hostname
    assert state.sub_status == "initialAssignment"
    if widget.issued:
        device = bench.by_certificate(device_id, bench.x509(widget.issued, send=widget.send))
    else:
        device = by_provisioned_key(bench, device_id, widget.key)
    with client(device):
        device.send_message("provisioned")
    assert len(bench.stored(device_id)) == 1
    registration = bench.hub.request("GET", f"/registrations/{segment(widget.registration_id)}")
    assert (registration["status"], registration["deviceId"]) == ("assigned", device_id)
    attempts = bench.hub.attempts(device=widget.registration_id)
    assert all(attempt["accepted"] for attempt in attempts)
    assert "dps.mqtt" in {attempt["door"] for attempt in attempts}


def by_provisioned_key(bench: Bench, device_id: str, key: str, **options: Any) -> Any:
    """Connects with the key it provisioned with, as the SDK's samples do."""
    maker: Any = IoTHubDeviceClient
    return maker.create_from_symmetric_key(
        symmetric_key=key,
        hostname=bench.hub.hostname,
        device_id=device_id,
        server_verification_cert=bench.hub.trust,
        **options,
    )


# -- what else it has to do --------------------------------------------------------------------------------------------


@provisioning("register again")
def test_the_initial_twin_and_the_second_time(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    twin = {"tags": {"site": "x"}, "properties": {"desired": {"interval": 5}}}
    enroll(bench, name, x509("clientCertificates", issued := certs.self_signed(name)), initialTwin=twin)
    widget = Widget(name, issued)
    assert provision(bench, widget).registration_state.sub_status == "initialAssignment"
    with client(bench.by_certificate(name, bench.x509(issued))) as device:
        assert device.get_twin()["desired"]["interval"] == 5
        device.patch_twin_reported_properties({"kept": True})
    assert bench.twin(name)["tags"] == {"site": "x"}
    again = provision(bench, widget)
    assert again.status == "assigned"
    assert bench.twin(name)["properties"]["reported"]["kept"] is True


def test_an_individual_enrollment_goes_before_its_group(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    root = certs.root(f"E2E Root of {name}")
    leaf = certs.device(root, name)
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root))
    enroll(bench, name, x509("clientCertificates", leaf), provisioningStatus="disabled")
    refused(bench, Widget(name, leaf), "enrollment.disabled")
    document = bench.hub.request("GET", f"/enrollments/{name}")
    body = {**document, "provisioningStatus": "enabled", "deviceId": f"{name}-by-hand"}
    bench.hub.request("PUT", f"/enrollments/{name}", body=body, if_match=document["etag"])
    assert provision(bench, Widget(name, leaf)).registration_state.device_id == f"{name}-by-hand"


# -- refused -----------------------------------------------------------------------------------------------------------


def refused(bench: Bench, widget: Widget, reason: str, **options: Any) -> dict[str, Any]:
    """The SDK fails, or tells of a status that is not `assigned`; the attempt on record says why."""
    x509 = bench.x509(widget.issued, send=widget.send) if widget.issued else None
    with pytest.raises(Exception) as failed:
        bench.provisioning(widget.registration_id, x509=x509, key=widget.key, **options).register()
    assert type(failed.value).__module__ == "azure.iot.device.exceptions", failed.value
    (attempt,) = bench.hub.ask("explain", "--device", widget.registration_id, "--limit", "1")
    assert (attempt["accepted"], attempt["reason"]) == (False, reason)
    assert attempt["message"]
    return dict(attempt)


def test_a_good_certificate_that_nobody_enrolled(bench: Bench, plant: Issued, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    attempt = refused(bench, Widget(name, certs.device(plant, name)), "enrollment.unknown")
    assert attempt["fix"].startswith("moorage enrollment-group create")


def test_a_certificate_of_nobody_we_know(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", certs.root(f"E2E Root of {name}")))
    stranger = Widget(name, certs.device(certs.root("E2E Stranger Root"), name), send=2)
    attempt = refused(bench, stranger, "chain.untrusted")
    assert [each["subject"] for each in attempt["chain"]] == [f"CN={name}", "CN=E2E Stranger Root"]


def test_another_certificate_than_the_enrolled_one(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    enroll(bench, name, x509("clientCertificates", certs.self_signed(name)))
    refused(bench, Widget(name, certs.self_signed(name, kind="ec-p384")), "attestation.thumbprint")


def test_a_leaf_of_the_group_with_the_name_of_another(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    root = certs.root(f"E2E Root of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root))
    refused(bench, Widget(name, certs.device(root, "another-name")), "registration.id_mismatch")


def test_a_disabled_group(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    root = certs.root(f"E2E Root of {name}")
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root), provisioningStatus="disabled")
    refused(bench, Widget(name, certs.device(root, name)), "enrollment.disabled")


def test_a_wrong_key(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    enroll(bench, name, by_key())
    refused(bench, Widget(name, key=base64.b64encode(b"x" * 32).decode()), "token.signature")


def test_a_wrong_id_scope(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    enroll(bench, name, x509("clientCertificates", issued := certs.self_signed(name)))
    refused(bench, Widget(name, issued), "scope.unknown", id_scope="0ne00000000")


def test_a_device_of_a_deleted_group_no_longer_connects(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id("w")
    root = certs.root(f"E2E Root of {name}")
    leaf = certs.device(root, name)
    enroll_group(bench, f"group-{name}", x509("signingCertificates", root))
    assert provision(bench, Widget(name, leaf)).status == "assigned"
    device = bench.by_certificate(name, bench.x509(leaf), connection_retry=False)
    with client(device):
        bench.hub.request("DELETE", f"/enrollmentGroups/group-{name}")
        until("it is cut", lambda: not device.connected)
        with pytest.raises(CredentialError):
            device.connect()
    assert bench.explain(name)["reason"].startswith("chain.")
