"""The service SDKs for Node as a test calls them: `backend.registry("getTwin", name)` is the body, or `Failed`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from moorage.cli.owner import owner_token
from tests.compatibility import note_call
from tests.e2e.node.workshop import Program
from tests.hubs import Hub

__all__ = ["Backend", "Failed", "bearer", "date", "fails", "kept"]

_PACKAGE = {"ProvisioningServiceClient": "azure-iot-provisioning-service"}
_HUB_PACKAGE = "azure-iothub"


class Failed(Exception):
    """The error that a call ended with."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(f"{said['error']}: {said['message']} ({said.get('status')}) {said.get('answer')}")
        self.error: str = said["error"]
        self.message: str = said["message"]
        self.status: int | None = said.get("status")


def fails(status: int, error: str, call: Callable[..., Any], *arguments: Any) -> None:
    with pytest.raises(Failed) as failed:
        call(*arguments)
    assert (failed.value.status, failed.value.error) == (status, error), failed.value


def date(moment: datetime) -> dict[str, str]:
    return {"$date": moment.isoformat()}


def bearer(hub: Hub) -> dict[str, str]:
    """A token credential that gives the owner's bearer."""
    return {"$bearer": owner_token(hub.data, datetime.now(UTC)).reveal()}


def kept(name: str) -> dict[str, str]:
    return {"$kept": name}


class Backend:
    """Objects of the two packages, made at first use, in one program."""

    def __init__(self, program: Program, hub: Hub) -> None:
        self._program = program
        self._hub = hub
        # What each kept object is made by: its class.
        self._class: dict[str, str] = {}

    # Each does one method of one client.

    def registry(self, method: str, *arguments: Any, keep: str = "") -> Any:
        return self._of("Registry", method, arguments, keep)

    def client(self, method: str, *arguments: Any) -> Any:
        return self._of("Client", method, arguments)

    def jobs(self, method: str, *arguments: Any, keep: str = "") -> Any:
        return self._of("JobClient", method, arguments, keep)

    def dps(self, method: str, *arguments: Any, keep: str = "", called_back: bool = False) -> Any:
        return self._of("ProvisioningServiceClient", method, arguments, keep, called_back)

    def twins(self, method: str, *arguments: Any) -> Any:
        if "DigitalTwinClient" not in self._class:
            credentials = "IoTHubTokenCredentials"
            self.do(credentials, "new", self._hub.connection_string, keep="credentials")
            self.do("DigitalTwinClient", "new", kept("credentials"), keep="DigitalTwinClient's")
            self._class["DigitalTwinClient"] = "DigitalTwinClient's"
        return self.do("DigitalTwinClient's", method, *arguments, of="DigitalTwinClient")

    def pages(self, query: str, package: str, method: str = "next") -> list[list[Any]]:
        """Every page of a kept query; with promises, `next` goes on only from a token that it is given."""
        pages: list[list[Any]] = []
        token: str | None = None
        while True:
            said = self._ask(query, method, [token])
            note_call(package, "Query", method, succeeded=True)
            pages.append(said["body"])
            if not said.get("more"):
                return pages
            token = said["continuation"]

    def do(
        self, target: str, method: str, *arguments: Any, keep: str = "", of: str = "", called_back: bool = False
    ) -> Any:
        """A method of a class, or of a kept object of the class `of`. Raises `Failed`."""
        area = of or target
        noted = partial(note_call, _PACKAGE.get(area, _HUB_PACKAGE), area, method)
        try:
            said = self._ask(target, method, list(arguments), keep, called_back)
        except Failed:
            noted(succeeded=False)
            raise
        noted(succeeded=True)
        return said["body"]

    def offers(self) -> dict[str, list[str]]:
        """The public methods of each class."""
        return dict(self._ask("packages", "", [])["body"])

    def _of(self, name: str, method: str, arguments: tuple[Any, ...], keep: str = "", called_back: bool = False) -> Any:
        if name not in self._class:
            text = self._hub.dps_connection_string if name in _PACKAGE else self._hub.connection_string
            self._ask(name, "fromConnectionString", [text], f"{name}'s")
            self._class[name] = f"{name}'s"
        return self.do(self._class[name], method, *arguments, keep=keep, of=name, called_back=called_back)

    def _ask(
        self, target: str, method: str, arguments: list[Any], keep: str = "", called_back: bool = False
    ) -> dict[str, Any]:
        question = {"object": target, "method": method, "arguments": arguments, "keep": keep, "calledBack": called_back}
        said = self._program.ask(question)
        if "error" in said:
            raise Failed(said)
        return said
