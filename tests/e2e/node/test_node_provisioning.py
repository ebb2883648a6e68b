"""The tutorials' own story: generate, upload, prove, enroll; then their device, as it is, provisions and connects."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.compatibility import proves
from tests.e2e.node.workshop import Files, Workshop
from tests.e2e.sdk import until

provisioning = partial(proves, "azure-iot-provisioning-device-mqtt", "provisioning", transport="MQTT")


def expect_arrival(workshop: Workshop, said: list[dict[str, Any]], device_id: str) -> None:
    """The device says that it was assigned and sent; the hub has its message, and let it in over TLS 1.3."""
    assert said == [{"assignedHub": workshop.hub.hostname, "deviceId": device_id}, {"sent": device_id}]
    assert workshop.bench.stored(device_id)[-1]["body"] == {"temperature": 21.5}
    doors = [
        (each["door"], each["accepted"], each["credential"], each["tlsVersion"])
        for each in workshop.hub.attempts(device=device_id)[:2]
    ]
    assert doors == [("hub.mqtt", True, "x509", "TLSv1.3"), ("dps.mqtt", True, "x509", "TLSv1.3")]


def refusal(workshop: Workshop, registration_id: str, files: Files) -> tuple[str, str]:
    """Provisioning is refused: the SDK's error, and the hub's reason for it."""
    (said,) = workshop.provision(registration_id, files.cert, files.key)
    attempt = workshop.hub.attempts(device=registration_id)[0]
    assert (attempt["door"], attempt["accepted"], attempt["tlsVersion"]) == ("dps.mqtt", False, "TLSv1.3")
    return said["error"], attempt["reason"]


# -- a group -----------------------------------------------------------------------------------------------------------


@provisioning("register: group by a CA")
def test_a_group_by_a_ca_admits_once_the_ca_is_proven(workshop: Workshop) -> None:
    hub = workshop.hub
    root = workshop.make("root", "mytestrootcert")
    device = workshop.make("device", "sample-device-01", "mytestrootcert")
    hub.moorage("ca", "add", str(root.cert))
    assert "proven" in hub.moorage("enrollment-group", "create", "MyX509Group", "--ca", "mytestrootcert", code=1)
    verification = workshop.make_verification(root, workshop.code("mytestrootcert"))
    hub.moorage("ca", "verify", "mytestrootcert", str(verification.cert))
    assert refusal(workshop, "sample-device-01", device) == ("DeviceNotFoundError", "enrollment.unknown")
    hub.moorage("enrollment-group", "create", "MyX509Group", "--ca", "mytestrootcert")
    said = workshop.provision("sample-device-01", device.cert, device.key)
    expect_arrival(workshop, said, "sample-device-01")
    (message,) = hub.ask("telemetry", "tail", "--device", "sample-device-01", "--count", "1")
    assert message["body"] == {"temperature": 21.5}
    assert message["properties"] == {"place": "hall 3 & 4"}
    assert message["systemProperties"]["content-type"] == "application/json"
    (attempt,) = hub.ask("explain", "--device", "sample-device-01", "--limit", "1")
    assert (attempt["accepted"], attempt["tlsVersion"]) == (True, "TLSv1.3")


@provisioning("register: group by its signing certificate")
def test_a_group_by_its_signing_certificate_admits_and_a_chain_with_its_odd_line_is_sent(workshop: Workshop) -> None:
    root = workshop.make("root", "signingroot")
    device = workshop.make("device", "signed-device", "signingroot")
    workshop.hub.moorage("enrollment-group", "create", "signing-group", "--certificate", str(root.cert))
    said = workshop.provision("signed-device", device.fullchain, device.key)
    expect_arrival(workshop, said, "signed-device")
    (attempt,) = workshop.hub.ask("explain", "--device", "signed-device", "--limit", "1")
    assert [each["subject"] for each in attempt["chain"]] == ["CN=signed-device", "CN=signingroot"]


@provisioning("register: below an intermediate")
@pytest.mark.parametrize("anchor", ["root", "intermediate"])
def test_a_device_below_an_intermediate_provisions(workshop: Workshop, anchor: str) -> None:
    root, line, device_id = f"{anchor}-top", f"{anchor}-line", f"{anchor}-device"
    workshop.make("root", root)
    workshop.make("intermediate", line, root)
    device = workshop.make("device", device_id, line)
    signer = workshop.files(root if anchor == "root" else line)
    workshop.hub.moorage("enrollment-group", "create", f"{anchor}-group", "--certificate", str(signer.cert))
    # Below an intermediate that is known itself the leaf alone says enough.
    sent = device.fullchain if anchor == "root" else device.cert
    expect_arrival(workshop, workshop.provision(device_id, sent, device.key), device_id)


def test_a_device_that_withholds_its_intermediate_is_told_so(workshop: Workshop) -> None:
    root = workshop.make("root", "lonelyroot")
    workshop.make("intermediate", "lonely-line", "lonelyroot")
    device = workshop.make("device", "lonely-device", "lonely-line")
    workshop.hub.moorage("enrollment-group", "create", "lonely-group", "--certificate", str(root.cert))
    assert refusal(workshop, "lonely-device", device) == ("UnauthorizedError", "chain.incomplete")


def test_a_stranger_is_refused_in_words_the_sdk_understands(workshop: Workshop) -> None:
    known = workshop.make("root", "knownroot")
    workshop.hub.moorage("enrollment-group", "create", "known-group", "--certificate", str(known.cert))
    workshop.make("root", "strangeroot")
    device = workshop.make("device", "stranger", "strangeroot")
    assert refusal(workshop, "stranger", device) == ("UnauthorizedError", "chain.incomplete")


def test_a_certificate_does_not_speak_for_another_device(workshop: Workshop) -> None:
    root = workshop.make("root", "namesroot")
    device = workshop.make("device", "honest-device", "namesroot")
    workshop.hub.moorage("enrollment-group", "create", "names-group", "--certificate", str(root.cert))
    assert refusal(workshop, "other-device", device) == ("UnauthorizedError", "registration.id_mismatch")
    expect_arrival(workshop, workshop.provision("honest-device", device.cert, device.key), "honest-device")


# -- one device --------------------------------------------------------------------------------------------------------


@provisioning("register: individual, either certificate")
def test_either_self_signed_certificate_runs_the_device_of_the_first(workshop: Workshop) -> None:
    primary = workshop.make("device", "mytestselfcertprimary")
    secondary = workshop.make("device", "mytestselfcertsecondary")
    both = ("--certificate", str(primary.cert), "--secondary", str(secondary.cert))
    workshop.hub.moorage("enrollment", "create", "mytestselfcertprimary", *both)
    expect_arrival(
        workshop, workshop.provision("mytestselfcertprimary", primary.cert, primary.key), "mytestselfcertprimary"
    )
    # With the second one nothing changes but the files: `mytestselfcertsecondary` stays a word in its subject.
    expect_arrival(
        workshop, workshop.provision("mytestselfcertprimary", secondary.cert, secondary.key), "mytestselfcertprimary"
    )
    assert len(workshop.bench.stored("mytestselfcertprimary")) == 2
    error, _ = refusal(workshop, "mytestselfcertsecondary", secondary)
    assert error == "UnauthorizedError"


def test_a_leaf_below_a_self_signed_device_works_as_pinned(workshop: Workshop) -> None:
    primary = workshop.make("device", "mytestprimarycert")
    secondary = workshop.make("device", "mytestsecondarycert", "mytestprimarycert")
    both = ("--certificate", str(primary.cert), "--secondary", str(secondary.cert))
    workshop.hub.moorage("enrollment", "create", "mytestprimarycert", *both)
    for cert, key in (
        (secondary.cert, secondary.key),
        (secondary.fullchain, secondary.key),
        (primary.cert, primary.key),
    ):
        expect_arrival(workshop, workshop.provision("mytestprimarycert", cert, key), "mytestprimarycert")


# -- rolling -----------------------------------------------------------------------------------------------------------


def expect_still_there(workshop: Workshop, device_id: str) -> None:
    assert workshop.call(device_id, "echo", "still there?") == {"status": 200, "payload": "still there?"}


@provisioning("register while an enrollment rolls")
def test_an_enrollment_rolls_through_both_slots_and_cuts_nobody(workshop: Workshop) -> None:
    hub, name = workshop.hub, "rolling-device"
    first, second, third, fourth = (workshop.make("device", f"rolling-{number}") for number in (1, 2, 3, 4))
    hub.moorage("enrollment", "create", name, "--certificate", str(first.cert), "--secondary", str(second.cert))
    expect_arrival(workshop, workshop.provision(name, second.cert, second.key), name)
    with workshop.start("conversing_device.js", workshop.by_certificate(name, second)) as connected:
        connected.next("ready")
        # The secondary nears its end. New devices have the primary; the connected one moves when it likes.
        hub.moorage("enrollment", "update", name, "--secondary", str(third.cert))
        expect_still_there(workshop, name)
        connected.end()
    assert refusal(workshop, name, second) == ("UnauthorizedError", "attestation.thumbprint")
    expect_arrival(workshop, workshop.provision(name, first.cert, first.key), name)
    # Later the primary does.
    hub.moorage("enrollment", "update", name, "--certificate", str(fourth.cert))
    assert refusal(workshop, name, first) == ("UnauthorizedError", "attestation.thumbprint")
    for files in (third, fourth):
        expect_arrival(workshop, workshop.provision(name, files.cert, files.key), name)


@provisioning("register while a group rolls")
def test_a_group_rolls_from_ca_to_ca_and_distrusting_the_old_one_cuts_those_below_it(workshop: Workshop) -> None:
    hub, name = workshop.hub, "rolled-device"
    for ca in ("roll-ca-1", "roll-ca-2", "roll-ca-3"):
        workshop.register(ca)
    hub.moorage("enrollment-group", "create", "rolling-group", "--ca", "roll-ca-1")
    workshop.make("device", name, "roll-ca-1")
    old = workshop.put_away(name)
    new = workshop.make("device", name, "roll-ca-2")
    assert refusal(workshop, name, new) == ("DeviceNotFoundError", "enrollment.unknown")
    expect_arrival(workshop, workshop.provision(name, old.cert, old.key), name)
    hub.moorage("enrollment-group", "update", "rolling-group", "--secondary-ca", "roll-ca-2")
    for files in (new, old):
        expect_arrival(workshop, workshop.provision(name, files.cert, files.key), name)
    with workshop.start("conversing_device.js", workshop.by_certificate(name, old)) as connected:
        connected.next("ready")
        hub.moorage("enrollment-group", "update", "rolling-group", "--ca", "roll-ca-3")
        expect_still_there(workshop, name)
        hub.moorage("ca", "delete", "roll-ca-1")
        # The SDK takes a refusal for bad weather once it was connected, and goes on trying.
        until("the session is cut and refused", lambda: not hub.attempts(device=name)[0]["accepted"])
        assert hub.request("GET", f"/devices/{name}")["connectionState"] == "Disconnected"
    assert refusal(workshop, name, old) == ("UnauthorizedError", "chain.incomplete")
    expect_arrival(workshop, workshop.provision(name, new.cert, new.key), name)
