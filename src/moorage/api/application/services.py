"""What our own API of the application calls, as one value that `application.py` makes."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.accounts.organizations import Organizations
from moorage.automation.services import AutomationServices
from moorage.ids import HubId

__all__ = ["OwnServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnServices:
    hub: HubId
    organizations: Organizations
    automation: AutomationServices
