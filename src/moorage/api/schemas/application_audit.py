"""Entries of the audit log (contract/central.md AUD-1)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import TIME, list_of, members, named, text

__all__ = ["AUDIT_ENTRY"]

AUDIT_ENTRY: Final = named(
    "AuditEntry",
    members(
        {
            "time": TIME,
            "actor": text("A user, an API token, or the owner."),
            "event": text("`kind.verb`."),
            "kind": text("What sort of thing was acted on."),
            "entity": text("Which one."),
            "details": list_of(members({"name": text(), "after": text()}, {"before": text()})),
        }
    ),
)
