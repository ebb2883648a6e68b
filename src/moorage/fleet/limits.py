"""How many of something an application may have (contract/central.md 21).

What IoT Central bounds and we need not is bounded by its figures only where somebody asks for that (`strict_limits`):
so that a test finds, before the cloud does, what would not work there. What is small for our sake too (rules, exports,
simulated devices, organisations, roles) has its figures always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moorage.dtdl.model import Interface
from moorage.errors import TooLarge
from moorage.fleet.model import FleetTables
from moorage.ids import HubId

__all__ = ["MAX_GROUPS", "OURS", "STRICT", "Limits", "check_capabilities", "is_full"]

MAX_GROUPS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit but the machine's; a model has one of its own (`dtdl.parser.MAX_CAPABILITIES`).

    Attributes:
        devices: records of an application (LIM-1).
        capabilities: of a template, those of its components too (LIM-9).
        groups: device groups that people make (LIM-10).
    """

    devices: int | None
    capabilities: int | None
    groups: int


OURS: Final = Limits(None, None, MAX_GROUPS)
STRICT: Final = Limits(200_000, 300, 500)


def is_full(tables: FleetTables, hub: HubId, limits: Limits) -> bool:
    """Whether there are as many devices as there may be. Reads a row for each kind of device, not one for each."""
    return limits.devices is not None and sum(each.devices for each in tables.devices.tallies(hub)) >= limits.devices


def check_capabilities(interface: Interface, limits: Limits) -> None:
    """Raises `TooLarge` (`template.capabilities`)."""
    if limits.capabilities is not None and (count := interface.count()) > limits.capabilities:
        raise TooLarge(
            "template.capabilities",
            f"a template has at most {limits.capabilities} capabilities while strict_limits is on, this has {count}",
        )
