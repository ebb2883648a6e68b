"""Write the pages of docs/reference that are made from the code; with --check, only compare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from limits_page import limits_page
from rest_pages import application_page, rest_page, rights_page, served_routes

from moorage.cli.root import EXIT_CODES, root
from moorage.dialects.refusals import reasons_document
from moorage.settings import LEVELS, MAIL_SECURITIES, SETTINGS, Setting

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests.attacks.page import attacks_page  # noqa: E402  # the path above makes it importable

_FOLDER = _ROOT / "docs" / "reference"
_NOTE = "<!-- Made by scripts/reference.py; change the code, then run `make reference`. -->"


def settings() -> str:
    lines = [
        "# Settings",
        "",
        _NOTE,
        "",
        "A flag of `moorage up` wins over the environment variable, that over `moorage.toml` in the data folder, that",
        "over the default. The key in the file is the name in the first column.",
        "",
        "| Name | Flag | Variable | Default | Range | Meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{each.name}` | `{each.flag}` | `{each.variable}` | {_default(each)} | {_range(each)} | {each.sentence} |"
        for each in SETTINGS
    ]
    lines += [
        "",
        "```toml",
        "# moorage.toml",
        'hostnames = ["hub.plant.example", "10.0.0.7"]',
        "retention_days = 30",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _default(setting: Setting) -> str:
    if setting.default is None:
        return ""
    value = {True: "yes", False: "no"}[setting.default] if isinstance(setting.default, bool) else setting.default
    return f"{value} {setting.unit}".strip()


def _range(setting: Setting) -> str:
    return {
        "names": "host names and addresses; the flag can be repeated, the variable takes commas",
        "address": "an IP address",
        "folder": "a path",
        "file": "a path",
        "directory": "a path",
        "store": "a URL",
        "events": "sources of events; the flag can be repeated, the variable takes commas",
        "networks": "networks, addresses and host names; the flag can be repeated, the variable takes commas",
        "brokers": "hosts, with a port where only that is meant; the flag can be repeated, the variable takes commas",
        "yes/no": "yes, no",
        "level": ", ".join(LEVELS),
        "host": "a host name or an address",
        "text": "1 to 256 characters",
        "mail security": ", ".join(MAIL_SECURITIES),
        "issuer": "an https address",
        "claims": "claim:value=role; the flag can be repeated, the variable takes commas",
    }.get(setting.kind, f"{setting.least} to {setting.most}")


def exit_codes() -> str:
    lines = ["# Exit codes", "", _NOTE, "", "| Code | Meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    lines += [
        "",
        "On standard error a refusal is `reason: message`, then `fix:` with the next step where there is one; with",
        '`--json` it is `{"error": {"reason", "message", "fix"}}`. Reasons never change meaning:',
        "[reasons](reasons.md).",
    ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    lines = ["# Commands", "", _NOTE, ""]
    lines += ["Every command takes `--data DIR` and `--json`; `moorage COMMAND --help` says the same as here.", ""]
    for path, command in _walk("moorage", root):
        with click.Context(command, info_name=path, color=False, terminal_width=100) as context:
            lines += [f"## {path}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _walk(path: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _walk(f"{path} {name}", command)
        elif command is not None:
            yield f"{path} {name}", command


def main() -> int:
    stale = []
    served = served_routes()
    pages = {
        "settings": settings(),
        "exit-codes": exit_codes(),
        "commands": commands(),
        "reasons": f"{_NOTE}\n\n{reasons_document()}",
        "attacks": attacks_page("<!-- Made by scripts/reference.py from tests/attacks; run `make reference`. -->"),
        "limits": limits_page(_NOTE),
        "rest": rest_page(served.hub, _NOTE),
        "rest-application": application_page(served, _NOTE),
        "rights": rights_page(served.hub, _NOTE),
    }
    for name, text in pages.items():
        path = _FOLDER / f"{name}.md"
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(_FOLDER.parent.parent)))
    if stale:
        click.echo(f"not current: {', '.join(stale)}; run `make reference`", err=True)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
