"""A hub under names that only a hosts entry would resolve, the global provisioning host among them (decisions W2)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from azure.iot.device.exceptions import CredentialError

from tests import certs
from tests.compatibility import proves
from tests.e2e.sdk import Bench, client, pinned
from tests.hubs import SDK_MQTT_PORT, own_address, running_hub

provisioning = partial(proves, "azure-iot-device", "provisioning", transport="MQTT")

NAME = "hub.plant.example"
GLOBAL = "global.azure-devices-provisioning.net"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A hub with both names, and the address where it is instead of what a hosts entry would say."""
    address, folder = own_address(SDK_MQTT_PORT), tmp_path_factory.mktemp("named")
    names = [flag for name in (NAME, GLOBAL, address) for flag in ("--hostname", name)]
    with running_hub(folder / "hub", "--bind", address, *names, mqtt_port=SDK_MQTT_PORT) as hub:
        yield Bench(hub, folder)


@provisioning("register at the global host")
def test_a_device_registers_at_the_global_host_and_is_assigned_to_the_first_name(named: Bench) -> None:
    issued = certs.self_signed("pump-01")
    certificate, key = named.files(issued)
    named.hub.ask("enrollment", "create", "pump-01", "--certificate", str(certificate))
    trust = ssl.create_default_context(cafile=str(named.hub.ca_bundle))
    trust.load_cert_chain(certificate, key)
    base = f"https://{named.hub.info.bind}:{named.hub.info.https_port}/{named.hub.id_scope}/registrations/pump-01"
    with httpx.Client(
        verify=trust, trust_env=False, headers={"Host": GLOBAL}, params={"api-version": "2021-06-01"}
    ) as http:
        sni = {"sni_hostname": GLOBAL}
        begun = http.put(f"{base}/register", json={"registrationId": "pump-01"}, extensions=sni)
        assert begun.status_code == 202, begun.text
        placed = http.get(f"{base}/operations/{begun.json()['operationId']}", extensions=sni)
    assert placed.json()["registrationState"]["assignedHub"] == NAME


@pytest.mark.parametrize("name", [NAME, NAME.upper(), GLOBAL])
def test_a_device_connects_under_every_name_of_the_hub(named: Bench, name: str) -> None:
    device_id = f"pump-{name}"
    issued = certs.self_signed(device_id)
    named.create(device_id, pinned(issued.certificate.sha256))
    # The SDK's own way to say where a name is: TCP goes to the gateway, everything else names the hub.
    where = {"hostname": name, "gateway_hostname": named.hub.info.bind}
    with client(named.by_certificate(device_id, named.x509(issued), **where)) as device:
        device.send_message("hello")
    assert len(named.stored(device_id)) == 1


def test_a_device_that_means_another_hub_is_refused(named: Bench) -> None:
    issued = certs.self_signed("pump-elsewhere")
    named.create("pump-elsewhere", pinned(issued.certificate.sha256))
    where = {"hostname": "other.plant.example", "gateway_hostname": named.hub.info.bind}
    with pytest.raises(CredentialError), client(named.by_certificate("pump-elsewhere", named.x509(issued), **where)):
        pass
    assert named.explain("pump-elsewhere")["reason"] == "login.host"
