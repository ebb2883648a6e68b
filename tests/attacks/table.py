"""What a case of the attack table is.

A case is played once on each transport that it names: `outcomes` has the answer that the attacker gets there, and the
reason that the operator finds. With `act` goes, wherever somebody may be let in at all, an accepting twin: the same
door opens for the same name with the right credential, after the attack. A wall that refuses everything fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from tests.attacks.scene import Scene

__all__ = [
    "ACCEPTED",
    "AMQP_DOORS",
    "DOORS",
    "IN_WEBSOCKETS",
    "LET_IN",
    "Act",
    "Case",
    "Chapter",
    "Door",
    "Outcome",
    "Told",
]

Door = Literal[
    "hub MQTT",
    "hub HTTPS",
    "hub AMQP",
    "hub AMQP PLAIN",
    "DPS MQTT",
    "DPS HTTPS",
    "DPS AMQP",
    "service REST",
    "service AMQP",
]
DOORS: Final[tuple[Door, ...]] = get_args(Door)

# These are also reached in a WebSocket, where every answer and every reason is the same.
IN_WEBSOCKETS: Final[frozenset[Door]] = frozenset(("hub MQTT", "hub AMQP", "DPS MQTT", "DPS AMQP", "service AMQP"))
AMQP_DOORS: Final[frozenset[Door]] = frozenset(("hub AMQP", "hub AMQP PLAIN", "DPS AMQP", "service AMQP"))

# What a door says to somebody whom it keeps out, unless a case says otherwise.
_KEPT_OUT: Final[dict[Door, str]] = {
    "hub MQTT": "CONNACK 5",
    "hub HTTPS": "401 IotHubUnauthorizedAccess",
    "hub AMQP": "amqp:unauthorized-access",
    "hub AMQP PLAIN": "amqp:unauthorized-access",
    "DPS MQTT": "401002",
    "DPS HTTPS": "401002",
    "DPS AMQP": "401002",
    "service REST": "401 IotHubUnauthorizedAccess",
    "service AMQP": "amqp:unauthorized-access",
}
# AMQP looks at a token when it comes, as far as that tells nothing of devices: before any link, by CBS or by SASL.
_BY_CBS: Final = {"token.malformed": "CBS 400", "token.expired": "CBS 401"}
_BY_SASL: Final = dict.fromkeys(_BY_CBS, "SASL 1")
_BEFORE_LINKS: Final[dict[Door, dict[str, str]]] = {
    "hub AMQP": _BY_CBS,
    "hub AMQP PLAIN": _BY_SASL,
    "DPS AMQP": _BY_SASL,
    # The signature of a policy too, which tells nothing of devices.
    "service AMQP": {**_BY_CBS, "token.signature": "CBS 401"},
}
# What it says to somebody whom it lets in.
LET_IN: Final[dict[Door, str]] = {
    "hub MQTT": "CONNACK 0",
    "hub HTTPS": "204",
    "hub AMQP": "attached",
    "hub AMQP PLAIN": "attached",
    "DPS MQTT": "202",
    "DPS HTTPS": "202",
    "DPS AMQP": "202",
    "service REST": "200",
    "service AMQP": "attached",
}

_NO_USER_NAME: Final = "nobody says more than once who speaks: the address of a link says it, and the credential"


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
    where it changes what others rely on. `no_amqp` says why a case of other transports is not one of AMQP.
    """

    number: str
    chapter: str
    attack: str
    act: Act
    outcomes: Mapping[Door, Outcome]
    no_twin: str = ""
    no_amqp: str = ""
    own_hub: Mapping[str, Any] | None = None


class Chapter:
    """Cases of one class, in the order of their numbers; a decorator for what they do.

    In a class about credentials, what is shown to the hub over MQTT is shown to it over HTTPS and AMQP too, and the
    reason is the same, unless the case is `no_https`. In a class about tokens they are shown over AMQP twice: by CBS,
    and by SASL PLAIN. `no_amqp` is said of every case that does not say its own.
    """

    def __init__(
        self, title: str, *, is_about_credentials: bool = False, is_about_tokens: bool = False, no_amqp: str = ""
    ) -> None:
        self.title = title
        self._is_about_credentials = is_about_credentials or is_about_tokens
        self._is_about_tokens = is_about_tokens
        self._no_amqp = no_amqp
        self.cases: list[Case] = []

    def __call__(
        self,
        number: int,
        attack: str,
        *,
        hub: Told | None = None,
        hub_amqp: Told | None = None,
        hub_plain: Told | None = None,
        dps: Told | None = None,
        dps_mqtt: Told | None = None,
        dps_https: Told | None = None,
        dps_amqp: Told | None = None,
        service: Told | None = None,
        service_amqp: Told | None = None,
        no_https: bool = False,
        no_twin: str = "",
        no_amqp: str = "",
        own_hub: Mapping[str, Any] | None = None,
    ) -> Callable[[Act], Act]:
        """`dps` is for all of its transports, which `dps_mqtt`, `dps_https` or `dps_amqp` may override; `hub_amqp` and
        `hub_plain` override what follows from `hub`.
        """
        no_amqp = no_amqp or self._no_amqp
        if isinstance(hub, str) and hub.startswith("login."):
            no_amqp = no_amqp or _NO_USER_NAME
        shown = None if no_amqp else self._shown(hub)
        told: dict[Door, Told | None] = {
            "hub MQTT": hub,
            "hub HTTPS": None if no_https else self._shown(hub),
            "hub AMQP": _first(hub_amqp, shown),
            "hub AMQP PLAIN": _first(hub_plain, shown) if self._is_about_tokens else hub_plain,
            "DPS MQTT": _first(dps_mqtt, dps),
            "DPS HTTPS": _first(dps_https, dps),
            "DPS AMQP": _first(dps_amqp, None if no_amqp else dps),
            "service REST": service,
            "service AMQP": service_amqp,
        }
        outcomes = {door: _outcome(door, each) for door, each in told.items() if each is not None}

        def add(act: Act) -> Act:
            self.cases.append(Case(f"A-{number:03}", self.title, attack, act, outcomes, no_twin, no_amqp, own_hub))
            return act

        return add

    def _shown(self, told: Told | None) -> Told | None:
        """What a login is told, where there is one; answers in words of MQTT have no counterpart."""
        if not self._is_about_credentials or not isinstance(told, str) or told.startswith("login."):
            return None
        return told


def _first(told: Told | None, otherwise: Told | None) -> Told | None:
    return otherwise if told is None else told


def _outcome(door: Door, told: Told) -> Outcome:
    if isinstance(told, tuple):
        return Outcome(*told)
    if told == ACCEPTED:
        return Outcome(LET_IN[door], told)
    return Outcome(_BEFORE_LINKS.get(door, {}).get(told, _KEPT_OUT[door]), told)
