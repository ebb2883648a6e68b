"""What a refusal says to do next, in parts: sentences to read, and commands to copy."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["COMMANDS", "Part", "advice"]

# The first words of what `moorage` takes; prose may say "the moorage that runs".
COMMANDS: Final = (
    "api-token",
    "apply",
    "c2d",
    "ca",
    "cert",
    "completion",
    "configuration",
    "device",
    "doctor",
    "endpoint",
    "enrollment",
    "enrollment-group",
    "env",
    "explain",
    "export",
    "file",
    "job",
    "linked-hub",
    "method",
    "module",
    "monitor",
    "move-in",
    "policy",
    "query",
    "registration",
    "route",
    "telemetry",
    "token",
    "twin",
    "up",
    "user",
    "wait",
)
# Up to where a sentence goes on; a quoted word may hold anything.
_COMMAND: Final = re.compile(
    rf"\bmoorage (?:{'|'.join(sorted(COMMANDS, key=len, reverse=True))})(?![\w-])(?:(?<= )'[^']*'|[^,;)'\"`])*"
)


class Part(NamedTuple):
    text: str
    is_command: bool


def advice(fix: str) -> list[Part]:
    """The parts of `fix`, in its order."""
    parts, at = [], 0
    for match in _COMMAND.finditer(fix):
        command = match[0].rstrip()
        parts += [Part(fix[at : match.start()], False), Part(command, True)]
        at = match.start() + len(command)
    return [part for part in (*parts, Part(fix[at:], False)) if part.text.strip()]
