"""For whom something goes on that lasts: what they may now, and what is theirs alone when they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from moorage.accounts.model import (
    ALL_PERMISSIONS,
    OWNER,
    Actor,
    Login,
    Maker,
    OrganizationId,
    RoleId,
    User,
    UserId,
)
from moorage.accounts.organizations import Organization
from moorage.accounts.roles import ADMINISTRATOR
from moorage.accounts.tables import acting_in, actor_of
from moorage.accounts.token_model import ApiToken, TokenId
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import MEMORY, AllTables, SqliteStore
from moorage.analytics.boards import Boards, Dashboard, check_dashboard
from moorage.clock import HandClock
from moorage.errors import Refusal
from moorage.ids import DEFAULT_HUB as HUB

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
ADA = User(HUB, UserId("u1"), Login("ada"), ADMINISTRATOR, "x", NOW)
CI = ApiToken(HUB, TokenId("ci"), ADMINISTRATOR, OrganizationId(""), NOW, NOW + timedelta(days=1), "0" * 64, "owner")


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = SqliteStore(MEMORY, secrets_key=bytes(32), bus=LocalBus())
    yield store
    store.close()


def maker(tables: AllTables, who: User | ApiToken) -> Maker:
    return actor_of(tables, HUB, who).maker


async def test_whoever_is_there_acts_with_what_they_may_now(store: SqliteStore) -> None:
    north = Organization(HUB, OrganizationId("north"), "North")

    def work(tables: AllTables) -> None:
        tables.users.put(ADA)
        tables.api_tokens.put(CI)
        tables.organizations.put(north)
        was = maker(tables, ADA)
        assert acting_in(tables, HUB, was, NOW) == actor_of(tables, HUB, ADA)
        assert acting_in(tables, HUB, maker(tables, CI), NOW).name == "token:ci"
        # Renamed, moved, with another role: still she.
        tables.users.put(replace(ADA, login=Login("ada@example.org"), organization=OrganizationId("north")))
        now = acting_in(tables, HUB, was, NOW)
        assert (now.name, now.organizations) == ("user:ada@example.org", frozenset({"north"}))
        tables.users.put(replace(ADA, role=RoleId("gone")))
        assert acting_in(tables, HUB, was, NOW).permissions == frozenset()

    await store.write(work)


async def test_the_owner_always_may(store: SqliteStore) -> None:
    for owner in (OWNER, replace(OWNER, name="owner:cli")):
        assert acting_in(store.read(), HUB, owner.maker, NOW) is OWNER


async def test_who_is_gone_disabled_or_ended_is_nobody_and_whoever_has_the_name_now_is_another(
    store: SqliteStore,
) -> None:
    def work(tables: AllTables) -> None:
        later = NOW + timedelta(hours=1)
        was = maker(tables, ADA), maker(tables, CI)

        def refused(which: Maker, now: datetime = NOW) -> str:
            with pytest.raises(Refusal) as caught:
                acting_in(tables, HUB, which, now)
            return caught.value.reason

        assert [refused(each) for each in was] == ["maker.gone", "maker.gone"]
        tables.users.put(replace(ADA, created=later))
        tables.api_tokens.put(replace(CI, created=later))
        assert [refused(each) for each in was] == ["maker.gone", "maker.gone"]
        tables.users.put(replace(ADA, is_disabled=True))
        tables.api_tokens.put(CI)
        assert refused(was[0]) == "maker.disabled"
        assert acting_in(tables, HUB, was[1], NOW)
        assert refused(was[1], CI.expires) == "maker.expired"
        assert refused(Maker("user:ada", "user:ada")) == refused(Maker()) == "maker.gone"

    await store.write(work)


async def test_personal_dashboards_go_with_their_user_and_their_token(store: SqliteStore) -> None:
    boards = Boards[Dashboard](
        HUB, store, HandClock(NOW), "dashboard", lambda tables: tables.dashboards, check_dashboard
    )

    def make(tables: AllTables) -> list[Actor]:
        tables.users.put(ADA)
        tables.api_tokens.put(CI)
        return [actor_of(tables, HUB, ADA), actor_of(tables, HUB, CI)]

    ada, ci = await store.write(make)
    for actor in (ada, ci):
        await boards.put(actor, f"of-{actor.name[:4]}", "Mine", Dashboard(), is_personal=True)
    await boards.put(ada, "shared", "Ours", Dashboard(), is_personal=False)
    assert [each.board_id for each in await boards.list(ada)] == ["of-user", "shared"]
    await store.write(lambda tables: tables.users.delete(HUB, ADA.user_id))
    await store.write(lambda tables: tables.api_tokens.delete(HUB, CI.token_id))
    left = store.read().dashboards.all(HUB)
    assert [each.board_id for each in left] == ["shared"]
    # Another with the same name and the same id has nothing of hers.
    await boards.put(ada, "hers", "Hers", Dashboard(), is_personal=True)
    other = replace(ADA, created=NOW + timedelta(seconds=1))
    assert [each.board_id for each in await boards.list(actor_of(store.read(), HUB, other))] == ["shared"]
    assert set(actor_of(store.read(), HUB, other).permissions) == set(ALL_PERMISSIONS)
