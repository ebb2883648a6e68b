"""docs/reference/attacks.md, from the table."""

from __future__ import annotations

from tests.attacks.chapters import CHAPTERS, TABLE
from tests.attacks.table import IN_WEBSOCKETS, LET_IN, Case

__all__ = ["attacks_page"]

_PREFACE = """\
What an attacker holds and does, on which transport, what he is answered, and which [reason](reasons.md) the operator
finds with `moorage explain` (of a session that was let in and then ended: in the log and in `/metrics`). `make test`
plays every line over real sockets; one that is let in where the table keeps it out fails the build. Right after each,
on the same transport, somebody with the right credential for the same name is let in, so that a hub which refuses
everything fails too; the lines marked † have nobody to let in.

The answers are those of the wire: `CONNACK 5` is MQTT's "not authorized", `401002` and its kind are the codes of the
provisioning service, `401 IotHubUnauthorizedAccess` is status and name of an error of the device and the service API,
`closed` is an end without an answer. `amqp:unauthorized-access` and its kind are conditions with which a link is
refused or ended; their descriptions are compared too, and the number of the attempt in them. `CBS 401` is the status of
the answer to a token, `SASL 1` the code of SASL's outcome; whoever was refused a token asks for the link all the same,
and does not get it. `CONNACK 0`, `attached`, `202`, `204` and `200` let in: such a line says what is not refused, and
why.

*Hub AMQP* shows a certificate with SASL EXTERNAL, and a token by CBS; *hub AMQP PLAIN* shows it in SASL PLAIN, as
*DPS AMQP* does. *Service AMQP* is a link on which a back end sends to devices, with a token by CBS. Every line of MQTT
and of AMQP but *hub AMQP PLAIN* is played twice with the same answer: on a port of its own, and in a WebSocket on the
HTTPS port. Where an attack cannot be made over AMQP, the line says why.
"""


def attacks_page(note: str) -> str:
    """The whole page; `note` says who made it."""
    plays = sum(2 if door in IN_WEBSOCKETS else 1 for case in TABLE for door in case.outcomes)
    lines = ["# Attacks", "", note, "", _PREFACE, f"{len(TABLE)} cases, {plays} with their transports.", ""]
    for chapter in CHAPTERS:
        lines += [
            f"## {chapter.title}",
            "",
            "| Number | Attack | Transport | Answer | Reason |",
            "|---|---|---|---|---|",
        ]
        for case in chapter.cases:
            lines += _rows(case)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _rows(case: Case) -> list[str]:
    """One line for each different outcome, its transports together."""
    doors: dict[tuple[str, str], list[str]] = {}
    for door, outcome in case.outcomes.items():
        doors.setdefault((outcome.answer, outcome.reason), []).append(door)
    rows: list[str] = []
    for (answer, reason), names in doors.items():
        number, attack = (f"{case.number}{' †' if case.no_twin else ''}", case.attack) if not rows else ("", "")
        told = f"**{answer}**" if answer in LET_IN.values() else answer
        attack = attack.replace("|", "\\|")
        rows.append(f"| {number} | {attack} | {', '.join(names)} | {told} | {f'`{reason}`' if reason else ''} |")
    if case.no_amqp:
        rows.append(f"|  |  | AMQP | *not there: {case.no_amqp}* |  |")
    return rows
