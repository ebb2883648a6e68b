"""Every kind of credential opens the door, for devices and for modules, with azure-iot-device as it is on PyPI."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest

from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import Bench, Message, authority, client, pinned, split

device_does = partial(proves, "azure-iot-device", "devices and modules", transport="MQTT")

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


@dataclass(frozen=True)
class Chain:
    """`line` are the CAs above the leaf, root first, as (name, key); `registered` is the place of the known one in it.

    `send` certificates are sent, or all but the root.
    """

    key: str
    line: tuple[tuple[str, str], ...]
    send: int | None = None
    registered: int = 0


CHAINS = {
    "EC P-256 below its root, which is sent too": Chain("ec-p256", (("E2E Root A", "ec-p256"),), send=2),
    "EC P-384 below its root": Chain("ec-p384", (("E2E Root B", "ec-p384"),)),
    "RSA-2048 below its root": Chain("rsa-2048", (("E2E Root C", "rsa-2048"),)),
    "EC P-256 below two intermediates": Chain(
        "ec-p256", (("E2E Company-X", "ec-p384"), ("E2E Factory-Y", "ec-p256"), ("E2E Technician-Z", "ec-p256"))
    ),
    "RSA-2048 below two RSA intermediates": Chain(
        "rsa-2048", (("E2E Root C", "rsa-2048"), ("E2E Factory R", "rsa-2048"), ("E2E Technician R", "rsa-2048"))
    ),
    "EC alone, below an intermediate that is registered itself": Chain(
        "ec-p256", (("E2E Root D", "ec-p256"), ("E2E Line D", "ec-p256")), send=1, registered=1
    ),
}


@cache
def ca(line: tuple[tuple[str, str], ...]) -> Issued:
    """The last of `line`; the same certificate each time."""
    *above, (name, kind) = line
    return certs.intermediate(ca(tuple(above)), name, kind=kind) if above else certs.root(name, kind=kind)


def send_and_find(bench: Bench, name: str, device: Any) -> dict[str, Any]:
    """Connected means: what is sent is stored, under this identity. Gives how the hub says it logged in."""
    with client(device):
        device.send_message(Message("hello"))
    device_id, module_id = split(name)
    (message,) = bench.stored(device_id)
    assert (message["deviceId"], message["moduleId"] or "") == (device_id, module_id)
    method: dict[str, Any] = json.loads(message["systemProperties"]["iothub-connection-auth-method"])
    return method


@device_does("connect by certificate authority")
@device_or_module
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_a_leaf_signed_by_a_registered_ca_connects(
    bench: Bench, new_id: Callable[..., str], chain: Chain, suffix: str
) -> None:
    name = new_id() + suffix
    bench.trust(ca(chain.line[: chain.registered + 1]))
    bench.create(name, authority())
    leaf = certs.device(ca(chain.line), name, kind=chain.key)
    method = send_and_find(bench, name, bench.by_certificate(name, bench.x509(leaf, send=chain.send)))
    assert method["type"] == "x509Certificate"
    (attempt,) = bench.hub.attempts(device=name)
    assert (attempt["accepted"], attempt["tlsVersion"]) == (True, "TLSv1.2")
    assert len(attempt["chain"]) == (chain.send or len(chain.line))


@device_does("connect by thumbprint")
@device_or_module
@pytest.mark.parametrize("key", ["ec-p256", "ec-p384", "rsa-2048"])
def test_a_self_signed_certificate_connects_by_its_thumbprint(
    bench: Bench, new_id: Callable[..., str], key: str, suffix: str
) -> None:
    name = new_id() + suffix
    issued = certs.self_signed(name, kind=key)
    bench.create(name, pinned(issued.certificate.sha256))
    assert send_and_find(bench, name, bench.by_certificate(name, bench.x509(issued)))["type"] == "x509Certificate"


@device_does("connect by either thumbprint")
@device_or_module
def test_either_thumbprint_connects_sha1_and_sha256_and_whatever_the_common_name(
    bench: Bench, new_id: Callable[..., str], suffix: str
) -> None:
    name = new_id() + suffix
    primary, secondary = certs.self_signed("mytestselfcertprimary"), certs.self_signed("mytestselfcertsecondary")
    bench.create(name, pinned(primary.certificate.sha1.lower(), secondary.certificate.sha256))
    for issued in (primary, secondary):
        with client(bench.by_certificate(name, bench.x509(issued))) as device:
            device.send_message("hello")
    assert len(bench.stored(split(name)[0])) == 2


@device_does("connect by either key")
@device_or_module
def test_either_key_connects(bench: Bench, new_id: Callable[..., str], suffix: str) -> None:
    name = new_id() + suffix
    document = bench.create(name)
    assert send_and_find(bench, name, bench.by_key(document))["type"] == "sas"
    with client(bench.by_key(document, secondary=True)) as device:
        device.send_message("hello")
    assert len(bench.stored(split(name)[0])) == 2


def test_a_name_with_every_sign_that_a_topic_may_hold_connects(
    bench: Bench, plant: Issued, new_id: Callable[..., str]
) -> None:
    # An id may hold `+` and `#` too; a client that obeys [MQTT-3.3.2-2] cannot put those into a topic.
    name = new_id("a-.%_*?!(),=@$'b")
    bench.create(name, authority())
    device = bench.by_certificate(name, bench.x509(certs.device(plant, name)))
    send_and_find(bench, name, device)
