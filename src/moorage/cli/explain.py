"""`moorage explain`: why a device was or was not let in, from the record of attempts.

In full: the latest refusal among what was found (the latest attempt when none was refused) with the chain as sent and
every check in its order, below a line that says so when the device got in since. The others are a line each, with the
tracking id that shows them in full.
"""

from __future__ import annotations

from typing import Any

import click

from moorage.cli.commands import Command, Invocation, pass_invocation
from moorage.cli.output import escape, escape_time, print_json, style
from moorage.errors import NotFound

__all__ = ["explain"]

_MARKS = {True: ("passed", "good"), False: ("FAILED", "bad"), None: ("not reached", "dim")}


@click.command(cls=Command)
@click.argument("tracking_id", required=False)
@click.option("--device", metavar="ID", help="Attempts under this device, registration or module id.")
@click.option("--thumbprint", help="Attempts with this certificate, SHA-1 or SHA-256.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="At most so many, latest first."
)
@pass_invocation
def explain(
    invocation: Invocation, tracking_id: str | None, device: str | None, thumbprint: str | None, limit: int
) -> None:
    """Say why a device was or was not let in.

    By TRACKING_ID, by device or by certificate; without any, the latest attempts of all. With --json one attempt a
    line.
    """
    from moorage.ids import parse_thumbprint

    given = {
        "tracking": tracking_id,
        "device": device,
        "thumbprint": parse_thumbprint(thumbprint) if thumbprint else None,
    }
    query = {name: value for name, value in given.items() if value is not None}
    if len(query) > 1:
        raise click.UsageError("give one of TRACKING_ID, --device and --thumbprint")
    attempts = invocation.hub().request("GET", "/moorage/v1/attempts", query={**query, "limit": str(limit)})["attempts"]
    if not attempts:
        what = " ".join(f"with {name} {value!r}" for name, value in query.items()) or "at all"
        raise NotFound(
            "attempts.none",
            f"no attempt {what} is on record: nothing with it reached the hub, or it is long ago",
            fix="check the host name and the port that the device was told: moorage env",
        )
    if invocation.as_json:
        for attempt in attempts:
            print_json(attempt)
        return
    shown = next((attempt for attempt in attempts if not attempt["accepted"]), attempts[0])
    latest = attempts[0]
    if latest["accepted"] and latest is not shown and latest["claimedId"] == shown["claimedId"]:
        since = f"{escape(latest['claimedId'])} was let in at {escape_time(latest['at'])} by {escape(latest['door'])}"
        click.echo(f"{style(since, 'good')}; refused before that:\n")
    click.echo("\n".join(_in_full(shown)))
    others = [attempt for attempt in attempts if attempt is not shown]
    if others:
        click.echo("\n" + style("Other attempts", "bold"))
        for attempt in others:
            click.echo("  " + _in_a_line(attempt))


def _in_full(attempt: dict[str, Any]) -> list[str]:
    verdict = style("let in", "good") if attempt["accepted"] else style(f"refused: {escape(attempt['reason'])}", "bad")
    how = [escape(attempt["door"]), escape(attempt["tlsVersion"]), f"by {escape(attempt['credential'])}"]
    lines = [
        f"{style(escape(attempt['claimedId']) or '(no name given)', 'bold')} {verdict}",
        f"  at        {escape_time(attempt['at'])} from {escape(attempt['address'])}",
        f"  door      {', '.join(filter(None, how))}",
        *([f"  client    {escape(attempt['client'])}"] if attempt["client"] else []),
        f"  tracking  {escape(attempt['trackingId'])}",
    ]
    if attempt["chain"]:
        lines += ["", style("Chain as sent", "bold")]
        for place, certificate in enumerate(attempt["chain"], 1):
            lines += [f"  {place}. {line}" if first else f"     {line}" for first, line in _certificate(certificate)]
    if attempt["checks"]:
        lines += ["", style("Checks", "bold")]
        for check in attempt["checks"]:
            word, colour = _MARKS[check["passed"]]
            detail = f"  {escape(check['detail'])}" if check["detail"] else ""
            lines.append(f"  {style(f'{word:<11}', colour)} {escape(check['name'])}{detail}")
    if not attempt["accepted"]:
        lines += ["", f"{style('Why', 'bold')}  {escape(attempt['message'])}"]
        if attempt["fix"]:
            lines.append(f"{style('Fix', 'bold')}  {escape(attempt['fix'])}")
    return lines


def _certificate(certificate: dict[str, Any]) -> list[tuple[bool, str]]:
    if "unreadable" in certificate:
        return [(True, f"unreadable: {escape(certificate['unreadable'])}")]
    kind = "CA" if certificate["isCA"] else "no CA"
    return [
        (True, escape(certificate["subject"])),
        (False, f"issued by {escape(certificate['issuer'])}, {escape(certificate['key'])}, {kind}"),
        (
            False,
            f"valid {escape_time(certificate['notBefore'])} to {escape_time(certificate['notAfter'])}",
        ),
        (False, f"SHA-256 {escape(certificate['sha256Thumbprint'])}"),
    ]


def _in_a_line(attempt: dict[str, Any]) -> str:
    verdict = "let in" if attempt["accepted"] else escape(attempt["reason"])
    name = escape(attempt["claimedId"]) or "(no name given)"
    cells = [escape_time(attempt["at"]), name, escape(attempt["door"]), verdict, escape(attempt["trackingId"])]
    return "  ".join(cells)
