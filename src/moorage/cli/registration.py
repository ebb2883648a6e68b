"""`moorage registration`: what became of devices that provisioned (contract/services.md 6.5)."""

from __future__ import annotations

import click

from moorage.cli.arguments import enrollment_ids, group_ids
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, moment, print_json, print_table

__all__ = ["registration"]

_argument = click.argument("registration_id", metavar="ID", shell_complete=enrollment_ids)


@click.group(cls=Group)
def registration() -> None:
    """See where devices were provisioned, and forget it."""


@registration.command("list")
@click.option("--group", metavar="NAME", shell_complete=group_ids, help="Of this enrollment group.")
@click.option(
    "--status",
    type=click.Choice(["assigning", "assigned", "failed"]),
    help="Only those whose placing has come so far.",
)
@pass_invocation
def list_registrations(invocation: Invocation, group: str | None, status: str | None) -> None:
    """List registrations: of one enrollment group, else of all enrollments."""
    from moorage.cli.hub_client import segment

    hub = invocation.hub()
    if group is not None:
        documents = list(hub.query_all(f"/registrations/{segment(group)}/query"))
    else:
        documents = [
            state
            for each in hub.query_all("/enrollments/query")
            if (state := each.get("registrationState")) is not None
        ]
        for each in hub.query_all("/enrollmentGroups/query"):
            documents += hub.query_all(f"/registrations/{segment(each['enrollmentGroupId'])}/query")
    found = [each for each in documents if status in (None, each["status"])]
    if invocation.as_json:
        for document in found:
            print_json(document)
        return
    print_table(
        ["registration", "status", "hub", "device", "since"],
        [
            [
                each["registrationId"],
                each["status"],
                each.get("assignedHub"),
                each.get("deviceId"),
                moment(each["lastUpdatedDateTimeUtc"]),
            ]
            for each in found
        ],
        dispensable=["device", "since"],
    )


@registration.command("show")
@_argument
@pass_invocation
def show(invocation: Invocation, registration_id: str) -> None:
    """Show the registration ID: hub, device, and why it failed if it did."""
    invocation.show(invocation.hub().request("GET", _path(registration_id)))


@registration.command("delete")
@_argument
@pass_invocation
def delete(invocation: Invocation, registration_id: str) -> None:
    """Forget the registration ID: the device starts afresh when it provisions again, and stays on its hub till then."""
    invocation.hub().request("DELETE", _path(registration_id))
    document = {"registrationId": registration_id, "deleted": True}
    invocation.report(document, f"Forgot registration {escape(registration_id)}.")


def _path(registration_id: str) -> str:
    from moorage.cli.hub_client import segment

    return f"/registrations/{segment(registration_id)}"
