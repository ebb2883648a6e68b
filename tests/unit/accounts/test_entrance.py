"""Coming in, where what is looked at changes meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moorage.accounts.model import OWNER
from moorage.accounts.passwords import hash_password
from moorage.accounts.service import Accounts
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Unauthenticated
from moorage.ids import DEFAULT_HUB, Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OLD, NEW = "the old password", "the new password"


async def test_who_knows_the_old_password_alone_does_not_come_in_while_another_is_chosen() -> None:
    store = SqliteStore(":memory:", secrets_key=bytes(32), bus=LocalBus())
    accounts = Accounts(DEFAULT_HUB, store, HandClock(NOW))
    try:
        user, _ = await accounts.invite(OWNER, "ada", "administrator")
        user = replace(user, password=hash_password(Secret(OLD)))
        await store.write(lambda tables: tables.users.put(user))
        changed = replace(user, password=hash_password(Secret(NEW)))
        async with accounts._hashing, accounts._hashing:
            # It waits for its turn to be looked at.
            coming = asyncio.create_task(accounts.sign_in("ada", OLD, address="127.0.0.1", agent=""))
            await asyncio.sleep(0)
            await store.write(lambda tables: tables.users.put(changed))
        with pytest.raises(Unauthenticated, match=r"account\.refused"):
            await coming
        assert accounts.sessions_of(changed) == []
        signed_in = await accounts.sign_in("ada", NEW, address="127.0.0.1", agent="")
        assert accounts.session(signed_in.cookie.reveal()) is not None
    finally:
        store.close()
