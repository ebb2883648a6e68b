"""All kinds, in the order in which they are applied: what others refer to comes first."""

from __future__ import annotations

from typing import Final

from moorage.cli.declared.cas import CAs
from moorage.cli.declared.devices import Devices, Modules
from moorage.cli.declared.enrollments import EnrollmentGroups, Enrollments
from moorage.cli.declared.model import Kind
from moorage.cli.declared.policies import Policies
from moorage.cli.declared.routing import Endpoints, Enrichments, Routes

__all__ = ["KINDS"]

KINDS: Final[dict[str, Kind]] = {
    "ca": CAs(),
    "policy": Policies("hub"),
    "dps-policy": Policies("dps"),
    "endpoint": Endpoints(),
    "route": Routes(),
    "enrichment": Enrichments(),
    "enrollment-group": EnrollmentGroups(),
    "enrollment": Enrollments(),
    "device": Devices(),
    "module": Modules(),
}
