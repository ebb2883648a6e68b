"""What a case of the attack table is.

A case is played once on each transport that it names: `outcomes` has the answer that the attacker gets there, and the
reason that the operator finds. With `act` goes, wherever somebody may be let in at all, an accepting twin: the same
door opens for the same name with the right credential, after the attack. A wall that refuses everything fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from tests.attacks.scene import Scene

__all__ = ["ACCEPTED", "DOORS", "IN_WEBSOCKETS", "LET_IN", "Act", "Case", "Chapter", "Door", "Outcome", "Told"]

Door = Literal["hub MQTT", "hub HTTPS", "DPS MQTT", "DPS HTTPS", "service REST"]
DOORS: Final[tuple[Door, ...]] = ("hub MQTT", "hub HTTPS", "DPS MQTT", "DPS HTTPS", "service REST")

# These are also reached in a WebSocket, where every answer and every reason is the same.
IN_WEBSOCKETS: Final[frozenset[Door]] = frozenset(("hub MQTT", "DPS MQTT"))

# What a door says to somebody whom it keeps out, unless a case says otherwise.
_KEPT_OUT: Final[dict[Door, str]] = {
    "hub MQTT": "CONNACK 5",
    "hub HTTPS": "401 IotHubUnauthorizedAccess",
    "DPS MQTT": "401002",
    "DPS HTTPS": "401002",
    "service REST": "401 IotHubUnauthorizedAccess",
}
# What it says to somebody whom it lets in.
LET_IN: Final[dict[Door, str]] = {
    "hub MQTT": "CONNACK 0",
    "hub HTTPS": "204",
    "DPS MQTT": "202",
    "DPS HTTPS": "202",
    "service REST": "200",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is empty for somebody who was let in."""

    answer: str
    reason: str


# A reason alone is told as usual at that door; ACCEPTED is let in; a pair is (answer, reason).
Told = str | tuple[str, str]
ACCEPTED: Final = ""

# Does what the attacker does; returns the answer in the words of `Scene.show`.
Act = Callable[["Scene"], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """`no_twin` says why there is nobody to be let in beside it; `own_hub` are the settings of a hub for it alone,
    where it changes what others rely on.
    """

    number: str
    chapter: str
    attack: str
    act: Act
    outcomes: Mapping[Door, Outcome]
    no_twin: str = ""
    own_hub: Mapping[str, Any] | None = None


class Chapter:
    """Cases of one class, in the order of their numbers; a decorator for what they do.

    In a class about credentials, what is shown to the hub over MQTT is shown to it over HTTPS too, and the reason is
    the same, unless the case is `only_mqtt`.
    """

    def __init__(self, title: str, *, is_about_credentials: bool = False) -> None:
        self.title = title
        self._is_about_credentials = is_about_credentials
        self.cases: list[Case] = []

    def __call__(
        self,
        number: int,
        attack: str,
        *,
        hub: Told | None = None,
        dps: Told | None = None,
        dps_mqtt: Told | None = None,
        dps_https: Told | None = None,
        service: Told | None = None,
        only_mqtt: bool = False,
        no_twin: str = "",
        own_hub: Mapping[str, Any] | None = None,
    ) -> Callable[[Act], Act]:
        """`dps` is for both of its transports, which `dps_mqtt` or `dps_https` may override."""
        told: dict[Door, Told | None] = {
            "hub MQTT": hub,
            "hub HTTPS": self._over_https(hub, only_mqtt),
            "DPS MQTT": dps if dps_mqtt is None else dps_mqtt,
            "DPS HTTPS": dps if dps_https is None else dps_https,
            "service REST": service,
        }
        outcomes = {door: _outcome(door, each) for door, each in told.items() if each is not None}

        def add(act: Act) -> Act:
            self.cases.append(Case(f"A-{number:03}", self.title, attack, act, outcomes, no_twin, own_hub))
            return act

        return add

    def _over_https(self, told: Told | None, only_mqtt: bool) -> Told | None:
        """What a login is told, where there is one; answers in words of MQTT have no counterpart."""
        if not self._is_about_credentials or only_mqtt or not isinstance(told, str) or told.startswith("login."):
            return None
        return told


def _outcome(door: Door, told: Told) -> Outcome:
    if isinstance(told, tuple):
        return Outcome(*told)
    return Outcome(LET_IN[door] if told == ACCEPTED else _KEPT_OUT[door], told)
