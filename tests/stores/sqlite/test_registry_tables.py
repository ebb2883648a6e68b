"""Identities, policies and registered CAs: what is put is found, by exactly its key, until it is deleted."""

from __future__ import annotations

import dataclasses

import pytest

from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.certificates.model import CATables
from moorage.errors import Unavailable
from moorage.hub.model import HubTables, MqttSession
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
    RegistryTables,
    SasSwitches,
)
from moorage.ids import CAName, DeviceId, EnrollmentGroupId, Secret
from moorage.provisioning.model import ProvisioningTables
from moorage.store import Store

from .samples import (
    FIRST_SHA1,
    HUB,
    KEYS,
    OTHER_HUB,
    THEN,
    identity,
    message,
    name,
    policy,
    registered_ca,
    twin,
)


async def test_one_store_serves_every_domain(store: SqliteStore) -> None:
    def to_registry(it: Store[RegistryTables]) -> RegistryTables:
        return it.read()

    def to_certificates(it: Store[CATables]) -> CATables:
        return it.read()

    def to_hub(it: Store[HubTables]) -> HubTables:
        return it.read()

    def to_provisioning(it: Store[ProvisioningTables]) -> ProvisioningTables:
        return it.read()

    # That this type-checks is most of the test.
    tables: list[object] = [to_registry(store), to_certificates(store), to_hub(store), to_provisioning(store)]
    assert tables == [store.read()] * 4


@pytest.mark.parametrize(
    "authentication",
    [
        KEYS,
        ByThumbprint(),
        ByThumbprint(None, FIRST_SHA1),
        ByAuthority(),
        ByAuthority(EnrollmentGroupId("Widgets")),
        NoCredential(),
    ],
    ids=repr,
)
async def test_an_identity_comes_back_as_it_was_put(store: SqliteStore, authentication: Authentication) -> None:
    both = [identity(whose, authentication=authentication) for whose in (name(), name(module="Camera"))]
    await store.write(lambda tables: tables.identities.put(both[0]))
    await store.write(lambda tables: tables.identities.put(both[1]))
    assert [store.read().identities.find(HUB, put.name) for put in both] == both


async def test_a_plain_identity_comes_back_with_its_defaults(store: SqliteStore) -> None:
    put = Identity(HUB, name(), "1", 1, NoCredential(), THEN)
    await store.write(lambda tables: tables.identities.put(put))
    assert store.read().identities.find(HUB, name()) == put


async def test_an_identity_is_found_by_its_exact_name_in_its_hub_only(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.identities.put(identity()))
    find = store.read().identities.find
    assert find(HUB, name("PUMP-01")) is None
    assert find(HUB, name(module="Camera")) is None
    assert find(OTHER_HUB, name()) is None


async def test_put_replaces_an_identity_and_keeps_what_hangs_on_it(store: SqliteStore) -> None:
    def work(tables: AllTables) -> None:
        tables.identities.put(identity(authentication=KEYS))
        tables.twins.put(twin())
        tables.identities.put(identity(version=2))

    await store.write(work)
    assert store.read().identities.find(HUB, name()) == identity(version=2)
    assert store.read().twins.find(HUB, name()) == twin()


async def test_put_many_puts_each(store: SqliteStore) -> None:
    many = [identity(name(f"pump-{number:02}"), authentication=KEYS) for number in range(20)]
    await store.write(lambda tables: tables.identities.put_many(many))
    assert store.read().identities.list_devices(HUB, 100) == many


async def test_deleting_a_device_deletes_all_that_hangs_on_it_and_nothing_else(store: SqliteStore) -> None:
    ours, modules, others = name(), name(module="Camera"), name("pump-010")

    def put(tables: AllTables) -> None:
        for number, whose in enumerate((ours, modules, others), 1):
            tables.identities.put(identity(whose))
            tables.twins.put(twin(whose))
            tables.messages.put(message(number, whose))
            tables.mqtt_sessions.put(MqttSession(HUB, whose, {"t": 1}))

    def left(tables: AllTables) -> list[tuple[bool, bool, int, bool]]:
        return [
            (
                tables.identities.find(HUB, whose) is not None,
                tables.twins.find(HUB, whose) is not None,
                tables.messages.count(HUB, whose),
                tables.mqtt_sessions.find(HUB, whose) is not None,
            )
            for whose in (ours, modules, others)
        ]

    present, absent = (True, True, 1, True), (False, False, 0, False)
    await store.write(put)
    assert left(store.read()) == [present, present, present]
    await store.write(lambda tables: tables.identities.delete(HUB, modules))
    assert left(store.read()) == [present, absent, present]
    await store.write(put)
    await store.write(lambda tables: tables.identities.delete(HUB, ours))
    assert left(store.read()) == [absent, absent, present]
    # Made again under the same name, it inherits nothing.
    await store.write(lambda tables: tables.identities.put(identity(ours)))
    assert left(store.read()) == [(True, False, 0, False), absent, present]


async def test_devices_are_listed_in_order_page_by_page_without_their_modules(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for device in ("b", "a", "C", "a%"):
            tables.identities.put(identity(name(device)))
        tables.identities.put(identity(name("a", "m2")))
        tables.identities.put(identity(name("a", "m1")))
        tables.identities.put(identity(name("z"), hub=OTHER_HUB))

    await store.write(put)
    identities = store.read().identities
    assert [row.name.device_id for row in identities.list_devices(HUB, 3)] == ["C", "a", "a%"]
    assert [row.name.device_id for row in identities.list_devices(HUB, 3, DeviceId("a%"))] == ["b"]
    assert [str(row.name) for row in identities.list_modules(HUB, DeviceId("a"))] == ["a/m1", "a/m2"]
    assert identities.list_modules(HUB, DeviceId("b")) == []


async def test_devices_are_counted_and_modules_are_not(store: SqliteStore) -> None:
    assert store.read().identities.count_devices(HUB) == (0, 0)

    def put(tables: AllTables) -> None:
        tables.identities.put(identity(name("off")))
        tables.identities.put(dataclasses.replace(identity(name("on")), status="enabled"))
        tables.identities.put(dataclasses.replace(identity(name("on", "m")), status="enabled"))

    await store.write(put)
    assert await store.scan(lambda tables: tables.identities.count_devices(HUB)) == (2, 1)
    # What is put again is counted once, with the status that it has now.
    await store.write(put)
    assert store.read().identities.count_devices(HUB) == (2, 1)
    changed = dataclasses.replace(identity(name("off")), status="enabled")
    await store.write(lambda tables: tables.identities.put(changed))
    assert store.read().identities.count_devices(HUB) == (2, 2)
    await store.write(lambda tables: tables.identities.delete(HUB, name("on", "m")))
    await store.write(lambda tables: tables.identities.delete(HUB, name("on")))
    assert store.read().identities.count_devices(HUB) == (1, 1)
    assert store.read().identities.count_devices(OTHER_HUB) == (0, 0)


async def test_sealed_keys_open_only_in_the_row_they_were_written_for(store: SqliteStore) -> None:
    whose, thief, bystander = name("owner"), name("thief"), name("bystander")

    def work(tables: AllTables) -> None:
        tables.identities.put(identity(whose, authentication=KEYS))
        tables.identities.put(identity(thief, authentication=BySharedKey(Secret("QQ=="), Secret("QQ=="))))
        tables.identities.put(identity(bystander))
        connection = tables.identities._connection
        connection.execute(
            "UPDATE identities SET sealed = (SELECT sealed FROM identities WHERE device_id = 'owner')"
            " WHERE device_id = 'thief'"
        )
        connection.execute("UPDATE identities SET sealed = x'00' WHERE device_id = 'bystander'")

    await store.write(work)
    find = store.read().identities.find
    owner = find(HUB, whose)
    assert owner is not None and owner.authentication == KEYS
    with pytest.raises(Unavailable, match=r"store\.sealed: the keys stored in identities / hub / thief"):
        find(HUB, thief)
    # Keys are opened only where the identity authenticates by them.
    assert find(HUB, bystander) == identity(bystander)


async def test_policies_are_found_listed_replaced_and_deleted(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for it in (policy("service"), policy("device"), policy("service", hub=OTHER_HUB)):
            tables.policies.put(it)

    await store.write(put)
    policies = store.read().policies
    assert policies.find(HUB, "hub", "service") == policy("service")
    assert policies.find(HUB, "dps", "service") is None
    assert policies.find(HUB, "hub", "Service") is None
    assert policies.all(HUB, "hub") == [policy("device"), policy("service")]
    fewer = dataclasses.replace(policy("service"), rights=frozenset())
    await store.write(lambda tables: tables.policies.put(fewer))
    assert policies.find(HUB, "hub", "service") == fewer
    await store.write(lambda tables: tables.policies.delete(HUB, "hub", "service"))
    assert policies.all(HUB, "hub") == [policy("device")]
    assert policies.all(OTHER_HUB, "hub") == [policy("service", hub=OTHER_HUB)]


async def test_switches_are_off_until_put(store: SqliteStore) -> None:
    assert store.read().policies.switches(HUB) == SasSwitches()
    switched = SasSwitches(disable_device_sas=True)
    await store.write(lambda tables: tables.policies.put_switches(HUB, switched))
    assert store.read().policies.switches(HUB) == switched
    assert store.read().policies.switches(OTHER_HUB) == SasSwitches()


async def test_waivers_are_a_hubs_own_and_an_unknown_one_is_none(store: SqliteStore) -> None:
    waivers = store.read().waivers
    assert waivers.given(HUB) == frozenset()
    await store.write(lambda tables: tables.waivers.put(HUB, "rsa-1024"))
    await store.write(lambda tables: tables.waivers.put(HUB, "of-a-later-version"))  # type: ignore[arg-type] # the point
    assert waivers.given(HUB) == {"rsa-1024"}
    assert waivers.given(OTHER_HUB) == frozenset()
    await store.write(lambda tables: tables.waivers.delete(OTHER_HUB, "rsa-1024"))
    assert waivers.given(HUB) == {"rsa-1024"}
    await store.write(lambda tables: tables.waivers.delete(HUB, "rsa-1024"))
    assert waivers.given(HUB) == frozenset()


async def test_cas_are_kept_as_typed_and_found_without_case(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for it in (registered_ca(), registered_ca(registry="dps"), registered_ca("a-ca"), registered_ca(hub=OTHER_HUB)):
            tables.cas.put(it)

    await store.write(put)
    cas = store.read().cas
    assert cas.find(HUB, "hub", CAName("PLANT-ca")) == registered_ca()
    assert cas.find(HUB, "hub", CAName("plant")) is None
    assert cas.all(HUB, "hub") == [registered_ca("a-ca"), registered_ca()]
    bare = dataclasses.replace(registered_ca("PLANT-CA"), proof="none", code=None, code_expires=None)
    await store.write(lambda tables: tables.cas.put(bare))
    assert cas.find(HUB, "hub", CAName("Plant-CA")) == bare
    assert len(cas.all(HUB, "hub")) == 2
    await store.write(lambda tables: tables.cas.delete(HUB, "hub", CAName("plant-ca")))
    assert cas.find(HUB, "hub", CAName("Plant-CA")) is None
    assert cas.all(HUB, "dps") == [registered_ca(registry="dps")]


async def test_settings_belong_to_the_installation_or_to_a_hub(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        tables.settings.put("id_scope", "old")
        tables.settings.put("id_scope", "0ne00000001")
        tables.settings.put("id_scope", "of the hub", HUB)

    assert store.read().settings.get("id_scope") is None
    await store.write(put)
    assert store.read().settings.get("id_scope") == "0ne00000001"
    assert store.read().settings.get("id_scope", HUB) == "of the hub"
