"""`moorage explain`: why a device was or was not let in, from the record of attempts.

In full: the latest refusal among what was found (the latest attempt when none was refused) with the chain as sent and
the checks, below a line that says so when the device got in since, or when nobody asked for that device. The others are
a line each, with the tracking id that shows them in full. A pipe gets every check in its order; a terminal what failed,
and how many passed for each certificate.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
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
@click.option("--all", "every_check", is_flag=True, help="List the checks that passed on a terminal too.")
@pass_invocation
def explain(
    invocation: Invocation,
    tracking_id: str | None,
    device: str | None,
    thumbprint: str | None,
    limit: int,
    every_check: bool,
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
        raise _nothing(query)
    if invocation.as_json:
        for attempt in attempts:
            print_json(attempt)
        return
    shown = next((attempt for attempt in attempts if not attempt["accepted"]), attempts[0])
    latest = attempts[0]
    if latest["accepted"] and latest is not shown and latest["claimedId"] == shown["claimedId"]:
        since = f"{escape(latest['claimedId'])} was let in at {escape_time(latest['at'])} by {escape(latest['door'])}"
        click.echo(f"{style(since, 'good')}; refused before that:\n")
    elif not query:
        click.echo(f"{_heading(shown, datetime.now(UTC))}\n")
    elif device is not None and not _is_of(shown["claimedId"], device):
        click.echo(f"Nobody came as {escape(device)}; its certificate was shown under another name:\n")
    click.echo("\n".join(_in_full(shown, every_check=every_check or not sys.stdout.isatty())))
    others = [attempt for attempt in attempts if attempt is not shown]
    if others:
        click.echo("\n" + style("Other attempts", "bold"))
        for attempt in others:
            click.echo("  " + _in_a_line(attempt))


def _nothing(query: dict[str, str]) -> NotFound:
    tracking_id = query.get("tracking")
    if tracking_id is not None and not re.fullmatch("[0-9A-Fa-f]{32}", tracking_id):
        return NotFound(
            "attempts.none",
            f"{tracking_id!r} is no tracking id, which has 32 hex digits; did you mean the device of that name?",
            fix=f"moorage explain --device {shlex.quote(tracking_id)}",
        )
    what = " ".join(f"with {name} {value!r}" for name, value in query.items()) or "at all"
    arrived = "nothing came under that name or with a certificate for it" if "device" in query else "nothing came"
    return NotFound(
        "attempts.none",
        f"no attempt {what} is on record: {arrived}, or it is long ago",
        fix="check the host name and the port that the device was told: moorage env",
    )


def _is_of(claimed_id: str, device: str) -> bool:
    return claimed_id == device or claimed_id.startswith(f"{device}/")


def _heading(attempt: dict[str, Any], now: datetime) -> str:
    """Whose attempt it is and how old, where nobody in particular was asked for."""
    what = "Latest attempt" if attempt["accepted"] else "Latest refusal"
    of = f"of {escape(attempt['claimedId'])}" if attempt["claimedId"] else "of somebody who gave no name"
    return f"{what}, {_age(now - datetime.fromisoformat(attempt['at']))} ago, {of}; of one device: --device ID"


def _age(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def _in_full(attempt: dict[str, Any], *, every_check: bool) -> list[str]:
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
        lines += [_check(check) for check in attempt["checks"]] if every_check else _in_short(attempt)
    if not attempt["accepted"]:
        lines += ["", f"{style('Why', 'bold')}  {escape(attempt['message'])}"]
        if attempt["fix"]:
            lines.append(f"{style('Fix', 'bold')}  {escape(attempt['fix'])}")
    return lines


def _check(check: dict[str, Any]) -> str:
    word, colour = _MARKS[check["passed"]]
    detail = f"  {escape(check['detail'])}" if check["detail"] else ""
    return f"  {style(f'{word:<11}', colour)} {escape(check['name'])}{detail}"


def _in_short(attempt: dict[str, Any]) -> list[str]:
    """A line for each certificate that passed checks, and for each check that failed or passed by a waiver; what is
    said as Why is not said twice."""
    subjects = {str(each.get("subject")): f" of {each.get('subject')}" for each in attempt["chain"]}
    waived = [each for each in attempt["checks"] if each["passed"] and each["detail"].startswith("waived: ")]
    passed = Counter(
        subjects.get(each["detail"], "") for each in attempt["checks"] if each["passed"] and each not in waived
    )
    lines = [f"  {style('passed     ', 'good')} {_checks(count)}{escape(of)}" for of, count in passed.items()]
    lines += map(_check, waived)
    for check in attempt["checks"]:
        if check["passed"] is False:
            lines.append(_check({**check, "detail": "" if check["detail"] in attempt["message"] else check["detail"]}))
    not_reached = sum(check["passed"] is None for check in attempt["checks"])
    if not_reached:
        lines.append(f"  {style('not reached', 'dim')} {_checks(not_reached)}")
    lines.append(style("  --all lists them", "dim"))
    return lines


def _checks(count: int) -> str:
    return f"{count} check{'' if count == 1 else 's'}"


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
