"""What every command shares: `--data` and `--json`, and the object that carries them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.output import print_json

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["Command", "Group", "Invocation", "pass_invocation"]


class Invocation:
    """One run of the command line. `given_data` is None when `--data` was not given."""

    def __init__(self) -> None:
        self.as_json = False
        self.given_data: Path | None = None

    @property
    def data(self) -> Path:
        """The data folder: `--data`, else `MOORAGE_DATA`, else the default."""
        from moorage.config import data_folder, default_data_folder

        given = self.given_data
        return (default_data_folder(os.environ) if given is None else data_folder(given)).absolute()

    def hub(self) -> HubClient:
        """A client of the hub that runs on the data folder; closed when the command ends."""
        from moorage.cli.hub_client import HubClient

        client = HubClient(self.data)
        click.get_current_context().call_on_close(client.close)
        return client

    def report(self, document: Any, *sentences: str) -> None:
        """`document` with `--json`; without it the sentences, whose outside text has been escaped."""
        if self.as_json:
            print_json(document)
            return
        for sentence in sentences:
            click.echo(sentence)

    def show(self, document: Any) -> None:
        """`document` for reading, or on one line with `--json`."""
        if self.as_json:
            print_json(document)
        else:
            # json.dumps keeps to ASCII, so nothing in it can reach the terminal raw.
            click.echo(json.dumps(document, indent=2))


pass_invocation = click.make_pass_decorator(Invocation)


def _remember_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).as_json = True


def _remember_data(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).given_data = value


class _Folder(click.Path):
    """A folder that has a name: an unset variable in `--data "$X"` does not mean the current one."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; the current folder is --data .", parameter, context)
        return super().convert(value, parameter, context)


class Command(click.Command):
    """A command that takes `--data` and `--json`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += [
            click.Option(
                ["--data"],
                type=_Folder(path_type=Path, file_okay=False),
                metavar="DIR",
                expose_value=False,
                callback=_remember_data,
                help="Data folder of the hub.  [env: MOORAGE_DATA]",
            ),
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_remember_json,
                help="Print JSON, one document a line.",
            ),
        ]


class Group(click.Group):
    """A group whose commands are `Command`s."""

    command_class = Command
