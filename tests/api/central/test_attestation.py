"""What one device comes in with, over REST: its own enrollment, and the Connect dialog (central.md REST-X7 to X11)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.ids import DEFAULT_HUB, RegistrationId, Secret
from moorage.provisioning.attestation import derive_key
from tests import certs
from tests.api.central.world import Central

PATH = "/devices/pump-01/attestation"


def x509(**slots: certs.Issued) -> dict[str, Any]:
    certificates = {slot: {"certificate": issued.pem()} for slot, issued in slots.items()}
    return {"type": "x509", "x509": {"clientCertificates": certificates}}


def thumbprints(document: dict[str, Any]) -> dict[str, str]:
    slots = document["x509"]["clientCertificates"]
    return {slot: value["info"]["sha1Thumbprint"] for slot, value in slots.items()}


@pytest.fixture
async def central(central: Central) -> Central:
    await central.put("/devices/pump-01", {})
    return central


async def test_two_certificates_are_pinned_and_shown_by_their_thumbprints(central: Central) -> None:
    first, second = certs.self_signed("pump-01"), certs.self_signed("another-name")
    made = await central.put(PATH, x509(primary=first, secondary=second))
    assert made.status == 200
    assert made.json() == {
        "type": "x509",
        "x509": {
            "clientCertificates": {
                "primary": {"info": {"sha1Thumbprint": first.certificate.sha1}},
                "secondary": {"info": {"sha1Thumbprint": second.certificate.sha1}},
            }
        },
    }
    assert (await central.get(PATH)).json() == made.json()
    shown = (await central.get("/devices/pump-01/credentials")).json()
    assert shown == {"idScope": central.hub.app.info().id_scope, "x509": made.json()["x509"]}


async def test_one_slot_is_rolled_and_the_other_one_stays(central: Central) -> None:
    first, second, third = (certs.self_signed("pump-01", label=str(number)) for number in range(3))
    await central.put(PATH, x509(primary=first))
    rolled = await central.patch(PATH, x509(secondary=second))
    assert thumbprints(rolled.json()) == {"primary": first.certificate.sha1, "secondary": second.certificate.sha1}
    rolled = await central.patch(PATH, {"x509": x509(primary=third)["x509"]})
    assert thumbprints(rolled.json()) == {"primary": third.certificate.sha1, "secondary": second.certificate.sha1}
    emptied = await central.patch(PATH, {"x509": {"clientCertificates": {"secondary": None}}})
    assert thumbprints(emptied.json()) == {"primary": third.certificate.sha1}


async def test_without_a_primary_there_is_no_x509(central: Central) -> None:
    for body in (x509(secondary=certs.self_signed("pump-01")), {"type": "x509"}):
        answer = await central.put(PATH, body)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody")
    assert (await central.get(PATH)).status == 404


async def test_back_to_the_group(central: Central) -> None:
    await central.put(PATH, x509(primary=certs.self_signed("pump-01")))
    assert (await central.delete(PATH)).status == 204
    for answer in (await central.get(PATH), await central.delete(PATH)):
        assert (answer.status, answer.header("moorage-reason")) == (404, "enrollment.unknown")


async def test_keys_and_a_tpm(central: Central) -> None:
    made = (await central.put(PATH, {"type": "symmetricKey", "symmetricKey": {}})).json()
    assert (await central.get("/devices/pump-01/credentials")).json()["symmetricKey"] == made["symmetricKey"]
    hidden = (await central.get(PATH, who=await central.token("org-viewer", await _organization(central)))).json()
    assert "error" in hidden
    tpm = await central.put(PATH, {"type": "tpm", "tpm": {"endorsementKey": "AToAAQ=="}})
    assert tpm.json() == {"type": "tpm", "tpm": {"endorsementKey": "AToAAQ=="}}


async def test_who_may_only_look_sees_no_keys(central: Central) -> None:
    place = await _organization(central)
    await central.patch("/devices/pump-01", {"organizations": [place]})
    await central.put(PATH, {"type": "symmetricKey"})
    viewer = await central.token("org-viewer", place)
    assert (await central.get(PATH, who=viewer)).json() == {"type": "symmetricKey"}
    assert (await central.get("/devices/pump-01/credentials", who=viewer)).status == 403


async def test_credentials_of_a_device_of_a_group_are_derived_from_the_default_one(central: Central) -> None:
    shown = (await central.get("/devices/pump-01/credentials")).json()
    group = (await central.get("/enrollmentGroups/SAS-IoT-Devices")).json()["attestation"]["symmetricKey"]
    assert shown["idScope"] == central.hub.app.info().id_scope
    for slot in ("primaryKey", "secondaryKey"):
        assert shown["symmetricKey"][slot] == derive_key(Secret(group[slot]), RegistrationId("pump-01")).reveal()
    assert central.hub.app.store.read().individuals.find(DEFAULT_HUB, RegistrationId("pump-01")) is None


_NO_ATTESTATIONS: tuple[Any, ...] = (
    {},
    {"type": "password"},
    {"type": "tpm"},
    {"type": "x509", "x509": 3},
    {"type": "tpm", "colour": 1},
    [],
)


async def test_what_is_no_attestation(central: Central) -> None:
    for body in _NO_ATTESTATIONS:
        answer = await central.put(PATH, body)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody"), answer.body


async def _organization(central: Central) -> str:
    await central.put("/organizations/north", {})
    return "north"
