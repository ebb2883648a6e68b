"""How the domain reaches what is stored, whatever stores it.

A domain package names the tables it needs as a Protocol (`RegistryTables`, `HubTables`, ...) and asks for a
`Store[ThoseTables]`. Work given to `write` runs alone, whole or not at all, and off the event loop; when the await
returns, what it changed is on disk. Work must be plain and synchronous, and must not keep the tables it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from moorage.ids import HubId

__all__ = ["SettingTable", "Store"]

Tables_co = TypeVar("Tables_co", covariant=True)
R = TypeVar("R")


class SettingTable(Protocol):
    """Small lasting texts of a hub, by key."""

    def get(self, key: str, hub: HubId) -> str | None: ...

    def put(self, key: str, value: str, hub: HubId) -> None: ...


class Store(Protocol[Tables_co]):
    """One place where things are kept, seen through the tables that a domain needs."""

    def read(self) -> Tables_co:
        """The committed state, for point reads on the event loop's own thread: microseconds, no thread hop."""

    async def scan(self, work: Callable[[Tables_co], R]) -> R:
        """Run a heavy read in a thread."""

    async def write(self, work: Callable[[Tables_co], R]) -> R:
        """Run `work` in one transaction and return its result once that is durable.

        Concurrent callers share one commit; a `work` that raises is undone alone and its exception is raised here.
        Events that it emitted are published after the commit, before this returns.
        """
