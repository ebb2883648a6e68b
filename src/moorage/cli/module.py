"""`moorage module`: the modules of a device (contract/services.md 2.4)."""

from __future__ import annotations

import shlex
from typing import Any

import click

from moorage.cli.arguments import device_argument, device_ids, identity_path, module_ids
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.credentials import (
    AUTH_TYPES,
    authentication_of,
    changed_authentication,
    credential_options,
    thumbprints_of,
)
from moorage.cli.output import escape, moment, print_json, print_table

__all__ = ["module"]

_module_argument = click.argument("module_id", metavar="MODULE", shell_complete=module_ids)


@click.group(cls=Group)
def module() -> None:
    """Create, list, show, change and delete modules."""


@module.command("create")
@click.argument("device_id", metavar="ID", shell_complete=device_ids)
@click.argument("module_id", metavar="MODULE")
@click.option("--auth", type=click.Choice(list(AUTH_TYPES)), default="x509-ca", show_default=True)
@credential_options
@click.option("--managed-by", metavar="WHO", help="Such as IotEdge.")
@pass_invocation
def create(
    invocation: Invocation,
    /,
    device_id: str,
    module_id: str,
    auth: str,
    managed_by: str | None,
    **credentials: Any,
) -> None:
    """Create MODULE on the device ID. With --auth sas its keys are made by the hub and printed."""
    from moorage.ids import parse_device_id, parse_module_id

    path = identity_path(parse_device_id(device_id), parse_module_id(module_id))
    authentication = authentication_of(auth, thumbprints_of(**credentials))
    body = {"deviceId": device_id, "moduleId": module_id, "authentication": authentication}
    if managed_by is not None:
        body["managedBy"] = managed_by
    hub = invocation.hub()
    made = hub.request("PUT", path, body=body)
    name = f"{escape(device_id)}/{escape(module_id)}"
    lines = [f"Created module {name} ({auth})."]
    if key := made["authentication"]["symmetricKey"]["primaryKey"]:
        place = f"DeviceId={escape(device_id)};ModuleId={escape(module_id)}"
        lines.append(f"HostName={hub.info.hostname};{place};SharedAccessKey={escape(key)}")
    if auth == "x509-ca":
        command = shlex.join(["moorage", "cert", "device", f"{device_id}/{module_id}", "--issuer", "CA"])
        lines.append(f"Next, unless it has its certificate: {escape(command)}")
    invocation.report(made, *lines)


@module.command("list")
@device_argument
@pass_invocation
def list_modules(invocation: Invocation, device_id: str) -> None:
    """List the modules of the device ID."""
    modules = invocation.hub().request("GET", identity_path(device_id) + "/modules")
    if invocation.as_json:
        for document in modules:
            print_json(document)
        return
    print_table(
        ["module", "auth", "connection", "last activity", "managed by"],
        [
            [
                document["moduleId"],
                document["authentication"]["type"],
                document["connectionState"],
                moment(document["lastActivityTime"]),
                document.get("managedBy"),
            ]
            for document in modules
        ],
        dispensable=["managed by", "last activity", "auth"],
    )


@module.command("show")
@device_argument
@_module_argument
@pass_invocation
def show(invocation: Invocation, device_id: str, module_id: str) -> None:
    """Show MODULE of the device ID, keys included."""
    invocation.show(invocation.hub().request("GET", identity_path(device_id, module_id)))


@module.command("update")
@device_argument
@_module_argument
@click.option("--auth", type=click.Choice(list(AUTH_TYPES)), help="Authenticate it by this from now on.")
@credential_options
@pass_invocation
def update(invocation: Invocation, /, device_id: str, module_id: str, auth: str | None, **credentials: Any) -> None:
    """Change how MODULE of the device ID authenticates; a thumbprint takes the place of that one alone."""
    thumbprints = thumbprints_of(**credentials)
    if not auth and not thumbprints:
        raise click.UsageError("give --auth, a thumbprint, --certificate or --secondary")
    hub, path = invocation.hub(), identity_path(device_id, module_id)
    body = hub.request("GET", path)
    name = f"{escape(device_id)}/{escape(module_id)}"
    body["authentication"] = changed_authentication(name, body["authentication"], auth, thumbprints)
    changed = hub.request("PUT", path, body=body, if_match=f'"{body["etag"]}"')
    invocation.report(changed, f"{name} authenticates as {escape(changed['authentication']['type'])}.")


@module.command("delete")
@device_argument
@_module_argument
@pass_invocation
def delete(invocation: Invocation, device_id: str, module_id: str) -> None:
    """Delete MODULE of the device ID and its twin; its connections are cut."""
    invocation.hub().request("DELETE", identity_path(device_id, module_id), if_match="*")
    document = {"deviceId": device_id, "moduleId": module_id, "deleted": True}
    invocation.report(document, f"Deleted module {escape(device_id)}/{escape(module_id)}.")
