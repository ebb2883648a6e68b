"""Entries of the audit log in the JSON of our own API (contract/central.md AUD-1)."""

from __future__ import annotations

from typing import Any

from moorage.accounts.audit import AuditEntry, changes_of
from moorage.dialects.times import format_time

__all__ = ["audit_json"]


def audit_json(entry: AuditEntry) -> dict[str, Any]:
    """`before` is there where it was told."""
    return {
        "time": format_time(entry.at),
        "actor": entry.actor,
        "event": entry.event,
        "kind": entry.kind,
        "entity": entry.entity,
        "details": [
            {"name": name, "after": after} if before is None else {"name": name, "before": before, "after": after}
            for name, before, after in changes_of(entry)
        ],
    }
