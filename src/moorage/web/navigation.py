"""The pane at the left: what there is, in the groups of contract/central.md 2, without what the user may not see."""

from __future__ import annotations

from typing import Final, NamedTuple

from moorage.accounts.model import Permission
from moorage.web.pages import Visit

__all__ = ["Entry", "Group", "navigation"]


class Entry(NamedTuple):
    label: str
    path: str
    icon: str
    gate: Permission

    def is_current(self, path: str) -> bool:
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


class Group(NamedTuple):
    label: str
    entries: tuple[Entry, ...]


GROUPS: Final = (
    Group(
        "Connect",
        (
            Entry("Devices", "/devices", "devices", "devices.view"),
            Entry("Device groups", "/device-groups", "device-groups", "groups.view"),
            Entry("Device templates", "/device-templates", "templates", "templates.view"),
            Entry("Edge manifests", "/manifests", "manifests", "manifests.view"),
        ),
    ),
    Group(
        "Analyze",
        (
            Entry("Data explorer", "/explorer", "explorer", "data.view"),
            Entry("Dashboards", "/dashboards", "dashboards", "dashboards.view"),
        ),
    ),
    Group("Manage", (Entry("Jobs", "/jobs", "jobs", "jobs.view"),)),
    Group(
        "Extend",
        (
            Entry("Rules", "/rules", "rules", "rules.view"),
            Entry("Data export", "/exports", "exports", "exports.view"),
        ),
    ),
    Group(
        "Security",
        (
            Entry("Certificates", "/certificates", "certificates", "certificates.view"),
            Entry("Connection attempts", "/attempts", "attempts", "attempts.view"),
            Entry("Audit logs", "/audit", "audit", "audit.view"),
        ),
    ),
    Group(
        "Permissions",
        (
            Entry("Device connection groups", "/groups", "groups", "certificates.view"),
            Entry("Users", "/users", "users", "users.manage"),
            Entry("Roles", "/roles", "roles", "users.manage"),
            Entry("Organizations", "/organizations", "organizations", "organizations.view"),
            Entry("API tokens", "/tokens", "tokens", "tokens.manage"),
        ),
    ),
    Group(
        "Settings",
        (
            Entry("Application", "/settings/application", "settings", "settings.manage"),
            Entry("Customization", "/settings/customization", "appearance", "settings.manage"),
        ),
    ),
)


def navigation(visit: Visit) -> list[tuple[str, list[tuple[Entry, bool]]]]:
    """(group, [(entry, whether it is this page's)]), for whoever is signed in."""
    path = visit.here
    shown = []
    for group in GROUPS:
        entries = [(entry, entry.is_current(path)) for entry in group.entries if visit.may(entry.gate)]
        if entries:
            shown.append((group.label, entries))
    return shown
