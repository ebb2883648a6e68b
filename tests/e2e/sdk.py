"""The unmodified SDKs with what every test needs beside them: certificates on disk, identities, what the hub stored."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import azure.iot.device as azure_iot_device
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, ProvisioningDeviceClient

from moorage.cli.hub_client import segment
from moorage.pki.certificates import Certificate
from tests.certs import Issued
from tests.hubs import Hub

__all__ = [
    "PATIENCE_S",
    "X509",
    "Bench",
    "Inbox",
    "Message",
    "MethodResponse",
    "authority",
    "client",
    "pinned",
    "split",
    "until",
]

# The package says that it is typed; half of it is not.
Message: Any = azure_iot_device.Message
MethodResponse: Any = azure_iot_device.MethodResponse
X509: Any = azure_iot_device.X509

PATIENCE_S = 30.0


def until(what: str, happened: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until `happened` is true; fail with `what` when it never is."""
    deadline = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {patience_s:g} s"
        time.sleep(0.02)


def split(name: str) -> tuple[str, str]:
    """`device/module` or `device` as (device id, module id or nothing)."""
    device_id, _, module_id = name.partition("/")
    return device_id, module_id


def pinned(primary: str, secondary: str | None = None) -> dict[str, Any]:
    """Registered by thumbprint."""
    return {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary}}


def authority() -> dict[str, Any]:
    return {"type": "certificateAuthority"}


class Inbox(list[Any]):
    """A handler that keeps what it is called with."""

    __call__ = list.append

    def wait(self, count: int = 1, patience_s: float = PATIENCE_S) -> Any:
        """The `count`th thing that came."""
        until(f"{count} of what is awaited (there are {len(self)})", lambda: len(self) >= count, patience_s)
        return self[count - 1]


class Bench:
    """A hub and a folder of certificate files. `name` is a device id, or `device/module`."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self._folder = folder
        self._numbers = itertools.count()
        self._trusted: dict[str, str] = {}

    # -- certificates --------------------------------------------------------------------------------------------------

    def files(self, issued: Issued, *, send: int | None = None) -> tuple[Path, Path]:
        """Certificate and key as a device holds them: the leaf and all above it but the root, or `send` of them."""
        stem = f"{next(self._numbers):03}"
        chain, key = self._folder / f"{stem}_chain.pem", self._folder / f"{stem}_key.pem"
        chain.write_text("".join(Certificate(der).pem for der in issued.sends(send).certificates))
        key.write_bytes(issued.key_pem())
        return chain, key

    def x509(self, issued: Issued, *, send: int | None = None) -> Any:
        chain, key = self.files(issued, send=send)
        return X509(cert_file=str(chain), key_file=str(key))

    def trust(self, ca: Issued) -> str:
        """Register and prove a CA, for the hub and for provisioning, once; its name there."""
        thumbprint = ca.certificate.sha256
        if thumbprint not in self._trusted:
            chain, key = self.files(ca, send=1)
            (documents,) = self.hub.ask("ca", "add", str(chain), "--prove-with", str(key))
            assert [each["properties"]["isVerified"] for each in documents] == [True, True]
            self._trusted[thumbprint] = str(documents[0]["name"])
        return self._trusted[thumbprint]

    # -- identities ----------------------------------------------------------------------------------------------------

    def create(self, name: str, authentication: dict[str, Any] | None = None) -> dict[str, Any]:
        """Register `name`, a module's device too; with keys unless told otherwise."""
        device_id, module_id = split(name)
        chosen = authentication or {"type": "sas"}
        body = {"deviceId": device_id, "status": "enabled", "authentication": chosen}
        document = self.hub.request("PUT", f"/devices/{segment(device_id)}", body=body)
        if module_id:
            body = {"deviceId": device_id, "moduleId": module_id, "authentication": chosen}
            path = f"/devices/{segment(device_id)}/modules/{segment(module_id)}"
            document = self.hub.request("PUT", path, body=body)
        return dict(document)

    def set_status(self, device_id: str, status: str) -> None:
        path = f"/devices/{segment(device_id)}"
        document = self.hub.request("GET", path)
        self.hub.request("PUT", path, body={**document, "status": status}, if_match="*")

    def twin(self, name: str) -> Any:
        device_id, module_id = split(name)
        path = f"/twins/{segment(device_id)}"
        return self.hub.request("GET", f"{path}/modules/{segment(module_id)}" if module_id else path)

    # -- clients -------------------------------------------------------------------------------------------------------

    def by_certificate(self, name: str, x509: Any, *, api: Any = None, **options: Any) -> Any:
        """An SDK client, not yet connected. `api` is a pair (device, module) of client classes; the sync ones else."""
        device_id, module_id = split(name)
        device_class, module_class = api or (IoTHubDeviceClient, IoTHubModuleClient)
        common = {"x509": x509, "hostname": self.hub.hostname, "device_id": device_id}
        common = {**common, "server_verification_cert": self.hub.trust, **options}
        if module_id:
            return module_class.create_from_x509_certificate(module_id=module_id, **common)
        return device_class.create_from_x509_certificate(**common)

    def by_key(
        self, document: dict[str, Any], *, secondary: bool = False, trust: str = "", api: Any = None, **options: Any
    ) -> Any:
        """As `by_certificate`, for a registry document with keys; it trusts the hub unless told what to trust."""
        device_class, module_class = api or (IoTHubDeviceClient, IoTHubModuleClient)
        return (module_class if document.get("moduleId") else device_class).create_from_connection_string(
            self.hub.device_connection_string(document, secondary=secondary),
            server_verification_cert=trust or self.hub.trust,
            **options,
        )

    def by_token(self, token: str, **options: Any) -> Any:
        """As `by_certificate`, for a device with a token that somebody else made."""
        device_class: Any = IoTHubDeviceClient
        return device_class.create_from_sastoken(token, server_verification_cert=self.hub.trust, **options)

    def provisioning(self, registration_id: str, *, x509: Any = None, key: str = "", **options: Any) -> Any:
        """A provisioning client, by certificate or by key."""
        common = {
            "provisioning_host": self.hub.hostname,
            "registration_id": registration_id,
            "id_scope": self.hub.id_scope,
            "server_verification_cert": self.hub.trust,
            **options,
        }
        if x509 is not None:
            return ProvisioningDeviceClient.create_from_x509_certificate(x509=x509, **common)
        return ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=key, **common)

    # -- what the hub knows --------------------------------------------------------------------------------------------

    def stored(self, device_id: str) -> list[dict[str, Any]]:
        """Telemetry of a device and its modules that is on disk now, oldest first."""
        found: list[dict[str, Any]] = []
        query = {"device": device_id, "from": "start"}
        while True:
            page = self.hub.request("GET", "/moorage/v1/telemetry", query=query)
            # Without what the hub itself tells of their twins.
            found += [
                each for each in page["messages"] if each["systemProperties"]["iothub-message-source"] == "Telemetry"
            ]
            if page["atEnd"]:
                return found
            query = {"device": device_id, "offset": str(page["nextOffset"])}

    def explain(self, name: str) -> dict[str, Any]:
        """The latest attempt as `moorage explain` tells it."""
        (attempt,) = self.hub.ask("explain", "--device", name, "--limit", "1")
        return dict(attempt)


@contextmanager
def client(*made: Any) -> Iterator[Any]:
    """Connect these clients for the length of a `with`, and shut them down; gives the first one, or a tuple."""
    with ExitStack() as stack:
        for each in made:
            stack.callback(each.shutdown)
            each.connect()
        yield made[0] if len(made) == 1 else made
