"""Certificates, keys and switches in the shape of Azure's control plane (contract/services.md 5)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from moorage.pki.issue import issue_verification
from tests import certs
from tests.api.hub.world import ARM, ApiWorld

PLACES = {"hub": f"{ARM}/IotHubs/hub/certificates", "dps": f"{ARM}/provisioningServices/dps/certificates"}


def encoded(text: str) -> str:
    """As AZ sends it: base64 of the file's bytes (K-1)."""
    return base64.b64encode(text.encode()).decode()


def upload_body(registry: str, certificate: str, **members: Any) -> dict[str, Any]:
    body = {"certificate": certificate, **members}
    return {"properties": body} if registry == "hub" else body


@pytest.fixture
def plant() -> certs.Issued:
    return certs.root("Plant Root")


def set_to_now(world: ApiWorld) -> None:
    world.clock.set_wall(datetime.now(UTC))


@pytest.mark.parametrize("registry", ["hub", "dps"])
async def test_all_seven_operations_from_upload_to_delete(world: ApiWorld, registry: str, plant: certs.Issued) -> None:
    set_to_now(world)
    base = PLACES[registry]
    assert (await world.ask("GET", base, policy="owner")).json() == {"value": []}

    body = upload_body(registry, encoded(plant.certificate.pem))
    created = await world.ask("PUT", f"{base}/plant?api-version=2021-10-15", body, policy="owner")
    assert created.status_code == 200, created.text
    document = created.json()
    assert document["name"] == "plant"
    properties = document["properties"]
    assert (properties["isVerified"], properties["thumbprint"]) == (False, plant.certificate.sha1)
    assert parsedate_to_datetime(properties["expiry"]) == plant.certificate.not_after
    assert base64.b64decode(properties["certificate"]) == plant.certificate.der
    assert "verificationCode" not in properties

    assert (await world.ask("GET", f"{base}/plant", policy="owner")).json() == document
    assert (await world.ask("GET", base, policy="owner")).json() == {"value": [document]}
    again = await world.ask("PUT", f"{base}/plant", body, policy="owner")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CertificateAlreadyExists")

    path = f"{base}/plant/generateVerificationCode"
    assert (await world.ask("POST", path, policy="owner")).headers["moorage-reason"] == "etag.missing"
    coded = (await world.ask("POST", path, policy="owner", if_match=document["etag"])).json()
    code = coded["properties"]["verificationCode"]
    assert 48 <= len(code) <= 64
    assert "verificationCode" not in (await world.ask("GET", f"{base}/plant", policy="owner")).json()["properties"]
    stale = await world.ask("POST", path, policy="owner", if_match=document["etag"])
    assert stale.status_code == 412

    verify = f"{base}/plant/verify"
    namesake = certs.root("Plant Root", label="namesake")
    proof = issue_verification(namesake.certificate, namesake.key, code, now=world.clock.now())
    wrong = await world.ask("POST", verify, {"certificate": proof.pem}, policy="owner", if_match=coded["etag"])
    assert wrong.status_code == 400
    assert wrong.headers["moorage-reason"].startswith("proof.")
    proof = issue_verification(plant.certificate, plant.key, code, now=world.clock.now())
    proven = await world.ask(
        "POST", verify, {"certificate": encoded(proof.pem)}, policy="owner", if_match=coded["etag"]
    )
    assert (proven.status_code, proven.json()["properties"]["isVerified"]) == (200, True)

    assert (await world.ask("DELETE", f"{base}/plant", policy="owner")).status_code == 400
    deleted = await world.ask("DELETE", f"{base}/plant", policy="owner", if_match=proven.json()["etag"])
    assert deleted.status_code == 204
    gone = await world.ask("GET", f"{base}/plant", policy="owner")
    assert (gone.status_code, gone.json()["code"], gone.json()["httpStatusCode"]) == (404, "CertificateNotFound", "404")


@pytest.mark.parametrize("registry", ["hub", "dps"])
async def test_verified_on_upload_and_replaced_with_its_etag(
    world: ApiWorld, registry: str, plant: certs.Issued
) -> None:
    set_to_now(world)
    base = PLACES[registry]
    body = upload_body(registry, encoded(plant.certificate.pem), isVerified=True)
    document = (await world.ask("PUT", f"{base}/plant", body, policy="owner")).json()
    assert document["properties"]["isVerified"] is True
    other = upload_body(registry, certs.root("Plant Root", label="other").certificate.pem)
    replaced = await world.ask("PUT", f"{base}/plant", other, policy="owner", if_match=document["etag"])
    assert (replaced.status_code, replaced.json()["properties"]["isVerified"]) == (200, False)
    stale = await world.ask("PUT", f"{base}/plant", other, policy="owner", if_match=document["etag"])
    assert stale.status_code == 412


async def test_hub_and_provisioning_keep_separate_collections(world: ApiWorld, plant: certs.Issued) -> None:
    set_to_now(world)
    await world.ask("PUT", f"{PLACES['hub']}/plant", upload_body("hub", plant.certificate.pem), policy="owner")
    assert (await world.ask("GET", PLACES["dps"], policy="owner")).json() == {"value": []}
    own = (await world.ask("GET", "/moorage/v1/hub/certificates", policy="owner")).json()["value"]
    assert [each["name"] for each in own] == ["plant"]
    assert (await world.ask("DELETE", "/moorage/v1/hub/certificates/plant", policy="owner")).status_code == 204


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "body.member"),
        ({"properties": {}}, "body.member"),
        ({"properties": {"certificate": 5}}, "body.member"),
        ({"properties": {"certificate": "AAAA", "isVerified": "yes"}}, "body.member"),
        ({"properties": {"certificate": "no certificate"}}, "certificate.malformed"),
    ],
)
async def test_an_upload_that_holds_no_certificate_is_refused(world: ApiWorld, body: Any, reason: str) -> None:
    refused = await world.ask("PUT", f"{PLACES['hub']}/plant", body, policy="owner")
    assert (refused.status_code, refused.headers["moorage-reason"]) == (400, reason)


async def test_a_private_key_is_refused_and_not_repeated(world: ApiWorld, plant: certs.Issued) -> None:
    key = plant.key_pem().decode()
    body = upload_body("hub", plant.certificate.pem + key)
    refused = await world.ask("PUT", f"{PLACES['hub']}/plant", body, policy="owner")
    assert (refused.status_code, refused.headers["moorage-reason"]) == (400, "certificate.private_key")
    assert key.splitlines()[1] not in refused.text
    assert (await world.ask("GET", PLACES["hub"], policy="owner")).json() == {"value": []}


async def test_the_resources_say_what_tools_read(world: ApiWorld) -> None:
    hub = (await world.ask("GET", f"{ARM}/IotHubs/hub", policy="owner")).json()
    assert hub["id"] == f"{ARM}/IotHubs/hub"
    assert (hub["resourcegroup"], hub["subscriptionid"]) == ("g", "s")
    assert hub["properties"]["hostName"] == "hub.example"
    events = hub["properties"]["eventHubEndpoints"]["events"]
    assert (events["partitionCount"], events["partitionIds"]) == (4, ["0", "1", "2", "3"])
    # Where the entity is that Event Hubs clients read from, which has the same name whatever the resource was called.
    assert (events["endpoint"], events["path"]) == ("sb://hub.example/", "hub")
    listed = await world.ask("GET", "/subscriptions/s/providers/Microsoft.Devices/IotHubs", policy="owner")
    assert listed.json()["value"][0]["properties"]["eventHubEndpoints"]["events"] == events
    assert "primaryKey" not in str(hub)
    listed = await world.ask("GET", "/subscriptions/s/providers/Microsoft.Devices/IotHubs", policy="owner")
    assert [each["name"] for each in listed.json()["value"]] == ["hub"]
    dps = (await world.ask("GET", f"{ARM}/provisioningServices/hub", policy="owner")).json()
    assert dps["properties"]["idScope"] == "0ne00000001"
    other = await world.ask("GET", f"{ARM}/IotHubs/other", policy="owner")
    assert (other.status_code, other.headers["moorage-reason"]) == (404, "resource.unknown")


async def test_keys_are_listed_with_their_rights_as_one_string(world: ApiWorld) -> None:
    keys = (await world.ask("POST", f"{ARM}/IotHubs/hub/listkeys", policy="owner")).json()["value"]
    assert {key["keyName"] for key in keys} == {"iothubowner", "service", "device", "registryRead", "registryReadWrite"}
    (found,) = [key for key in keys if key["keyName"] == "registryReadWrite"]
    assert found["rights"] == "RegistryRead, RegistryWrite"
    path = f"{ARM}/IotHubs/hub/IotHubKeys/registryReadWrite/listkeys"
    assert (await world.ask("POST", path, policy="owner")).json() == found
    dps = (await world.ask("POST", f"{ARM}/provisioningServices/dps/listkeys", policy="owner")).json()["value"]
    assert [key["keyName"] for key in dps] == ["provisioningserviceowner"]
    missing = await world.ask("POST", f"{ARM}/IotHubs/hub/IotHubKeys/none/listkeys", policy="owner")
    assert missing.status_code == 404


async def test_a_switch_of_the_wrong_form_changes_nothing(world: ApiWorld) -> None:
    body = {"properties": {"disableDeviceSAS": True, "disableModuleSAS": "yes"}}
    assert (await world.ask("PATCH", f"{ARM}/IotHubs/hub", body, policy="owner")).status_code == 400
    hub = (await world.ask("GET", f"{ARM}/IotHubs/hub", policy="owner")).json()
    assert hub["properties"]["disableDeviceSAS"] is False


@pytest.mark.parametrize("header", ["{'IF-MATCH': None}", ""])
async def test_a_header_that_names_no_etag_leaves_the_one_in_the_body(world: ApiWorld, header: str) -> None:
    path = f"{ARM}/IotHubs/hub"
    read = (await world.ask("GET", path, policy="owner")).json()
    first = await world.ask("PATCH", path, {**read, "tags": {"by": "first"}}, policy="owner", if_match=header)
    assert first.status_code == 200, first.text
    second = await world.ask("PATCH", path, {**read, "tags": {"by": "second"}}, policy="owner", if_match=header)
    assert (second.status_code, second.headers["moorage-reason"]) == (412, "etag.stale")
    anyhow = await world.ask("PATCH", path, {**read, "tags": {"by": "third"}}, policy="owner", if_match="*")
    assert anyhow.json()["tags"] == {"by": "third"}


async def test_a_name_that_means_nothing_here_stays_within_the_warning(world: ApiWorld) -> None:
    body = {"odd\r\nSet-Cookie: a": 1, "properties": {"größe\x00": 2}}
    answer = await world.ask("PATCH", f"{ARM}/IotHubs/hub", body, policy="owner")
    assert answer.headers["moorage-warning"] == "without effect here: odd??Set-Cookie: a, properties.gr??e?"


async def test_a_duration_or_a_name_without_end_is_refused_in_a_few_words(world: ApiWorld) -> None:
    for properties in (
        {"cloudToDevice": {"defaultTtlAsIso8601": f"P{'1' * 5000}D"}},
        {"eventHubEndpoints": {"events": {"k" * 50_000: 1}}},
    ):
        answer = await world.ask("PATCH", f"{ARM}/IotHubs/hub", {"properties": properties}, policy="owner")
        assert (answer.status_code, answer.headers["moorage-reason"]) == (400, "resource.fixed")
        assert len(answer.text) < 2000
