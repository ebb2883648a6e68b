"""`moorage twin`: thin spellings of the hub's twin REST (contract/services.md 2.7)."""

from __future__ import annotations

from typing import Any

import click

from moorage.cli.arguments import device_argument, json_object, module_option, twin_path
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape

__all__ = ["twin"]


@click.group(cls=Group)
def twin() -> None:
    """Show and update device twins."""


@twin.command("show")
@device_argument
@module_option("That module's twin.")
@pass_invocation
def show_twin(invocation: Invocation, device_id: str, module: str | None) -> None:
    """Show the twin of the device ID."""
    invocation.show(invocation.hub().request("GET", twin_path(device_id, module)))


@twin.command("update")
@device_argument
@module_option("That module's twin.")
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
    document = invocation.hub().request("PATCH", twin_path(device_id, module), body=patch)
    version = document["properties"]["desired"]["$version"]
    invocation.report(document, f"Updated the twin of {escape(device_id)}; desired version {escape(version)}.")
