"""Where an AMQP link goes: a path, or a whole URI whose scheme and host are beside the point (devices.md 4.3,
services.md 3.3).

Ids are percent-encoded by some clients and not by others; words such as `deviceBound` come in any case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from moorage.errors import Invalid

__all__ = ["Address", "parse_address", "parse_user"]

_AUTHORITY = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]{0,20}://[^/]*")
# Two ids of 128 characters, each percent-encoded, below the longest path there is, with room to spare.
_MAX_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """`segments` are decoded and as they came, `words` the same in lower case, to be compared."""

    segments: tuple[str, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.segments)

    @property
    def claimed(self) -> str:
        """Whom it speaks of: a device, `device/module`, or a registration id; else the address itself."""
        match self.words:
            case ("devices", _, "modules", _, *_):
                return f"{self.segments[1]}/{self.segments[3]}"
            case ("devices", _, *_):
                return self.segments[1]
            case (_, "registrations", _, *_):
                return self.segments[2]
            case _:
                return str(self)


def parse_address(text: str) -> Address:
    """Raises `Invalid` (`link.address`) where it is too long to be one."""
    if len(text) > _MAX_CHARACTERS:
        raise Invalid("link.address", f"a link's address has {len(text)} characters, at most {_MAX_CHARACTERS} may be")
    path = _AUTHORITY.sub("", text)
    segments = tuple(unquote(part) for part in path.split("/") if part)
    return Address(segments, tuple(part.lower() for part in segments))


def parse_user(user: str) -> tuple[Literal["hub", "dps", "service"], str]:
    """Of a user name of SASL PLAIN, where it belongs and whom it speaks of (devices.md 4.1, 6.4).

    `{d}[/modules/{m}]@sas.{hub}` is a device or module, `{policy}@sas.root.{hub}` a back end (services.md 4.1),
    `{scope}/registrations/{reg}[@...]` a registration, and what else there is stands for itself.
    """
    name, _, host = user[:_MAX_CHARACTERS].partition("@sas.")
    if host.lower().startswith("root."):
        return "service", name
    segments = [unquote(part) for part in name.partition("@")[0].split("/") if part]
    match segments:
        case (_, "registrations", registration, *_):
            return "dps", registration
        case (device, "modules", module):
            return "hub", f"{device}/{module}"
        case _:
            return "hub", name
