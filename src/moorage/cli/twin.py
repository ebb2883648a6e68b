"""`moorage twin`: thin spellings of the hub's twin REST (contract/services.md 2.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from moorage.cli.arguments import device_argument, json_object, module_option, twin_path
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape
from moorage.cli.watching import watch_option, watched

__all__ = ["twin"]


@click.group(cls=Group)
def twin() -> None:
    """Show, update and replace device twins."""


@twin.command("show")
@device_argument
@module_option("That module's twin.")
@watch_option
@pass_invocation
def show_twin(invocation: Invocation, device_id: str, module: str | None, watch: float | None) -> None:
    """Show the twin of the device ID."""
    hub = invocation.hub()

    def read() -> Callable[[], None]:
        document = hub.request("GET", twin_path(device_id, module))
        return lambda: invocation.show(document)

    watched(invocation, watch, read)


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
    _write(invocation, "PATCH", device_id, module, _sections(desired, tags), "Updated")


@twin.command("replace")
@device_argument
@module_option("That module's twin.")
@click.option("--desired", metavar="JSON", help="All desired properties from now on; what is not in it goes.")
@click.option("--tags", metavar="JSON", help="All tags from now on.")
@pass_invocation
def replace_twin(
    invocation: Invocation, device_id: str, module: str | None, desired: str | None, tags: str | None
) -> None:
    """Put desired properties or tags in place of those of the device ID; what is not given stays."""
    _write(invocation, "PUT", device_id, module, _sections(desired, tags), "Replaced")


def _sections(desired: str | None, tags: str | None) -> dict[str, Any]:
    if desired is None and tags is None:
        raise click.UsageError("give --desired, --tags or both")
    sections: dict[str, Any] = {}
    if desired is not None:
        sections["properties"] = {"desired": json_object(desired, "--desired")}
    if tags is not None:
        sections["tags"] = json_object(tags, "--tags")
    return sections


def _write(
    invocation: Invocation, method: str, device_id: str, module: str | None, sections: dict[str, Any], done: str
) -> None:
    document = invocation.hub().request(method, twin_path(device_id, module), body=sections)
    version = document["properties"]["desired"]["$version"]
    invocation.report(document, f"{done} the twin of {escape(device_id)}; desired version {escape(version)}.")
