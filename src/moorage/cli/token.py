"""`moorage token`: the owner's bearer, and SAS tokens of policies, devices and modules (contract/services.md 1.1)."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import device_ids, existing_device, identity_path, module_ids
from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape
from moorage.cli.policy import find_policy, policy_names
from moorage.errors import Conflict

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["connection_string", "device_key", "token"]

_BEARER_MINUTES: Final = 24 * 60
_SAS_MINUTES: Final = 366 * 24 * 60


@click.command(cls=Command)
@click.option("--policy", metavar="NAME", shell_complete=policy_names, help="A SAS token of this policy instead.")
@click.option("--for", "scope", type=click.Choice(["hub", "dps"]), help="Of this service.  [default: whichever has it]")
@click.option("--path", metavar="PATH", help="Let a policy's token open only what lies here: devices/ID.")
@click.option(
    "--device", "device_id", metavar="ID", shell_complete=device_ids, help="A SAS token of this device instead."
)
@click.option("--module", metavar="M", shell_complete=module_ids, help="Of that module of the device.")
@click.option("--secondary", is_flag=True, help="Sign with the secondary key.")
@click.option(
    "--minutes",
    type=click.IntRange(1, _SAS_MINUTES),
    default=60,
    show_default=True,
    help=f"How long it holds; a bearer up to {_BEARER_MINUTES}.",
)
@pass_invocation
@existing_device()
def token(
    invocation: Invocation,
    policy: str | None,
    scope: str | None,
    path: str | None,
    device_id: str | None,
    module: str | None,
    secondary: bool,
    minutes: int,
) -> None:
    """Print a bearer token of the hub's owner, or a SAS token.

    A bearer goes into the Authorization header of any of its APIs.

    With --policy or --device it is a SAS token, as clients make it from a key: the policy's goes into that header too,
    the device's is its MQTT password.
    """
    if policy and device_id:
        raise click.UsageError("give --policy or --device, not both")
    if module and not device_id:
        raise click.UsageError("--module goes with --device")
    if not policy and (scope or path):
        raise click.UsageError("--for and --path go with --policy")
    if not policy and not device_id and secondary:
        raise click.UsageError("--secondary goes with --policy or --device")
    now = datetime.now(UTC)
    lifetime = timedelta(minutes=minutes)
    slot = "secondaryKey" if secondary else "primaryKey"
    if policy:
        made = _of_policy(invocation.hub(), policy, scope, path or "", slot, now + lifetime)
    elif device_id:
        made = _of_device(invocation.hub(), device_id, module, slot, now + lifetime)
    else:
        if minutes > _BEARER_MINUTES:
            raise click.UsageError(f"a bearer holds up to {_BEARER_MINUTES} minutes")
        from moorage.cli.owner import owner_token

        made = owner_token(invocation.data, now, lifetime).reveal()
    expires = (now + lifetime).isoformat(timespec="seconds")
    invocation.report({"token": made, "expires": expires}, escape(made))


def _of_policy(hub: HubClient, name: str, scope: str | None, path: str, slot: str, expires: datetime) -> str:
    from moorage.identities.sas import make_token
    from moorage.ids import Secret

    _, document = find_policy(hub, name, scope)
    resource = "/".join((hub.info.hostname, *(part for part in path.split("/") if part)))
    return make_token(resource, Secret(document[slot]), expires, document["name"]).reveal()


def _of_device(hub: HubClient, device_id: str, module: str | None, slot: str, expires: datetime) -> str:
    from moorage.identities.sas import make_token
    from moorage.ids import Secret

    document = hub.request("GET", identity_path(device_id, module))
    path = f"devices/{device_id}" if module is None else f"devices/{device_id}/modules/{module}"
    key = device_key(document, slot)
    return make_token(f"{hub.info.hostname}/{path}", Secret(key), expires).reveal()


def device_key(document: dict[str, Any], slot: str) -> str:
    """A key of a device or module. Raises `Conflict` (`identity.no_keys`) for one that is registered without keys."""
    if document["authentication"]["type"] != "sas":
        name = "/".join(part for part in (document["deviceId"], document.get("moduleId")) if part)
        raise Conflict(
            "identity.no_keys",
            f"'{name}' is registered as {document['authentication']['type']}: it has no keys, and shows a certificate",
            fix=f"moorage device show {shlex.quote(document['deviceId'])}",
        )
    return str(document["authentication"]["symmetricKey"][slot])


@click.command("connection-string", cls=Command)
@click.argument("device_id", metavar="ID", shell_complete=device_ids)
@click.option("--module", metavar="M", shell_complete=module_ids, help="Of that module of the device.")
@click.option("--secondary", is_flag=True, help="With the secondary key.")
@pass_invocation
@existing_device()
def connection_string(invocation: Invocation, device_id: str, module: str | None, secondary: bool) -> None:
    """Print what the device ID connects with: its key in it, or x509=true for one that shows a certificate."""
    hub = invocation.hub()
    document = hub.request("GET", identity_path(device_id, module))
    parts = [f"HostName={hub.info.hostname}", f"DeviceId={device_id}"]
    if module is not None:
        parts.append(f"ModuleId={module}")
    if document["authentication"]["type"] == "sas":
        parts.append(f"SharedAccessKey={device_key(document, 'secondaryKey' if secondary else 'primaryKey')}")
    elif document["authentication"]["type"] in ("selfSigned", "certificateAuthority"):
        parts.append("x509=true")
    else:
        device_key(document, "primaryKey")
    text = ";".join(parts)
    invocation.report({"connectionString": text}, escape(text))
