"""Who is kept out: the SDK raises its credential error, and `moorage explain` names the exact reason."""

from __future__ import annotations

import base64
import gc
import os
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device.exceptions import ClientError, CredentialError
from cryptography import x509

from tests import certs
from tests.certs import NOW, Issued
from tests.e2e.sdk import X509, Bench, authority, client, pinned, split, until


@dataclass(frozen=True)
class Case:
    """`shows` is what a stranger presents as `name`; `says` is in the sentence that explains the refusal."""

    reason: str
    authentication: Callable[[str], dict[str, Any] | None]
    shows: Callable[[Issued, str], Issued]
    says: str = ""
    send: int | None = None


def by_authority(name: str) -> dict[str, Any]:
    return authority()


def below_intermediate(plant: Issued, name: str) -> Issued:
    return certs.device(certs.intermediate(plant, "E2E Unsent Line"), name)


def server_certificate(plant: Issued, name: str) -> Issued:
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    key = certs.key_of(f"{name}/server")
    extensions = [(certs.NOT_A_CA, True), (certs.key_usage(digital_signature=True), True), (usage, False)]
    certificate = certs.odd(name, issuer=plant, key=key, public_key=key.public_key(), extensions=extensions)
    return Issued(certificate, key, plant.fullchain)


CASES = {
    "a certificate for another device": Case(
        "identity.mismatch",
        by_authority,
        lambda plant, name: certs.device(plant, "pump-of-another-name"),
        says="'pump-of-another-name'",
    ),
    "an expired certificate": Case(
        "chain.expired",
        by_authority,
        lambda plant, name: certs.device(plant, name, now=NOW - timedelta(days=2), lifetime=timedelta(days=1)),
        says="until",
    ),
    "a certificate of tomorrow": Case(
        "chain.not_yet_valid", by_authority, lambda plant, name: certs.device(plant, name, now=NOW + timedelta(days=1))
    ),
    "a CA that nobody registered, sent along": Case(
        "chain.untrusted",
        by_authority,
        lambda plant, name: certs.device(certs.root("E2E Stranger Root"), name),
        send=2,
    ),
    "a CA that nobody registered, not sent": Case(
        "chain.incomplete",
        by_authority,
        lambda plant, name: certs.device(certs.root("E2E Stranger Root"), name),
        send=1,
    ),
    "an intermediate that was not sent": Case("chain.incomplete", by_authority, below_intermediate, send=1),
    "a CA of the right name with another key": Case(
        "chain.signature",
        by_authority,
        lambda plant, name: certs.device(certs.root("E2E Plant Root", label="fake"), name),
    ),
    "a certificate for servers only": Case("chain.wrong_usage", by_authority, server_certificate),
    "a CA's own certificate": Case(
        "chain.leaf_is_ca", by_authority, lambda plant, name: certs.intermediate(plant, name)
    ),
    "another self-signed certificate": Case(
        "identity.thumbprint",
        lambda name: pinned(certs.self_signed(name).certificate.sha256),
        lambda plant, name: certs.self_signed(name, kind="ec-p384"),
    ),
    "a CA-signed certificate for a pinned device": Case(
        "identity.thumbprint",
        lambda name: pinned(certs.self_signed(name).certificate.sha256),
        certs.device,
    ),
    "a self-signed certificate for a CA-signed device": Case(
        "chain.untrusted", by_authority, lambda plant, name: certs.self_signed(name)
    ),
    "a certificate for a device with keys": Case("token.missing", lambda name: {"type": "sas"}, certs.device),
    "a device that nobody registered": Case("identity.unknown", lambda name: None, certs.device),
}


def refused(bench: Bench, name: str, device: Any, reason: str) -> dict[str, Any]:
    """The SDK raises its credential error, nothing is let in, and the attempt on record says why."""
    with pytest.raises(CredentialError), client(device):
        pass
    attempt = bench.explain(name)
    assert (attempt["accepted"], attempt["reason"], attempt["claimedId"]) == (False, reason, name)
    assert attempt["message"]
    assert next(check["name"] for check in attempt["checks"] if check["passed"] is False) == reason
    return attempt


@pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_wrong_certificate_is_refused_and_explained(
    bench: Bench, plant: Issued, new_id: Callable[..., str], case: Case, suffix: str
) -> None:
    name = new_id() + suffix
    if (authentication := case.authentication(name)) is not None:
        bench.create(name, authentication)
    shown = case.shows(plant, name)
    device = bench.by_certificate(name, bench.x509(shown, send=case.send))
    attempt = refused(bench, name, device, case.reason)
    assert attempt["chain"][0]["sha256Thumbprint"] == shown.certificate.sha256
    assert case.says in attempt["message"]


@pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
def test_a_wrong_key_is_refused_and_explained(bench: Bench, new_id: Callable[..., str], suffix: str) -> None:
    name = new_id() + suffix
    document = bench.create(name)
    document["authentication"]["symmetricKey"]["primaryKey"] = base64.b64encode(os.urandom(32)).decode()
    refused(bench, name, bench.by_key(document), "token.signature")


def test_a_key_for_a_device_with_certificates_is_refused_and_explained(
    bench: Bench, new_id: Callable[..., str]
) -> None:
    name = new_id()
    bench.create(name, authority())
    key = base64.b64encode(os.urandom(32)).decode()
    keys = {"deviceId": name, "authentication": {"symmetricKey": {"primaryKey": key}}}
    refused(bench, name, bench.by_key(keys), "identity.certificate_missing")


@pytest.mark.parametrize("by", ["certificate", "key"])
@pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
def test_a_disabled_device_is_refused_with_its_modules_until_it_is_enabled(
    bench: Bench, plant: Issued, new_id: Callable[..., str], suffix: str, by: str
) -> None:
    name = new_id() + suffix
    document = bench.create(name, authority() if by == "certificate" else None)

    def make() -> Any:
        if by == "key":
            return bench.by_key(document)
        return bench.by_certificate(name, bench.x509(certs.device(plant, name)))

    bench.set_status(split(name)[0], "disabled")
    refused(bench, name, make(), "identity.disabled")
    bench.set_status(split(name)[0], "enabled")
    with client(make()) as device:
        device.send_message("in again")


def test_an_unproven_ca_lets_nobody_in_until_it_is_proven(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    ca = certs.root("E2E Unproven Root")
    certificate, key = bench.files(ca)
    bench.hub.ask("ca", "add", str(certificate))
    bench.create(name, authority())
    leaf = bench.x509(certs.device(ca, name))
    attempt = refused(bench, name, bench.by_certificate(name, leaf), "chain.untrusted")
    assert attempt["fix"] == "moorage ca code E2E-Unproven-Root"
    bench.hub.ask("ca", "add", str(certificate), "--prove-with", str(key))
    with client(bench.by_certificate(name, leaf)) as device:
        device.send_message("in")


def test_a_refusal_shows_every_check_and_the_chain_as_it_was_sent(
    bench: Bench, plant: Issued, new_id: Callable[..., str]
) -> None:
    name = new_id()
    bench.create(name, authority())
    line = certs.intermediate(plant, "E2E Late Line", now=NOW - timedelta(days=60))
    leaf = certs.device(line, name)
    attempt = refused(bench, name, bench.by_certificate(name, bench.x509(leaf)), "chain.expired")
    assert [each["subject"] for each in attempt["chain"]] == [f"CN={name}", "CN=E2E Late Line"]
    assert "E2E Late Line" in attempt["message"]
    passed = [check["name"] for check in attempt["checks"] if check["passed"]]
    not_reached = [check["name"] for check in attempt["checks"] if check["passed"] is None]
    assert "identity.unknown" in passed
    assert "identity.mismatch" in not_reached
    (found,) = bench.hub.ask("explain", attempt["trackingId"])
    assert found == attempt
    (found,) = bench.hub.ask("explain", "--thumbprint", leaf.certificate.sha1)
    assert found == attempt


@pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
@pytest.mark.parametrize("reason", ["identity.unknown", "identity.thumbprint", "identity.disabled"])
def test_the_fix_is_a_command_that_lets_it_in(
    bench: Bench, plant: Issued, new_id: Callable[..., str], reason: str, suffix: str
) -> None:
    name = new_id() + suffix
    device_id, module_id = split(name)
    shown = certs.device(plant, name)
    if reason == "identity.thumbprint":
        bench.create(name, pinned(certs.self_signed(name).certificate.sha256))
    elif reason == "identity.disabled":
        bench.create(name, authority())
        bench.set_status(device_id, "disabled")
    elif module_id:
        bench.create(device_id, authority())
    x509 = bench.x509(shown)
    attempt = refused(bench, name, bench.by_certificate(name, x509), reason)
    command, *arguments = shlex.split(attempt["fix"])
    assert command == "moorage"
    bench.hub.moorage(*arguments)
    with client(bench.by_certificate(name, x509)) as device:
        device.send_message("in")


@pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
def test_the_fix_for_another_name_makes_a_certificate_that_is_let_in(
    bench: Bench, plant: Issued, new_id: Callable[..., str], tmp_path: Path, suffix: str
) -> None:
    name = new_id() + suffix
    bench.create(name, authority())
    device = bench.by_certificate(name, bench.x509(certs.device(plant, "another")))
    attempt = refused(bench, name, device, "identity.mismatch")
    ca, key = bench.files(plant)
    named = plant.certificate.common_name()
    arguments = [str(ca) if word == named else word for word in shlex.split(attempt["fix"])[1:]]
    bench.hub.moorage(*arguments, "--issuer-key", str(key), "--stem", "made", cwd=tmp_path)
    x509 = X509(cert_file=str(tmp_path / "made_fullchain.pem"), key_file=str(tmp_path / "made_key.pem"))
    with client(bench.by_certificate(name, x509)) as device:
        device.send_message("in")


def test_a_device_that_does_not_trust_the_hub_is_on_record(bench: Bench, new_id: Callable[..., str]) -> None:
    document = bench.create(new_id())

    def connect() -> None:
        device = bench.by_key(document, trust=certs.root("E2E Stranger Root").certificate.pem)
        with pytest.raises(ClientError, match="TLS"), client(device):
            pass

    connect()
    with warnings.catch_warnings():
        # paho-mqtt, under the SDK, leaves the socket of a failed handshake to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()

    def latest() -> dict[str, Any]:
        (attempt,) = bench.hub.attempts(limit="1")
        return attempt

    until("the attempt is on record", lambda: latest()["reason"] == "tls.server_distrusted")
    assert (latest()["accepted"], latest()["door"]) == (False, "tls")
    assert "CA_BUNDLE" in latest()["message"]
