"""`moorage policy`: shared access policies of the hub and the provisioning service, their keys, the SAS switches
and the waivers.

Keys are shown when they are asked for, and a key that somebody chose is read from a file: a command line is there for
every user of the machine to read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import complete
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.errors import NotFound

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["WAIVER_NAMES", "find_policy", "policy", "policy_connection_string", "policy_names"]

_SCOPES: Final = ("hub", "dps")
_ALL: Final = "/moorage/v1/policies"
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
# As in pki/waivers.py, which takes long to import.
WAIVER_NAMES: Final = ("rsa-1024", "sha1-signature")
_SWITCHES: Final = {
    "disable_local_auth": ("disableLocalAuth", "tokens signed with the hub's policy keys"),
    "disable_device_sas": ("disableDeviceSAS", "tokens of devices"),
    "disable_module_sas": ("disableModuleSAS", "tokens of modules"),
}


def _all_names(hub: HubClient, context: click.Context, incomplete: str) -> list[str]:
    answer = hub.request("GET", _ALL)
    return [each["name"] for scope in _SCOPES for each in answer[scope]]


policy_names = complete(_all_names)
_name_argument = click.argument("name", shell_complete=policy_names)
_where_option = click.option(
    "--for", "scope", type=click.Choice(_SCOPES), help="Of this service.  [default: whichever has it]"
)
_keys_option = click.option("--show-keys", is_flag=True, help="Show the keys.")


def _right_option(about: str) -> _Decorator:
    return click.option("--right", "rights", multiple=True, metavar="RIGHT", help=about)


def _key_option(slot: str) -> _Decorator:
    return click.option(f"--{slot}-key", type=_FILE, metavar="FILE", help=f"The {slot} key is in this file, as base64.")


@click.group(cls=Group)
def policy() -> None:
    """Shared access policies: who may do what with a key."""


@policy.command("list")
@click.option("--for", "scope", type=click.Choice(_SCOPES), help="Only of this service.  [default: both]")
@_keys_option
@pass_invocation
def list_policies(invocation: Invocation, scope: str | None, show_keys: bool) -> None:
    """List policies."""
    answer = invocation.hub().request("GET", _ALL)
    found = [(each, document) for each in _SCOPES if scope in (None, each) for document in answer[each]]
    if invocation.as_json:
        for each, document in found:
            print_json({"for": each, **_shown(document, show_keys)})
        return
    columns = ["policy", "for", "rights", *(["primary key", "secondary key"] if show_keys else [])]
    print_table(
        columns,
        [
            [document["name"], each, ", ".join(document["rights"])]
            + ([document["primaryKey"], document["secondaryKey"]] if show_keys else [])
            for each, document in found
        ],
    )


@policy.command("show")
@_name_argument
@_where_option
@_keys_option
@click.option("--connection-string", is_flag=True, help="Print its connection string alone.")
@click.option("--secondary", is_flag=True, help="With the secondary key.")
@pass_invocation
def show_policy(
    invocation: Invocation, name: str, scope: str | None, show_keys: bool, connection_string: bool, secondary: bool
) -> None:
    """Show the policy NAME, or what programs connect with."""
    if secondary and not connection_string:
        raise click.UsageError("--secondary goes with --connection-string")
    hub = invocation.hub()
    found, document = find_policy(hub, name, scope)
    if connection_string:
        text = policy_connection_string(hub, document, secondary=secondary)
        invocation.report({"connectionString": text}, escape(text))
        return
    invocation.show({"for": found, **_shown(document, show_keys)})


@policy.command("create")
@click.argument("name")
@_right_option("Such as RegistryRead or EnrollmentWrite. Can be repeated.")
@click.option("--for", "scope", type=click.Choice(_SCOPES), default="hub", show_default=True, help="For this service.")
@_key_option("primary")
@_key_option("secondary")
@_keys_option
@pass_invocation
def create_policy(
    invocation: Invocation,
    name: str,
    rights: tuple[str, ...],
    scope: str,
    primary_key: Path | None,
    secondary_key: Path | None,
    show_keys: bool,
) -> None:
    """Make the policy NAME. Keys that are not given are made."""
    body = {"rights": list(rights), **_given_keys(primary_key, secondary_key)}
    document = invocation.hub().request("PUT", _path(scope, name), body=body)
    invocation.report(
        {"for": scope, **_shown(document, show_keys)},
        f"Made policy {escape(name)} for {_place(scope)}: {escape(', '.join(document['rights']))}.",
        *_key_lines(document, show_keys),
        f"Next: moorage policy show {escape(name)} --connection-string",
    )


@policy.command("update")
@_name_argument
@_right_option("What it may do from now on, and nothing else. Can be repeated.")
@_where_option
@_key_option("primary")
@_key_option("secondary")
@_keys_option
@pass_invocation
def update_policy(
    invocation: Invocation,
    name: str,
    rights: tuple[str, ...],
    scope: str | None,
    primary_key: Path | None,
    secondary_key: Path | None,
    show_keys: bool,
) -> None:
    """Change what the policy NAME may do, or its keys. Who relied on what it loses is cut."""
    body: dict[str, Any] = _given_keys(primary_key, secondary_key)
    if rights:
        body["rights"] = list(rights)
    if not body:
        raise click.UsageError("give --right, --primary-key or --secondary-key")
    hub = invocation.hub()
    found, _ = find_policy(hub, name, scope)
    document = hub.request("PATCH", _path(found, name), body=body)
    invocation.report(
        {"for": found, **_shown(document, show_keys)},
        f"Policy {escape(name)} has {escape(', '.join(document['rights']))}.",
        *_key_lines(document, show_keys),
    )


@policy.command("delete")
@_name_argument
@_where_option
@pass_invocation
def delete_policy(invocation: Invocation, name: str, scope: str | None) -> None:
    """Delete the policy NAME: its tokens open nothing any more, and devices that came in by one are cut."""
    hub = invocation.hub()
    found, _ = find_policy(hub, name, scope)
    hub.request("DELETE", _path(found, name))
    invocation.report(
        {"for": found, "name": name, "deleted": True}, f"Deleted policy {escape(name)} of {_place(found)}."
    )


@policy.command("roll")
@_name_argument
@click.option("--key", type=click.Choice(["primary", "secondary"]), default="primary", show_default=True)
@click.option("--swap", is_flag=True, help="Let the two change places instead; both go on working.")
@_where_option
@_keys_option
@pass_invocation
def roll_policy(invocation: Invocation, name: str, key: str, swap: bool, scope: str | None, show_keys: bool) -> None:
    """Replace a key of the policy NAME: the old one stops working at once, the other key goes on."""
    hub = invocation.hub()
    found, _ = find_policy(hub, name, scope)
    document = hub.request("POST", _path(found, name) + "/roll", body={"key": "swap" if swap else key})
    done = "Swapped the keys" if swap else f"Replaced the {key} key"
    invocation.report(
        {"for": found, **_shown(document, show_keys)},
        f"{done} of policy {escape(name)} of {_place(found)}.",
        *_key_lines(document, show_keys),
    )


@policy.command("switches")
@click.option("--disable-local-auth", type=click.BOOL, help="Refuse tokens signed with the hub's policy keys.")
@click.option("--disable-device-sas", type=click.BOOL, help="Refuse tokens of devices.")
@click.option("--disable-module-sas", type=click.BOOL, help="Refuse tokens of modules.")
@pass_invocation
def switches(invocation: Invocation, /, **given: bool | None) -> None:
    """Show which tokens the hub refuses, or refuse some (true) and take them again (false).

    With all three only certificates let anybody in, and the owner's bearer. Who came with a token that is refused now
    is cut.
    """
    hub = invocation.hub()
    changes = {_SWITCHES[option][0]: value for option, value in given.items() if value is not None}
    method = "PATCH" if changes else "GET"
    document = hub.request(method, "/moorage/v1/switches", body=changes or None)
    lines = [f"{what}: {'refused' if document[member] else 'taken'}" for member, what in _SWITCHES.values()]
    invocation.report(document, *lines)


@policy.command("waivers")
@click.option("--give", "given", multiple=True, type=click.Choice(WAIVER_NAMES), help="Let this pass. Can be repeated.")
@click.option(
    "--take-back", "taken", multiple=True, type=click.Choice(WAIVER_NAMES), help="Refuse it again. Can be repeated."
)
@pass_invocation
def waivers(invocation: Invocation, given: tuple[str, ...], taken: tuple[str, ...]) -> None:
    """Show which weak certificates the hub lets pass, or change it: for a fleet that is being rolled.

    Each waiver is one weakness, and nothing else passes by it. Who came in by one that is taken back is cut.
    """
    from moorage.pki.waivers import WAIVERS

    both = sorted({*given} & {*taken})
    if both:
        raise click.UsageError(f"give {both[0]}, or take it back")
    changes = dict.fromkeys(given, True) | dict.fromkeys(taken, False)
    document = invocation.hub().request("PATCH" if changes else "GET", "/moorage/v1/waivers", body=changes or None)
    lines = [f"{name} ({what}): {'waived' if document[name] else 'refused'}" for name, what in WAIVERS.items()]
    invocation.report(document, *lines)


def find_policy(hub: HubClient, name: str, scope: str | None) -> tuple[str, dict[str, Any]]:
    """(service, document) of the policy `name`, the hub's first. Raises `NotFound` (`policy.not_found`)."""
    answer = hub.request("GET", _ALL)
    for each in _SCOPES:
        for document in answer[each]:
            if scope in (None, each) and document["name"].lower() == name.lower():
                return each, dict(document)
    where = "the hub or the provisioning service" if scope is None else _place(scope)
    raise NotFound("policy.not_found", f"there is no policy {name!r} of {where}", fix="moorage policy list")


def policy_connection_string(hub: HubClient, document: dict[str, Any], *, secondary: bool = False) -> str:
    key = document["secondaryKey" if secondary else "primaryKey"]
    return f"HostName={hub.info.service_host};SharedAccessKeyName={document['name']};SharedAccessKey={key}"


def _path(scope: str, name: str) -> str:
    from moorage.cli.hub_client import segment

    return f"/moorage/v1/{scope}/policies/{segment(name)}"


def _place(scope: str) -> str:
    return "the hub" if scope == "hub" else "the provisioning service"


def _given_keys(primary: Path | None, secondary: Path | None) -> dict[str, Any]:
    files = {"primaryKey": primary, "secondaryKey": secondary}
    return {name: path.read_text("utf-8", "replace").strip() for name, path in files.items() if path is not None}


def _shown(document: dict[str, Any], show_keys: bool) -> dict[str, Any]:
    """Without the keys, unless they were asked for."""
    return {name: value for name, value in document.items() if show_keys or not name.endswith("Key")}


def _key_lines(document: dict[str, Any], show_keys: bool) -> list[str]:
    if not show_keys:
        return []
    return [f"{slot} key: {escape(document[f'{slot}Key'])}" for slot in ("primary", "secondary")]
