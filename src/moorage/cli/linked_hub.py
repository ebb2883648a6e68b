"""`moorage linked-hub`: the hubs that provisioned devices are assigned to (contract/services.md 5.4).

A connection string is read from a file or from standard input: a command line is there for every user of the machine to
read.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

import click

from moorage.cli.arguments import ALLOCATIONS, Spelled, complete
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.errors import Conflict

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["linked_hub"]

_PATH: Final = "/moorage/v1/linked-hubs"
_MAX_FILE: Final = 4096


def _names(hub: HubClient, context: click.Context, incomplete: str) -> list[str]:
    return [each["name"] for each in hub.request("GET", _PATH)["linkedHubs"]]


_name_argument = click.argument("name", metavar="HOST", shell_complete=complete(_names))
_weight_option = click.option(
    "--weight", type=click.IntRange(0, 1000), help="Its share of devices that are spread by hash; 0 takes none."
)
_policy_option = click.option(
    "--apply-policy/--named-only",
    "applies",
    default=None,
    help="Whether it takes devices whose enrollment names no hubs.",
)
_location_option = click.option("--location", metavar="TEXT", help="Where it is, for people.")


@click.group("linked-hub", cls=Group)
def linked_hub() -> None:
    """Hubs that provisioned devices are assigned to.

    This one, and others by connection string."""


@linked_hub.command("list")
@pass_invocation
def list_linked(invocation: Invocation) -> None:
    """List linked hubs."""
    answer = invocation.hub().request("GET", _PATH)
    if invocation.as_json:
        for document in answer["linkedHubs"]:
            print_json(document)
        return
    print_table(
        ["hub", "weight", "policy", "location", "own"],
        [
            [
                each["name"],
                each["allocationWeight"],
                answer["allocationPolicy"] if each["applyAllocationPolicy"] else "named only",
                each["location"],
                "yes" if each["isOwn"] else "",
            ]
            for each in answer["linkedHubs"]
        ],
        dispensable=["location"],
    )


@linked_hub.command("show")
@_name_argument
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show the link to the hub HOST; its key is not in it."""
    invocation.show(invocation.hub().request("GET", _path(name)))


@linked_hub.command("add")
@click.argument("file", type=click.File("r", lazy=True))
@_weight_option
@_policy_option
@_location_option
@click.option("--check/--no-check", default=True, show_default=True, help="Ask the hub once it is linked.")
@pass_invocation
def add(
    invocation: Invocation,
    file: IO[str],
    weight: int | None,
    applies: bool | None,
    location: str | None,
    check: bool,
) -> None:
    """Link the hub of the connection string in FILE; - is standard input.

    The policy has to write the registry and the twins: RegistryWrite and ServiceConnect. `moorage policy show
    iothubowner --connection-string` prints one on that hub.
    """
    from moorage.ids import Secret
    from moorage.provisioning.linked_hubs import parse_connection_string

    text = file.read(_MAX_FILE).strip()
    name = parse_connection_string(Secret(text)).host
    hub = invocation.hub()
    body = {"connectionString": text, **_members(weight, applies, location)}
    document = hub.request("PUT", _path(name), body=body)
    lines = [f"Linked {escape(name)}."]
    if check:
        hub.request("POST", _path(name) + "/check")
        lines.append("It answers, and takes the key.")
    invocation.report(document, *lines)


@linked_hub.command("update")
@_name_argument
@_weight_option
@_policy_option
@_location_option
@pass_invocation
def update(invocation: Invocation, name: str, weight: int | None, applies: bool | None, location: str | None) -> None:
    """Change weight, policy or location of the link to the hub HOST."""
    body = _members(weight, applies, location)
    if not body:
        raise click.UsageError("nothing to change: give --weight, --apply-policy, --named-only or --location")
    document = invocation.hub().request("PUT", _path(name), body=body)
    invocation.report(document, f"Updated the link to {escape(document['name'])}.")


@linked_hub.command("check")
@_name_argument
@pass_invocation
def check_linked(invocation: Invocation, name: str) -> None:
    """Ask the hub HOST for a device with the stored key."""
    document = invocation.hub().request("POST", _path(name) + "/check")
    invocation.report(document, f"{escape(document['name'])} answers, and takes the key.")


@linked_hub.command("remove")
@_name_argument
@click.option("--force", is_flag=True, help="Also the last one that takes devices.")
@pass_invocation
def remove(invocation: Invocation, name: str, force: bool) -> None:
    """Take the hub HOST out; devices that are there stay until they provision again."""
    hub = invocation.hub()
    link = hub.request("GET", _path(name))
    others = [each for each in hub.request("GET", _PATH)["linkedHubs"] if each["name"] != link["name"]]
    is_last = not any(each["allocationWeight"] for each in others)
    if is_last and not force:
        raise Conflict(
            "linked_hub.last",
            f"no other linked hub takes devices: without '{name}' every device that provisions is refused as "
            "allocation.no_hub; --force takes it out all the same",
            fix="moorage linked-hub list",
        )
    hub.request("DELETE", _path(name))
    lines = [f"Took {escape(name)} out."]
    if is_last:
        lines.append("No hub takes devices now: who provisions is refused as allocation.no_hub.")
    if link["isOwn"]:
        lines.append(f"It is this hub itself. To put it back: moorage linked-hub update {escape(name)} --weight 1")
    invocation.report({"name": name, "removed": True}, *lines)


@linked_hub.command("policy")
@click.argument("policy", type=Spelled(ALLOCATIONS))
@pass_invocation
def set_policy(invocation: Invocation, policy: str) -> None:
    """Set the allocation policy of enrollments that are made from now on and name none."""
    document = invocation.hub().request("PUT", "/moorage/v1/allocation-policy", body={"allocationPolicy": policy})
    invocation.report(
        document, f"New enrollments are {escape(document['allocationPolicy'])} unless they say otherwise."
    )


def _path(name: str) -> str:
    from moorage.cli.hub_client import segment

    return f"{_PATH}/{segment(name)}"


def _members(weight: int | None, applies: bool | None, location: str | None) -> dict[str, Any]:
    given = {"allocationWeight": weight, "applyAllocationPolicy": applies, "location": location}
    return {name: value for name, value in given.items() if value is not None}
