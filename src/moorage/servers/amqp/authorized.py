"""Links that a policy's token opened: looked at again whenever what opened them may be gone.

They end when the token does and no fresh one came, when its key was rolled or its policy lost the right, and when the
hub takes no tokens of policies any more (services.md 3.2 C-10; the switches of 5.4): within a second of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from moorage.errors import Refusal, Unauthenticated
from moorage.identities.access import Principal
from moorage.identities.model import Right
from moorage.identities.sas import CLOCK_SKEW
from moorage.protocols.amqp.links import Link
from moorage.protocols.amqp.performatives import Error
from moorage.servers.amqp.nodes import LinkHandler
from moorage.servers.amqp.stream import AMQPStream, error_of

__all__ = ["SERVICE_CONNECT", "AuthorizedLink", "AuthorizedLinks"]

SERVICE_CONNECT: Final[frozenset[Right]] = frozenset({"ServiceConnect"})


class AuthorizedLinks:
    """All of one hub. `recheck` when policies change, `tick` every second."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._links: set[AuthorizedLink] = set()

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[AuthorizedLink]:
        return iter(tuple(self._links))

    def now(self) -> datetime:
        return self._now()

    def add(self, link: AuthorizedLink) -> None:
        self._links.add(link)

    def discard(self, link: AuthorizedLink) -> None:
        self._links.discard(link)

    def recheck(self) -> None:
        for link in self:
            link.recheck()

    def tick(self) -> None:
        now = self._now()
        for link in self:
            if link.ends is not None and link.ends <= now:
                link.cut(
                    Unauthenticated(
                        "token.expired", f"the token of {link.principal} came to its end, and no other came"
                    )
                )
            else:
                link.tick()


class AuthorizedLink(LinkHandler):
    """One of them. A subclass says what comes in or goes out on it."""

    __slots__ = ("_links", "_resource", "_rights", "ends", "link", "peer", "principal")

    def __init__(
        self, links: AuthorizedLinks, peer: AMQPStream, link: Link, resource: str, rights: frozenset[Right]
    ) -> None:
        """Raises `Unauthenticated`, `Forbidden`: nothing is left of it then."""
        self._links = links
        self._resource = resource
        self._rights = rights
        self.peer = peer
        self.link = link
        self.principal: Principal
        self.ends: datetime | None = None
        self._authorize()
        peer.let_in(self.principal)
        links.add(self)

    def recheck(self) -> None:
        try:
            self._authorize()
        except Refusal as refusal:
            self.cut(refusal)

    def tick(self) -> None:
        """Called every second while it lasts."""

    def cut(self, refusal: Refusal) -> None:
        self._links.discard(self)
        self.peer.tell_end(refusal.reason)
        error = error_of(refusal)
        self.peer.detach(self.link, error)
        self.gone()
        self.peer.close_unless_used(error)

    def gone(self) -> None:
        """The link is gone, whoever ended it."""

    def detached(self, error: Error | None) -> None:
        self._links.discard(self)
        self.gone()

    def refreshed(self, path: tuple[str, ...]) -> None:
        self._authorize()

    def _authorize(self) -> None:
        self.principal = principal = self.peer.authorize(self._resource, self._rights)
        expires = principal.expires
        if expires is not None and expires <= self._links.now():
            expires += CLOCK_SKEW
        self.ends = expires
