"""Straight to the hub with a certificate by azure-iot-device for Node: connection strings, trust, keys."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.compatibility import proves
from tests.e2e.node.workshop import Files, Settings, Workshop
from tests.e2e.sdk import authority, pinned, split

device_does = partial(proves, "azure-iot-device-mqtt", "devices and modules", transport="MQTT")

SHARED_KEY = base64.b64encode(b"a key that no device of the hub has").decode()

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


def expect_login(workshop: Workshop, name: str, by: str) -> None:
    """What it sent is stored under its name, with how it logged in; the hub let it in over TLS 1.3."""
    device_id, module_id = split(name)
    message = workshop.bench.stored(device_id)[-1]
    assert (message["deviceId"], message["moduleId"] or "") == (device_id, module_id)
    assert json.loads(message["systemProperties"]["iothub-connection-auth-method"])["type"] == by
    (attempt,) = workshop.hub.attempts(device=name)
    credential = "token" if by == "sas" else "x509"
    assert (attempt["accepted"], attempt["credential"], attempt["tlsVersion"]) == (True, credential, "TLSv1.3")


def pin(workshop: Workshop, name: str) -> Files:
    """Register `name` by the thumbprint of a self-signed certificate."""
    files = workshop.make("device", "mytestpinnedcert")
    workshop.bench.create(name, pinned(files.certificate.sha256))
    return files


def send(workshop: Workshop, program: str, settings: Settings) -> None:
    assert workshop.run(program, settings=settings) == [{"sent": True}]


@device_does("connect by thumbprint")
@device_or_module
def test_a_self_signed_certificate_connects_by_its_thumbprint(
    workshop: Workshop, new_id: Callable[..., str], suffix: str
) -> None:
    name = new_id() + suffix
    files = pin(workshop, name)
    send(workshop, "sending_device.js", workshop.by_certificate(name, files))
    expect_login(workshop, name, "x509Certificate")


@device_does("connect by certificate authority")
def test_a_leaf_below_a_proven_ca_connects_without_provisioning(workshop: Workshop) -> None:
    workshop.register("handmaderoot")
    files = workshop.make("device", "handmade-device", "handmaderoot")
    workshop.bench.create("handmade-device", authority())
    send(workshop, "sending_device.js", workshop.by_certificate("handmade-device", files))
    expect_login(workshop, "handmade-device", "x509Certificate")


# -- a key and a certificate -------------------------------------------------------------------------------------------


@device_or_module
def test_with_a_key_beside_it_the_certificate_decides_for_an_x509_identity(
    workshop: Workshop, new_id: Callable[..., str], suffix: str
) -> None:
    name = new_id() + suffix
    files = pin(workshop, name)
    send(workshop, "plain_device.js", workshop.by_certificate(name, files, shared_key=SHARED_KEY))
    expect_login(workshop, name, "x509Certificate")


@device_does("connect by key")
@device_or_module
def test_with_a_certificate_beside_it_the_key_decides_for_an_identity_with_keys(
    workshop: Workshop, new_id: Callable[..., str], suffix: str
) -> None:
    name = new_id() + suffix
    key = workshop.bench.create(name)["authentication"]["symmetricKey"]["primaryKey"]
    files = workshop.make("device", "besides")
    send(workshop, "plain_device.js", workshop.by_certificate(name, files, shared_key=key))
    expect_login(workshop, name, "sas")


def test_the_documented_program_sends_no_certificate_and_the_hub_says_so(
    workshop: Workshop, new_id: Callable[..., str]
) -> None:
    """The SDK makes a login by token of that connection string, and of nothing both. The guide for Node tells it."""
    name = new_id()
    settings = workshop.by_certificate(name, pin(workshop, name), shared_key=SHARED_KEY)
    option, end = workshop.run("documented_device.js", settings=settings, code=1)
    assert option == {"refusedOption": "Cannot set x509 options on a device that uses token authentication."}
    assert end["error"] == "UnauthorizedError"
    (attempt,) = workshop.hub.attempts(device=name)
    assert (attempt["reason"], attempt["credential"]) == ("identity.certificate_missing", "token")


# -- trust -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["file", "text"])
def test_the_ca_option_is_trust_enough(workshop: Workshop, new_id: Callable[..., str], form: str) -> None:
    name = new_id()
    files = pin(workshop, name)
    trust = str(workshop.hub.ca_bundle) if form == "file" else workshop.hub.trust
    settings = workshop.by_certificate(name, files) | {"NODE_EXTRA_CA_CERTS": "", "HUB_CA": trust}
    send(workshop, "sending_device.js", settings)
    expect_login(workshop, name, "x509Certificate")


def test_a_device_that_does_not_trust_the_hub_does_not_connect(workshop: Workshop, new_id: Callable[..., str]) -> None:
    name = new_id()
    settings = workshop.by_certificate(name, pin(workshop, name)) | {"NODE_EXTRA_CA_CERTS": ""}
    (said,) = workshop.run("sending_device.js", settings=settings, code=1)
    # The SDK calls every error of a first connection so; what it is about is in the message.
    assert said["error"] == "UnauthorizedError"
    assert "self-signed certificate in certificate chain" in said["message"]
    assert workshop.hub.attempts(device=name) == []


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PKCS#1", "PKCS#8 with a passphrase"])
def test_the_generators_key_opens_the_door_in_every_form(
    workshop: Workshop, new_id: Callable[..., str], tmp_path: Path, form: str
) -> None:
    name = new_id()
    files = pin(workshop, name)
    key = tmp_path / "key.pem"
    options = ["rsa", "-traditional"] if form == "PKCS#1" else ["pkcs8", "-topk8", "-passout", "pass:1234"]
    subprocess.run(["openssl", *options, "-in", files.key, "-out", key], check=True, capture_output=True, timeout=30)
    settings = workshop.by_certificate(name, files) | {"IOTHUB_DEVICE_X509_KEY": str(key)}
    if form != "PKCS#1":
        settings["IOTHUB_DEVICE_X509_PASSPHRASE"] = "1234"
    send(workshop, "sending_device.js", settings)
    expect_login(workshop, name, "x509Certificate")
