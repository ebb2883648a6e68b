"""The control plane's clients, pointed at a hub, with their calls noted."""

from __future__ import annotations

import base64
from typing import Any

from tests import certs
from tests.compatibility import watched
from tests.e2e.service.sdk import OwnerToken
from tests.hubs import Hub

__all__ = ["GROUP", "SUBSCRIPTION", "Plane", "encoded", "groups_of", "made", "operations_of", "plant"]

SUBSCRIPTION = "5a1c0000-0000-4000-8000-000000000000"
GROUP = "plant"


class Plane:
    """A client's groups of operations as attributes."""

    def __init__(self, client: Any, name: str) -> None:
        self._groups = {group: watched(value, name, group) for group, value in groups_of(client).items()}

    def __getattr__(self, group: str) -> Any:
        return self._groups[group]


def groups_of(client: Any) -> dict[str, Any]:
    """The client's groups of operations, by their names."""
    return {
        name: value
        for name, value in vars(client).items()
        if not name.startswith("_") and type(value).__name__.endswith("Operations")
    }


def operations_of(client: Any) -> set[tuple[str, str]]:
    """(group, operation) of all that the client offers."""
    return {
        (group, name)
        for group, value in groups_of(client).items()
        for name in dir(value)
        if not name.startswith("_") and name != "models" and callable(getattr(value, name))
    }


def made(client_class: Any, hub: Hub, credential: Any = None) -> Any:
    """As its documentation says, with another address."""
    return client_class(
        credential or OwnerToken(hub),
        SUBSCRIPTION,
        base_url=f"https://{hub.info.service_host}",
        connection_verify=str(hub.ca_bundle),
    )


def encoded(pem: str) -> str:
    """As the Azure command line reads a file: base64 of its bytes (services.md K-1)."""
    return base64.b64encode(pem.encode()).decode()


def plant(label: str) -> certs.Issued:
    return certs.root("Control Plant", label=label)
