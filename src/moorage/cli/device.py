"""`moorage device`: the registry's devices (contract/services.md 2.3)."""

from __future__ import annotations

import shlex
from typing import Any

import click

from moorage.cli.arguments import device_argument, device_ids, identity_path, module_option, quoted
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.credentials import (
    AUTH_TYPES,
    authentication_of,
    changed_authentication,
    credential_options,
    thumbprints_of,
)
from moorage.cli.output import escape, moment, print_json, print_table
from moorage.cli.token import connection_string
from moorage.cli.transfer import export_devices, import_devices
from moorage.errors import Conflict, Refusal

__all__ = ["device"]


@click.group(cls=Group)
def device() -> None:
    """Create, list, show, change and delete devices."""


device.add_command(import_devices)
device.add_command(export_devices)
device.add_command(connection_string)


@device.command("create")
@click.argument("device_id", metavar="ID")
@click.option("--auth", type=click.Choice(list(AUTH_TYPES)), default="x509-ca", show_default=True)
@credential_options
@click.option("--module", "modules", multiple=True, metavar="M", help="Create this module too. Can be repeated.")
@click.option("--edge", is_flag=True, help="An IoT Edge device.")
@pass_invocation
def create_device(
    invocation: Invocation,
    /,
    device_id: str,
    auth: str,
    modules: tuple[str, ...],
    edge: bool,
    **credentials: Any,
) -> None:
    """Create the device ID. With --auth sas its keys are made by the hub and printed."""
    from moorage.cli.hub_client import segment
    from moorage.ids import parse_device_id, parse_module_id

    parse_device_id(device_id)
    for module in modules:
        parse_module_id(module)
    authentication = authentication_of(auth, thumbprints_of(**credentials))
    hub = invocation.hub()
    path = f"/devices/{segment(device_id)}"
    body = {"deviceId": device_id, "status": "enabled", "authentication": authentication}
    lines = []
    try:
        made = hub.request("PUT", path, body={**body, "capabilities": {"iotEdge": edge}})
        lines.append(f"Created device {escape(device_id)} ({auth}).")
    except Refusal as refusal:
        # Modules are added to a device that exists; it stays as it is.
        if refusal.reason != "device.exists":
            raise
        if not modules:
            raise _exists(refusal, device_id, auth, authentication) from refusal
        made = hub.request("GET", path)
    made_modules = []
    for module in modules:
        body = {"deviceId": device_id, "moduleId": module, "authentication": authentication}
        try:
            made_modules.append(hub.request("PUT", f"{path}/modules/{segment(module)}", body=body))
        except Refusal as refusal:
            if refusal.reason != "module.exists":
                raise
            raise _exists(refusal, device_id, auth, authentication, module) from refusal
    lines += [f"Created module {escape(device_id)}/{escape(module)} ({auth})." for module in modules]
    for name, document in [(device_id, made)] + [
        (f"{device_id};ModuleId={module}", document) for module, document in zip(modules, made_modules, strict=True)
    ]:
        if key := document["authentication"]["symmetricKey"]["primaryKey"]:
            lines.append(f"HostName={hub.info.hostname};DeviceId={escape(name)};SharedAccessKey={escape(key)}")
    if auth == "x509-ca":
        command = shlex.join(["moorage", "cert", "device", device_id, "--issuer", "CA"])
        lines.append(f"Next, unless it has its certificate: {escape(command)}")
    invocation.report({**made, "modules": made_modules} if modules else made, *lines)


def _exists(
    refusal: Refusal, device_id: str, auth: str, authentication: dict[str, Any], module: str | None = None
) -> Conflict:
    """The hub's `refusal` in the words of the command line: its own speaks of HTTP."""
    name = f"device '{device_id}'" if module is None else f"module '{device_id}/{module}'"
    words = ["moorage", "device", "update", device_id, *([] if module is None else ["--module", module])]
    words += ["--auth", auth]
    for slot, thumbprint in authentication.get("x509Thumbprint", {}).items():
        words += [f"--{slot.removesuffix('Thumbprint')}-thumbprint", thumbprint]
    return Conflict(refusal.reason, f"the {name} exists already", fix=shlex.join(words))


@device.command("update")
@device_argument
@module_option("Change that module instead.")
@click.option("--auth", type=click.Choice(list(AUTH_TYPES)), help="Authenticate it by this from now on.")
@credential_options
@click.option("--status", type=click.Choice(["enabled", "disabled"]), help="Let the device in, or keep it out.")
@pass_invocation
def update_device(
    invocation: Invocation,
    /,
    device_id: str,
    module: str | None,
    auth: str | None,
    status: str | None,
    **credentials: Any,
) -> None:
    """Change how the device ID authenticates, or whether it is let in; what is not given stays.

    A thumbprint takes the place of that one alone, so that a device can roll to a new certificate. With --auth sas a
    device that had no keys gets them from the hub.
    """
    thumbprints = thumbprints_of(**credentials)
    is_other_credential = bool(auth or thumbprints)
    if not is_other_credential and status is None:
        raise click.UsageError("give --auth, a thumbprint, --certificate, --secondary or --status")
    if module is not None and status is not None:
        raise click.UsageError("a module has no status of its own; --status is for the device")
    path = identity_path(device_id, module)
    hub = invocation.hub()
    document = hub.request("GET", path)
    name = escape(device_id if module is None else f"{device_id}/{module}")
    lines = []
    body = dict(document)
    if is_other_credential:
        body["authentication"] = changed = changed_authentication(name, document["authentication"], auth, thumbprints)
        lines.append(f"{name} authenticates as {escape(changed['type'])}.")
    if status is not None:
        body["status"] = status
        lines.append(f"{name} is {status}.")
    answer = hub.request("PUT", path, body=body, if_match=f'"{document["etag"]}"')
    invocation.report(answer, *lines)


@device.command("list")
@click.option("--top", type=click.IntRange(1, 1000), default=1000, show_default=True, help="At most so many.")
@pass_invocation
def list_devices(invocation: Invocation, top: int) -> None:
    """List devices."""
    devices = invocation.hub().request("GET", "/devices", query={"top": str(top)})
    if invocation.as_json:
        for document in devices:
            print_json(document)
        return
    print_table(
        ["device", "auth", "status", "connection", "last activity"],
        [
            [
                document["deviceId"],
                document["authentication"]["type"],
                document["status"],
                document["connectionState"],
                moment(document["lastActivityTime"]),
            ]
            for document in devices
        ],
        dispensable=["auth", "last activity", "connection", "status"],
    )
    if len(devices) == top:
        # Beside the table, which a program may read.
        click.echo(f"There may be more than these {top}: moorage query 'SELECT * FROM devices'", err=True)


@device.command("show")
@device_argument
@pass_invocation
def show_device(invocation: Invocation, device_id: str) -> None:
    """Show the device ID, keys included."""
    invocation.show(invocation.hub().request("GET", identity_path(device_id)))


@device.command("roll-key")
@device_argument
@module_option("That module's keys.")
@click.option("--key", type=click.Choice(["primary", "secondary", "both"]), default="both", show_default=True)
@pass_invocation
def roll_key(invocation: Invocation, device_id: str, module: str | None, key: str) -> None:
    """Give the device ID new symmetric keys; the old ones stop working."""
    hub = invocation.hub()
    identity = {"id": device_id} | ({} if module is None else {"moduleId": module})
    body = {"policyKey": key if key == "both" else f"{key}Key", "devices": [identity]}
    answer = hub.request("POST", "/devices/keys/regenerate", body=body)
    keys = hub.request("GET", identity_path(device_id, module))["authentication"]["symmetricKey"]
    shown = [f"{slot}: {escape(keys[f'{slot}Key'])}" for slot in ("primary", "secondary")]
    invocation.report({**answer, "symmetricKey": keys}, *shown)


@device.command("parent")
@device_argument
@click.argument("gateway", required=False, shell_complete=device_ids)
@click.option("--none", "orphaned", is_flag=True, help="It stands below nobody.")
@pass_invocation
def parent(invocation: Invocation, device_id: str, gateway: str | None, orphaned: bool) -> None:
    """Put the device ID below the edge device GATEWAY."""
    if (gateway is None) != orphaned:
        raise click.UsageError("give GATEWAY or --none")
    hub = invocation.hub()
    document = hub.request("GET", identity_path(device_id))
    scope = "" if gateway is None else _own_scope(hub.request("GET", identity_path(gateway)))
    if gateway is not None and not scope:
        raise Conflict(
            "device_scope.no_edge",
            f"'{gateway}' is no edge device, so nothing stands below it",
            fix=shlex.join(["moorage", "device", "create", "NAME", "--edge"]),
        )
    body = {**document, "parentScopes": [scope] if scope else []}
    changed = hub.request("PUT", identity_path(device_id), body=body, if_match=f'"{document["etag"]}"')
    where = "nobody" if gateway is None else escape(gateway)
    invocation.report(changed, f"{escape(device_id)} stands below {where}.")


def _own_scope(document: dict[str, Any]) -> str:
    """That of an edge device; the scope of another one is its gateway's."""
    return str(document["deviceScope"]) if document["capabilities"]["iotEdge"] else ""


@device.command("children")
@device_argument
@pass_invocation
def children(invocation: Invocation, device_id: str) -> None:
    """List the devices below the edge device ID."""
    hub = invocation.hub()
    scope = _own_scope(hub.request("GET", identity_path(device_id)))
    # A query has no word for "among the parents of an edge device", of which there are few.
    text = f"SELECT * FROM devices WHERE deviceScope = {quoted(scope)} OR capabilities.iotEdge = true"
    rows = hub.query_all("/devices/query", text) if scope else ()
    found = [row for row in rows if row["deviceId"] != device_id and scope in (row.get("parentScopes") or ())]
    if invocation.as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        ["device", "edge", "status", "connection"],
        [[row["deviceId"], row["capabilities"]["iotEdge"], row["status"], row["connectionState"]] for row in found],
    )


@device.command("delete")
@device_argument
@pass_invocation
def delete_device(invocation: Invocation, device_id: str) -> None:
    """Delete the device ID, its modules, its twin and what waits for it; its connections are cut."""
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    hub.request("DELETE", f"/devices/{segment(device_id)}", if_match="*")
    invocation.report({"deviceId": device_id, "deleted": True}, f"Deleted device {escape(device_id)}.")


@device.command("enable")
@device_argument
@pass_invocation
def enable_device(invocation: Invocation, device_id: str) -> None:
    """Let the device ID in again."""
    _set_status(invocation, device_id, "enabled")


@device.command("disable")
@device_argument
@pass_invocation
def disable_device(invocation: Invocation, device_id: str) -> None:
    """Keep the device ID out; its connections are cut."""
    _set_status(invocation, device_id, "disabled")


def _set_status(invocation: Invocation, device_id: str, status: str) -> None:
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    path = f"/devices/{segment(device_id)}"
    document = hub.request("GET", path)
    changed = hub.request("PUT", path, body={**document, "status": status}, if_match=f'"{document["etag"]}"')
    invocation.report(changed, f"Device {escape(device_id)} is {status}.")
