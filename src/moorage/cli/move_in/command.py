"""`moorage move-in`: templates, groups, devices and what else an IoT Central application tells of itself."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape

if TYPE_CHECKING:
    from moorage.cli.move_in.documents import Kind, Report

__all__ = ["move_in"]

_SHOWN = 50
_EVERY = 100


@click.command("move-in", cls=Command)
@click.argument("source", metavar="SOURCE")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with an API token of the application, as it was shown: SharedAccessSignature sr=...",
)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Folder with the certificates of groups and devices, found by their thumbprints.",
)
@click.option("--vouch", is_flag=True, help="Take the certificates of groups as verified, on your word.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep what was read there, for a later run; it holds keys.",
)
@click.option("--dry-run", is_flag=True, help="Read and report, and write nothing to the hub.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Trust the certificate of SOURCE by this root alone.",
)
@pass_invocation
def move_in(
    invocation: Invocation,
    /,
    source: str,
    token_file: Path | None,
    certificates: Path | None,
    vouch: bool,
    save: Path | None,
    dry_run: bool,
    ca_file: Path | None,
) -> int:
    """Carry an IoT Central application, or another hub's, over into this hub.

    SOURCE is the application's address (https://NAME.azureiotcentral.com), a folder that --save wrote, or the template
    of an application that another hub exported (Settings, Application). Templates,
    device connection groups, devices with their credentials and cloud properties, device groups, organizations, users,
    jobs, dashboards and exports move; at the end stands what did not, and why. Devices themselves only need the hub's
    address and ID scope (moorage env).
    """
    from moorage.cli.move_in.moving import Mover, read_certificates
    from moorage.cli.move_in.sources import ApplicationSource, FileSource, FolderSource, Source, write_folder

    progress = _Progress()
    with ExitStack() as stack:
        found: Source
        if Path(source).is_dir():
            found = FolderSource(Path(source))
        elif Path(source).is_file():
            if save is not None:
                raise click.UsageError("--save keeps what an application tells; SOURCE is a file already")
            found = FileSource(Path(source))
        else:
            if token_file is None:
                raise click.UsageError("an application wants its token: --token-file FILE")
            application = ApplicationSource(source, token_file.read_text(), ca_file=ca_file)
            stack.callback(application.close)
            found = application
        if save is not None:
            found = write_folder(found, save)
        mover = Mover(
            invocation.hub(),
            read_certificates(certificates),
            is_vouched=vouch,
            is_rehearsal=dry_run,
            moved=progress.moved,
        )
        report = mover.move(found)
    progress.end()
    invocation.report({"dryRun": dry_run, **report.document()}, *_sentences(report, dry_run))
    return 1 if report.findings else 0


class _Progress:
    """A line on a terminal that is written over, nothing where a program reads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._is_shown = sys.stderr.isatty()

    def moved(self, kind: Kind) -> None:
        self._counts[kind.label] += 1
        if self._is_shown and (self._counts[kind.label] == 1 or not self._counts[kind.label] % _EVERY):
            click.echo(f"\r\x1b[K{self._counts[kind.label]:,} {kind.label}", nl=False, err=True)

    def end(self) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _sentences(report: Report, is_rehearsal: bool) -> list[str]:
    did = "Would move" if is_rehearsal else "Moved"
    counts = ", ".join(f"{label}: {count:,}" for label, count in report.moved.items()) or "nothing"
    lines = [f"{did} {counts}."]
    if report.findings:
        lines.append("What did not move, or wants a hand:")
        lines += [f"  {each.kind}, {escape(each.name)}: {escape(each.sentence)}" for each in report.findings[:_SHOWN]]
        if len(report.findings) > _SHOWN:
            lines.append(f"  ... and {len(report.findings) - _SHOWN:,} more; --json has them all")
    lines.append("What always stays behind:")
    lines += [f"  {each}" for each in report.document()["staysBehind"]]
    return lines
