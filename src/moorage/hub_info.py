"""What a hub publishes once its ports are open.

As `hub.json` (0600, with keys) in its data folder, where the command line finds it, and, with the keys masked, in the
banner of `moorage up`.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from moorage.errors import Invalid, NotFound
from moorage.ids import Secret

__all__ = ["HUB_INFO", "HubInfo", "hub_name_of", "read_hub_info"]

HUB_INFO = "hub.json"


@dataclass(frozen=True, slots=True)
class HubInfo:
    """A hub whose ports are open. `bind` and the ports are what was really bound; one that is None is not served.

    `hub_key` is the primary key of the policy `iothubowner`, `dps_key` that of `provisioningserviceowner`.
    `warnings` are sentences for the operator, for example what it costs that 443 was not permitted.
    """

    hostnames: tuple[str, ...]
    bind: str
    mqtt_port: int
    https_port: int
    id_scope: str
    data: Path
    ca_bundle: Path
    hub_key: Secret
    dps_key: Secret
    pid: int
    warnings: tuple[str, ...] = ()
    amqp_port: int = 5671
    amqp_plain_port: int | None = None
    web_port: int | None = None

    @property
    def hostname(self) -> str:
        return self.hostnames[0]

    @property
    def name(self) -> str:
        """What back ends know it by; also the entity from which Event Hubs clients read."""
        return hub_name_of(self.hostname)

    @property
    def local_address(self) -> str:
        """Where a program on this machine finds it, whatever DNS says."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind, self.bind)

    @property
    def service_host(self) -> str:
        """The first name, with the port where it is not 443 (decisions W1)."""
        return self._host(self.https_port, usual=443)

    @property
    def events_host(self) -> str:
        """Where telemetry is read over AMQP: the first name, with the port where it is not 5671."""
        return self._host(self.amqp_port, usual=5671)

    @property
    def hub_connection_string(self) -> Secret:
        return _connection_string(self.service_host, "iothubowner", self.hub_key)

    @property
    def dps_connection_string(self) -> Secret:
        return _connection_string(self.service_host, "provisioningserviceowner", self.dps_key)

    @property
    def event_hub_connection_string(self) -> Secret:
        """For clients of Event Hubs (contract/services.md 1.4), which find the telemetry of the hub there."""
        return Secret(
            f"Endpoint=sb://{self.events_host}/;SharedAccessKeyName=iothubowner;"
            f"SharedAccessKey={self.hub_key.reveal()};EntityPath={self.name}"
        )

    @property
    def web_url(self) -> str | None:
        """Where the application is."""
        return None if self.web_port is None else f"https://{self._host(self.web_port, usual=443)}/"

    def _host(self, port: int, *, usual: int) -> str:
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return host if port == usual else f"{host}:{port}"

    def environment(self) -> dict[str, str | None]:
        """What programs need, keys included; None where a part is not built."""
        return {
            "IOTHUB_HOSTNAME": self.hostname,
            "IOTHUB_CONNECTION_STRING": self.hub_connection_string.reveal(),
            "DPS_ENDPOINT": self.hostname,
            "DPS_ID_SCOPE": self.id_scope,
            "DPS_CONNECTION_STRING": self.dps_connection_string.reveal(),
            "EVENTHUB_CONNECTION_STRING": self.event_hub_connection_string.reveal(),
            "CA_BUNDLE": str(self.ca_bundle),
            "WEB_URL": self.web_url,
        }

    def document(self) -> str:
        """What `hub.json` holds: JSON, keys included."""
        fields = {
            "hostnames": list(self.hostnames),
            "bind": self.bind,
            "mqttPort": self.mqtt_port,
            "httpsPort": self.https_port,
            "amqpPort": self.amqp_port,
            "amqpPlainPort": self.amqp_plain_port,
            "webPort": self.web_port,
            "idScope": self.id_scope,
            "caBundle": str(self.ca_bundle),
            "hubKey": self.hub_key.reveal(),
            "dpsKey": self.dps_key.reveal(),
            "pid": self.pid,
            "warnings": list(self.warnings),
        }
        return json.dumps(fields, indent=2) + "\n"


def hub_name_of(hostname: str) -> str:
    """The name that back ends know a hub by: the first label of its host name."""
    try:
        return str(ipaddress.ip_address(hostname))
    except ValueError:
        return hostname.partition(".")[0]


def _connection_string(host: str, policy: str, key: Secret) -> Secret:
    return Secret(f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key.reveal()}")


def read_hub_info(data: Path) -> HubInfo:
    """What the hub that runs, or last ran, on `data` published.

    Raises `NotFound` (`hub.never_ran`) or `Invalid` (`hub.info_unreadable`).
    """
    path = data / HUB_INFO
    try:
        document = json.loads(path.read_bytes())
        return HubInfo(
            hostnames=tuple(document["hostnames"]),
            bind=document["bind"],
            mqtt_port=document["mqttPort"],
            https_port=document["httpsPort"],
            id_scope=document["idScope"],
            data=data,
            ca_bundle=Path(document["caBundle"]),
            hub_key=Secret(document["hubKey"]),
            dps_key=Secret(document["dpsKey"]),
            pid=document["pid"],
            warnings=tuple(document["warnings"]),
            amqp_port=document["amqpPort"],
            amqp_plain_port=document["amqpPlainPort"],
            web_port=document["webPort"],
        )
    except FileNotFoundError:
        raise NotFound(
            "hub.never_ran",
            f"no hub has run on {data}: there is no {HUB_INFO} in it",
            fix="moorage up, or say which data folder with --data DIR",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid("hub.info_unreadable", f"{path} cannot be read: {error}", fix="start the hub again") from error
