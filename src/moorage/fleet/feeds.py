"""Addresses of calendars: one for each user, unguessable, made anew at will; only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from typing import Final, Protocol

from moorage.accounts.model import Actor, User, UserId
from moorage.accounts.service import Accounts
from moorage.accounts.tables import AccountTables
from moorage.errors import NotFound
from moorage.ids import HubId, Secret
from moorage.store import SettingTable, Store

__all__ = ["CalendarFeeds", "FeedTables"]

audit = logging.getLogger("moorage.audit")

_SETTING: Final = "calendar."
_BYTES: Final = 32


class FeedTables(AccountTables, Protocol):
    """What feeds need of a store."""

    @property
    def settings(self) -> SettingTable: ...


class CalendarFeeds:
    def __init__(self, hub: HubId, store: Store[FeedTables], accounts: Accounts) -> None:
        self._hub = hub
        self._store = store
        self._accounts = accounts

    def has(self, user: User) -> bool:
        return bool(self._digest(user))

    async def make(self, user: User, *, by: str) -> Secret:
        """The secret part of a new address; the one before is void."""
        token = Secret(secrets.token_urlsafe(_BYTES))
        digest = _digest_of(token.reveal())
        await self._store.write(lambda tables: tables.settings.put(_SETTING + user.key, digest, self._hub))
        facts = {"hub": self._hub, "user": user.user_id, "by": by}
        event = "calendar.address_made"
        audit.info("%s hub=%s user=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})
        return token

    def subscriber(self, user_id: UserId, token: str) -> Actor:
        """Whose calendar it is, with what they may see today.

        Raises `NotFound` (`route.unknown`) for every address that is none, so that none can be told from another.
        """
        user = self._store.read().users.find(self._hub, user_id)
        digest = "" if user is None or user.is_disabled else self._digest(user)
        if user is not None and digest and hmac.compare_digest(digest, _digest_of(token)):
            actor = self._accounts.actor(user)
            if actor.may("certificates.view"):
                return actor
        raise NotFound("route.unknown", "there is no such page")

    def _digest(self, user: User) -> str:
        return self._store.read().settings.get(_SETTING + user.key, self._hub) or ""


def _digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
