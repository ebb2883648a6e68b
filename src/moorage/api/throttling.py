"""Which group of operations a route belongs to, for throttling (contract/services.md 2.12)."""

from __future__ import annotations

from moorage.api.routing import Route
from moorage.hub.throttles import OperationGroup

__all__ = ["operation_group"]


def operation_group(route: Route) -> OperationGroup | None:
    """None for what is not throttled: pages, the control plane, and devices that provision, whose limits are in
    `provisioning.throttle`.
    """
    segments = route.segments
    first = segments[0] if segments else ""
    match first:
        case "devices":
            if segments[-1] == "query":
                return "queries"
            return "messages" if segments[-1] == "commands" else "registry"
        case "statistics":
            return "registry"
        case "twins" | "digitaltwins":
            if segments[-1] == "methods" or "commands" in segments:
                return "methods"
            return "twin_reads" if route.method == "GET" else "twin_updates"
        case "configurations" | "jobs":
            return first
        case "messages":
            return "messages"
        case "enrollments" | "enrollmentGroups" | "registrations":
            return "enrollments"
    return None
