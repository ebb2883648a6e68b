"""`moorage apply` and `moorage export`: a hub's state in files, for version control, CI and moving house."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_refusal, style
from moorage.errors import Conflict, Invalid, Refusal

if TYPE_CHECKING:
    from moorage.cli.declared.plan import Change

__all__ = ["apply", "export"]

_SIGNS = {"create": ("+", "good"), "update": ("~", "bold")}
_FORMATS = ("toml", "yaml")
_SUFFIXES = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


@click.command("apply", cls=Command)
@click.argument(
    "files", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True, metavar="FILE..."
)
@click.option("--check", is_flag=True, help="Show what differs and change nothing; exit status 5 when something does.")
@click.option("--yes", is_flag=True, help="Do not ask. Nobody is asked either where there is no terminal.")
@pass_invocation
def apply(invocation: Invocation, files: tuple[Path, ...], check: bool, yes: bool) -> None:
    """Make the hub hold what files declare.

    It shows first what that changes. What the files do not name stays as it is, so applying twice changes nothing the
    second time.
    """
    from moorage.cli.declared.files import read_declarations
    from moorage.cli.declared.kinds import KINDS
    from moorage.cli.declared.plan import compare

    declarations = read_declarations(files, KINDS)
    hub = invocation.hub()
    changes: list[Change] = []
    with _progress(declarations, "Comparing") as items:
        for declared in items:
            kind = KINDS[declared.kind]
            changes.append(compare(declared, kind, kind.find(hub, declared)))
    pending = [change for change in changes if change.action != "none"]
    _show(invocation, pending)
    same = len(changes) - len(pending)
    if check:
        if not invocation.as_json:
            click.echo(f"{len(pending)} to change, {same} as declared.")
        click.get_current_context().exit(5 if pending else 0)
    if not pending:
        if not invocation.as_json:
            click.echo(f"Nothing to do: {same} as declared.")
        return
    if not yes and not invocation.as_json and sys.stdin.isatty() and not click.confirm("Apply this?"):
        raise click.Abort
    failed = 0
    with _progress(pending, "Applying") as items:
        for change in items:
            kind = KINDS[change.declared.kind]
            try:
                (kind.create if change.action == "create" else kind.update)(hub, change.declared)
            except Refusal as refusal:
                failed += 1
                said = Refusal(refusal.reason, f"{change.declared.place}: {refusal.message}", fix=refusal.fix)
                print_refusal(said, invocation.as_json)
    if failed:
        raise Conflict(
            "declared.incomplete",
            f"{failed} of {len(pending)} changes were refused"
            + ("; the others are made" if failed < len(pending) else ", so nothing was changed"),
            fix="mend what is named above and apply again",
        )
    if not invocation.as_json:
        click.echo(f"Done: {len(pending)} changed, {same} were as declared.")


@click.command("export", cls=Command)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True), required=False)
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="[default: by the suffix of FILE; yaml without one]"
)
@click.option("--only", "only", multiple=True, metavar="KIND", help="Only this kind, such as ca. Can be repeated.")
@click.option("--keys", "with_keys", is_flag=True, help="Symmetric keys too; FILE is then readable by you alone.")
@pass_invocation
def export(invocation: Invocation, file: Path | None, form: str | None, only: tuple[str, ...], with_keys: bool) -> None:
    """Write what the hub holds to a file for `apply`.

    Without FILE it goes to standard output.
    """
    from moorage.adapters.files import plain_file, write_whole
    from moorage.cli.declared.files import nest, to_toml, to_yaml
    from moorage.cli.declared.kinds import KINDS

    where = Path() if file is None else plain_file(file)
    if form is None:
        form = "yaml" if file is None else _SUFFIXES.get(file.suffix.lower(), "")
        if not form:
            raise click.UsageError(f"{file} is neither .toml nor .yaml nor .yml: give --format")
    kinds = [name for name in KINDS if name != "module"]
    for name in only:
        if name not in kinds:
            raise click.BadParameter(f"{name!r} is none of {', '.join(kinds)}", param_hint="--only")
    chosen = set(only or kinds)
    if "device" in chosen:
        chosen.add("module")
    hub = invocation.hub()
    things = [
        (name, thing, spec)
        for name, kind in KINDS.items()
        if name in chosen
        for thing, spec in kind.all(hub, with_keys=with_keys)
    ]
    document = nest(things)
    text = (
        json.dumps(document) + "\n"
        if invocation.as_json
        else to_toml(document)
        if form == "toml"
        else to_yaml(document)
    )
    if file is None:
        click.echo(text, nl=False)
        return
    write_whole(where, text.encode())
    click.echo(f"Wrote {len(things)} to {escape(file)}.", err=True)


def _show(invocation: Invocation, changes: Sequence[Change]) -> None:
    for change in changes:
        declared = change.declared
        if invocation.as_json:
            differences = [
                {"member": each.path, "before": each.before, "after": each.after} for each in change.differences
            ]
            print_json(
                {"action": change.action, "kind": declared.kind, "name": declared.name, "differences": differences}
            )
            continue
        sign, look = _SIGNS[change.action]
        click.echo(style(f"{sign} {escape(declared.kind)} {escape(declared.name)}", look))
        for each in change.differences:
            before = "" if change.action == "create" else f"{_shown(each.before)} -> "
            click.echo(f"    {escape(each.path)}: {before}{_shown(each.after)}")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and "-----BEGIN CERTIFICATE" in value:
        from moorage.pki.inputs import parse_certificate

        try:
            certificate = parse_certificate(value)
        except Invalid:
            # A tag may hold any text, this one too.
            return escape(value)
        return escape(f"{certificate.subject} (SHA-256 {certificate.sha256[:16]}...)")
    return escape(value if isinstance(value, str) else json.dumps(value))


def _progress(items: Sequence[Any], label: str) -> Any:
    """A bar on a terminal; nothing where the output is read by a program, or there is little to wait for."""
    return click.progressbar(items, label=label, file=sys.stderr, hidden=len(items) < 20 or not sys.stderr.isatty())
