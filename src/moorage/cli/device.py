"""`moorage device`, `twin`, `method`, `c2d`: thin spellings of the hub's service REST (contract/services.md 2)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table
from moorage.errors import Conflict, Invalid, NotFound, Refusal

__all__ = ["c2d", "device", "json_object", "method", "twin"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_WIRE_TYPE = {"sas": "sas", "x509-thumbprint": "selfSigned", "x509-ca": "certificateAuthority"}

_MAX_CONNECT_TIMEOUT_S = 300

_Function = Callable[..., Any]


@click.group(cls=Group)
def device() -> None:
    """Create, list, show, change and delete devices."""


def _credential_options(function: _Function) -> _Function:
    for option in (
        click.option("--secondary", type=_FILE, help="Take the secondary thumbprint from this file."),
        click.option("--certificate", type=_FILE, help="Take the primary thumbprint from this file."),
        click.option("--secondary-thumbprint", help="That of the certificate it rolls to."),
        click.option("--primary-thumbprint", help="SHA-1 or SHA-256 of its certificate, with x509-thumbprint."),
    ):
        function = option(function)
    return function


@device.command("create")
@click.argument("device_id", metavar="ID")
@click.option("--auth", type=click.Choice(list(_WIRE_TYPE)), default="x509-ca", show_default=True)
@_credential_options
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
    authentication = _authentication(auth, _thumbprints(**credentials))
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
        lines.append(f"Next: moorage cert device {escape(device_id)} --issuer CA")
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
@click.argument("device_id", metavar="ID")
@click.option("--module", metavar="M", help="Change that module instead.")
@click.option("--auth", type=click.Choice(list(_WIRE_TYPE)), help="Authenticate it by this from now on.")
@_credential_options
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
    thumbprints = _thumbprints(**credentials)
    is_other_credential = bool(auth or thumbprints)
    if not is_other_credential and status is None:
        raise click.UsageError("give --auth, a thumbprint, --certificate, --secondary or --status")
    if module is not None and status is not None:
        raise click.UsageError("a module has no status of its own; --status is for the device")
    path = _identity_path(device_id, module)
    hub = invocation.hub()
    document = hub.request("GET", path)
    name = escape(device_id if module is None else f"{device_id}/{module}")
    lines = []
    body = dict(document)
    if is_other_credential:
        body["authentication"] = changed = _changed_authentication(name, document["authentication"], auth, thumbprints)
        lines.append(f"{name} authenticates as {escape(changed['type'])}.")
    if status is not None:
        body["status"] = status
        lines.append(f"{name} is {status}.")
    answer = hub.request("PUT", path, body=body, if_match=f'"{document["etag"]}"')
    invocation.report(answer, *lines)


def _identity_path(device_id: str, module: str | None) -> str:
    from moorage.cli.hub_client import segment

    path = f"/devices/{segment(device_id)}"
    return path if module is None else f"{path}/modules/{segment(module)}"


def _changed_authentication(
    name: str, present: dict[str, Any], auth: str | None, thumbprints: dict[str, str]
) -> dict[str, Any]:
    """The member `authentication` of a document, `present`, with what was given in its place."""
    kind = auth or next((auth for auth, wire in _WIRE_TYPE.items() if wire == present["type"]), present["type"])
    if auth is None and kind != "x509-thumbprint":
        raise click.UsageError(f"{name} is registered as {kind}, without thumbprints; add --auth x509-thumbprint")
    if kind != "x509-thumbprint" or present["type"] != _WIRE_TYPE[kind]:
        changed = _authentication(kind, thumbprints)
        # What it is already keeps its keys.
        return present if present["type"] == changed["type"] else changed
    return {**present, "x509Thumbprint": present["x509Thumbprint"] | thumbprints}


def _authentication(auth: str, thumbprints: dict[str, str]) -> dict[str, Any]:
    if auth != "x509-thumbprint":
        if thumbprints:
            raise click.UsageError(f"--auth {auth} takes no thumbprint and no certificate")
        return {"type": _WIRE_TYPE[auth]}
    if "primaryThumbprint" not in thumbprints:
        raise click.UsageError("--auth x509-thumbprint needs --primary-thumbprint or --certificate")
    return {"type": _WIRE_TYPE[auth], "x509Thumbprint": thumbprints}


def _thumbprints(
    primary_thumbprint: str | None, secondary_thumbprint: str | None, certificate: Path | None, secondary: Path | None
) -> dict[str, str]:
    """Those that were given, by their names on the wire."""
    from moorage.cli.certificate_files import read_certificate
    from moorage.ids import parse_thumbprint

    given: dict[str, str] = {}
    for slot, text, file, option in (
        ("primary", primary_thumbprint, certificate, "certificate"),
        ("secondary", secondary_thumbprint, secondary, "secondary"),
    ):
        if text and file:
            raise click.UsageError(f"give --{slot}-thumbprint or --{option}, not both")
        if text:
            given[f"{slot}Thumbprint"] = parse_thumbprint(text)
        elif file:
            given[f"{slot}Thumbprint"] = read_certificate(file).sha256
    return given


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


@device.command("show")
@click.argument("device_id", metavar="ID")
@pass_invocation
def show_device(invocation: Invocation, device_id: str) -> None:
    """Show the device ID, keys included."""
    from moorage.cli.hub_client import segment

    _show(invocation, invocation.hub().request("GET", f"/devices/{segment(device_id)}"))


@device.command("delete")
@click.argument("device_id", metavar="ID")
@pass_invocation
def delete_device(invocation: Invocation, device_id: str) -> None:
    """Delete the device ID, its modules, its twin and what waits for it; its connections are cut."""
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    with _no_creating():
        hub.request("DELETE", f"/devices/{segment(device_id)}", if_match="*")
    invocation.report({"deviceId": device_id, "deleted": True}, f"Deleted device {escape(device_id)}.")


@device.command("enable")
@click.argument("device_id", metavar="ID")
@pass_invocation
def enable_device(invocation: Invocation, device_id: str) -> None:
    """Let the device ID in again."""
    _set_status(invocation, device_id, "enabled")


@device.command("disable")
@click.argument("device_id", metavar="ID")
@pass_invocation
def disable_device(invocation: Invocation, device_id: str) -> None:
    """Keep the device ID out; its connections are cut."""
    _set_status(invocation, device_id, "disabled")


def _set_status(invocation: Invocation, device_id: str, status: str) -> None:
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    path = f"/devices/{segment(device_id)}"
    with _no_creating():
        document = hub.request("GET", path)
    changed = hub.request("PUT", path, body={**document, "status": status}, if_match=f'"{document["etag"]}"')
    invocation.report(changed, f"Device {escape(device_id)} is {status}.")


@contextmanager
def _no_creating() -> Iterator[None]:
    """Where a device has to be there already, the fix of `device.not_found` is to look for its right name."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason != "device.not_found":
            raise
        raise NotFound(refusal.reason, refusal.message, fix="moorage device list") from refusal


def _show(invocation: Invocation, document: Any) -> None:
    if invocation.as_json:
        print_json(document)
    else:
        # json.dumps keeps to ASCII, so nothing in it can reach the terminal raw.
        click.echo(json.dumps(document, indent=2))


@click.group(cls=Group)
def twin() -> None:
    """Show and update device twins."""


@twin.command("show")
@click.argument("device_id", metavar="ID")
@click.option("--module", help="That module's twin.")
@pass_invocation
def show_twin(invocation: Invocation, device_id: str, module: str | None) -> None:
    """Show the twin of the device ID."""
    _show(invocation, invocation.hub().request("GET", _twin_path(device_id, module)))


@twin.command("update")
@click.argument("device_id", metavar="ID")
@click.option("--module", help="That module's twin.")
@click.option("--desired", metavar="JSON", help="Merge this object into the desired properties; null removes a member.")
@click.option("--tags", metavar="JSON", help="Merge this object into the tags.")
@pass_invocation
def update_twin(
    invocation: Invocation, device_id: str, module: str | None, desired: str | None, tags: str | None
) -> None:
    """Change the twin of the device ID; a connected device is told at once."""
    if desired is None and tags is None:
        raise click.UsageError("give --desired, --tags or both")
    patch: dict[str, Any] = {}
    if desired is not None:
        patch["properties"] = {"desired": json_object(desired, "--desired")}
    if tags is not None:
        patch["tags"] = json_object(tags, "--tags")
    document = invocation.hub().request("PATCH", _twin_path(device_id, module), body=patch)
    version = document["properties"]["desired"]["$version"]
    invocation.report(document, f"Updated the twin of {escape(device_id)}; desired version {escape(version)}.")


def _twin_path(device_id: str, module: str | None) -> str:
    from moorage.cli.hub_client import segment

    path = f"/twins/{segment(device_id)}"
    return path if module is None else f"{path}/modules/{segment(module)}"


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Invalid("json.malformed", f"{where} is not JSON: {error}") from error


def json_object(text: str, where: str) -> dict[str, Any]:
    """What the option `where` says. Raises `Invalid` (`json.malformed`, `json.not_object`)."""
    value = _json(text, where)
    if not isinstance(value, dict):
        raise Invalid("json.not_object", f"{where} has to be a JSON object, this is {text[:80]!r}")
    return value


@click.group(cls=Group)
def method() -> None:
    """Call direct methods."""


@method.command("call")
@click.argument("device_id", metavar="ID")
@click.argument("name")
@click.option("--module", help="Call it on this module.")
@click.option("--payload", metavar="JSON", default="null", show_default=True)
@click.option("--timeout", type=click.IntRange(5, 300), default=30, show_default=True, help="Seconds for the answer.")
@click.option(
    "--connect-timeout",
    type=click.IntRange(0, _MAX_CONNECT_TIMEOUT_S),
    default=0,
    show_default=True,
    help="Seconds to wait for the device to connect.",
)
@pass_invocation
def call_method(
    invocation: Invocation,
    device_id: str,
    name: str,
    module: str | None,
    payload: str,
    timeout: int,
    connect_timeout: int,
) -> None:
    """Call the method NAME on the device ID and print its answer."""
    body = {
        "methodName": name,
        "payload": _json(payload, "--payload"),
        "responseTimeoutInSeconds": timeout,
        "connectTimeoutInSeconds": connect_timeout,
    }
    hub = invocation.hub()
    try:
        answer = hub.request(
            "POST",
            f"{_twin_path(device_id, module)}/methods",
            body=body,
            patience_s=timeout + connect_timeout + 10.0,
        )
    except Refusal as refusal:
        if refusal.reason != "device.not_online":
            raise
        fix = "connect the device and subscribe to its methods"
        if connect_timeout < _MAX_CONNECT_TIMEOUT_S:
            fix += f", or wait for it: --connect-timeout {min(_MAX_CONNECT_TIMEOUT_S, max(30, 2 * connect_timeout))}"
        raise NotFound(refusal.reason, refusal.message, fix=fix) from refusal
    invocation.report(
        answer, f"{escape(device_id)} answered {escape(answer['status'])}: {json.dumps(answer.get('payload'))}"
    )


@click.group(cls=Group)
def c2d() -> None:
    """Send cloud-to-device messages."""


@c2d.command("send")
@click.argument("device_id", metavar="ID")
@click.argument("text")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Can be repeated.")
@pass_invocation
def send_c2d(invocation: Invocation, device_id: str, text: str, properties: tuple[str, ...]) -> None:
    """Queue TEXT for the device ID; it is kept until the device takes it or it expires."""
    from moorage.cli.hub_client import segment

    pairs = {}
    for pair in properties:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--property is NAME=VALUE, this is {pair!r}")
        pairs[name] = value
    answer = invocation.hub().request(
        "POST",
        f"/moorage/v1/devices/{segment(device_id)}/messages/devicebound",
        body={"body": text, "properties": pairs},
    )
    invocation.report(answer, f"Queued message {escape(answer['messageId'])} for {escape(device_id)}.")
