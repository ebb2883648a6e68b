"""Any sequence of puts and deletes leaves what a dictionary would hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import MEMORY, AllTables, SqliteStore
from moorage.errors import NotFound
from moorage.hub.model import CloudMessage
from moorage.identities.model import Authentication, ByAuthority, ByThumbprint, Identity, NoCredential
from moorage.ids import HubId, IdentityName

from .samples import HUB, KEY, KEYS, OTHER_HUB, identity, message, name

R = TypeVar("R")

# Few enough to collide, and near enough to each other to be mistaken.
hubs = st.sampled_from([HUB, OTHER_HUB])
names = st.builds(name, st.sampled_from(["a", "A", "a%", "ab"]), st.sampled_from([None, "m", "M"]))
authentications: st.SearchStrategy[Authentication] = st.sampled_from(
    [KEYS, ByThumbprint(), ByAuthority(), NoCredential()]
)


class Registry(RuleBasedStateMachine):
    """Identities and the queues that hang on them, beside two dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = SqliteStore(MEMORY, secrets_key=KEY, bus=LocalBus())
        self.identities: dict[tuple[HubId, IdentityName], Identity] = {}
        self.messages: dict[tuple[HubId, IdentityName, int], CloudMessage] = {}

    def write(self, work: Callable[[AllTables], R]) -> R:
        return self.runner.run(self.store.write(work))

    @rule(hub=hubs, whose=names, authentication=authentications, version=st.integers(1, 2**62))
    def put(self, hub: HubId, whose: IdentityName, authentication: Authentication, version: int) -> None:
        put = identity(whose, hub=hub, authentication=authentication, version=version)
        self.write(lambda tables: tables.identities.put(put))
        self.identities[hub, whose] = put

    @rule(hub=hubs, whose=names)
    def delete(self, hub: HubId, whose: IdentityName) -> None:
        self.write(lambda tables: tables.identities.delete(hub, whose))

        def is_gone(its_hub: HubId, its: IdentityName) -> bool:
            is_module_of_it = whose.module_id is None and its.device_id == whose.device_id
            return its_hub == hub and (its == whose or is_module_of_it)

        self.identities = {key: row for key, row in self.identities.items() if not is_gone(*key)}
        self.messages = {key: row for key, row in self.messages.items() if not is_gone(*key[:2])}

    @rule(whose=names, sequence=st.integers(1, 4), body=st.binary(max_size=8))
    def enqueue(self, whose: IdentityName, sequence: int, body: bytes) -> None:
        put = message(sequence, whose, body=body)
        try:
            self.write(lambda tables: tables.messages.put(put))
        except NotFound:
            assert (HUB, whose) not in self.identities
        else:
            assert (HUB, whose) in self.identities
            self.messages[HUB, whose, sequence] = put

    @rule(whose=names, sequence=st.integers(1, 4))
    def settle(self, whose: IdentityName, sequence: int) -> None:
        was_there = self.write(lambda tables: tables.messages.delete(HUB, whose, sequence))
        assert was_there == (self.messages.pop((HUB, whose, sequence), None) is not None)

    @invariant()
    def everything_is_as_in_the_dictionaries(self) -> None:
        tables = self.store.read()
        for hub in (HUB, OTHER_HUB):
            devices = sorted(
                its.device_id for its_hub, its in self.identities if its_hub == hub and its.module_id is None
            )
            assert [row.name.device_id for row in tables.identities.list_devices(hub, 99)] == devices
            assert tables.identities.count_devices(hub)[0] == len(devices)
        for (hub, whose), row in self.identities.items():
            assert tables.identities.find(hub, whose) == row
            queue = [self.messages[hub, whose, number] for number in range(5) if (hub, whose, number) in self.messages]
            assert tables.messages.waiting(hub, whose, 99) == queue
            assert tables.messages.count(hub, whose) == len(queue)

    def teardown(self) -> None:
        self.store.close()
        self.runner.close()


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
