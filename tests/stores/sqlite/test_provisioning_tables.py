"""Enrollments and registrations: kept as typed, found without case, every attestation whole."""

from __future__ import annotations

import dataclasses

import pytest

from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.ids import CAName, EnrollmentGroupId, RegistrationId, Secret
from moorage.provisioning.model import (
    Attestation,
    ByCAReferences,
    ByClientCertificates,
    BySigningCertificates,
    BySymmetricKey,
    ByTpm,
    SigningCertificate,
)
from tests import certs

from .samples import HUB, KEYS, LATER, OTHER_HUB, group, individual, linked_hub, registration

ROOT = certs.root().certificate
OTHER_ROOT = certs.root("Other Root").certificate
BY_KEY = BySymmetricKey(KEYS.primary, KEYS.secondary)

ATTESTATIONS: list[Attestation] = [
    BY_KEY,
    ByTpm("ek"),
    ByTpm("ek", "srk"),
    ByClientCertificates(),
    ByClientCertificates(ROOT, OTHER_ROOT),
    BySigningCertificates(),
    BySigningCertificates(
        SigningCertificate(ROOT, "vouched"), SigningCertificate(OTHER_ROOT, "none", code="C0DE", code_expires=LATER)
    ),
    ByCAReferences(None, CAName("Plant-CA")),
]


@pytest.mark.parametrize("attestation", ATTESTATIONS, ids=lambda it: type(it).__name__)
async def test_an_enrollment_comes_back_with_every_attestation(store: SqliteStore, attestation: Attestation) -> None:
    def put(tables: AllTables) -> None:
        tables.individuals.put(individual(attestation))
        tables.groups.put(group(attestation))

    await store.write(put)
    assert store.read().individuals.find(HUB, RegistrationId("Line-7")) == individual(attestation)
    assert store.read().groups.find(HUB, EnrollmentGroupId("Widgets")) == group(attestation)


async def test_an_individual_is_found_without_case_replaced_and_deleted(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.individuals.put(individual(BY_KEY)))
    find = store.read().individuals.find
    assert find(HUB, RegistrationId("LINE-7")) == individual(BY_KEY)
    assert find(OTHER_HUB, RegistrationId("Line-7")) is None
    respelled = dataclasses.replace(
        individual(BySymmetricKey(Secret("QQ=="), Secret("Qg==")), "line-7"),
        device_id=None,
        device_information=None,
        custom_allocation=None,
    )
    await store.write(lambda tables: tables.individuals.put(respelled))
    assert find(HUB, RegistrationId("Line-7")) == respelled
    assert store.read().individuals.all(HUB, 10) == [respelled]
    await store.write(lambda tables: tables.individuals.delete(HUB, RegistrationId("LINE-7")))
    assert find(HUB, RegistrationId("line-7")) is None


async def test_a_group_is_found_without_case_replaced_and_deleted(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.groups.put(group(ByCAReferences())))
    find = store.read().groups.find
    assert find(HUB, EnrollmentGroupId("wIDGETS")) == group(ByCAReferences())
    assert find(OTHER_HUB, EnrollmentGroupId("Widgets")) is None
    await store.write(lambda tables: tables.groups.put(group(BY_KEY)))
    assert find(HUB, EnrollmentGroupId("Widgets")) == group(BY_KEY)
    await store.write(lambda tables: tables.groups.delete(HUB, EnrollmentGroupId("WIDGETS")))
    assert find(HUB, EnrollmentGroupId("Widgets")) is None


async def test_enrollments_are_listed_in_folded_order_page_by_page(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for called in ("b", "A", "C"):
            tables.individuals.put(individual(ByTpm("ek"), called))
            tables.groups.put(group(ByCAReferences(), called))
        tables.individuals.put(individual(ByTpm("ek"), "d", hub=OTHER_HUB))
        tables.groups.put(group(ByCAReferences(), "d", hub=OTHER_HUB))

    await store.write(put)
    tables = store.read()
    assert [row.registration_id for row in tables.individuals.all(HUB, 2)] == ["A", "b"]
    assert [row.registration_id for row in tables.individuals.all(HUB, 2, "B")] == ["C"]
    assert [row.group_id for row in tables.groups.all(HUB, 2)] == ["A", "b"]
    assert [row.group_id for row in tables.groups.all(HUB, 2, "b")] == ["C"]


@pytest.mark.parametrize("payload", [None, {"a": [1]}, [], "text", 0, False])
async def test_a_registration_comes_back_with_any_payload(store: SqliteStore, payload: object) -> None:
    put = registration(payload=payload)
    await store.write(lambda tables: tables.registrations.put(put))
    assert store.read().registrations.find(HUB, RegistrationId("wIDGET-01")) == put


async def test_registrations_of_a_group_are_listed_in_order_page_by_page(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for called in ("b", "A", "C"):
            tables.registrations.put(registration(called))
        tables.registrations.put(registration("D", of="Others"))
        tables.registrations.put(registration("E", of=None))
        tables.registrations.put(registration("F", hub=OTHER_HUB))

    await store.write(put)
    registrations = store.read().registrations
    widgets = EnrollmentGroupId("WIDGETS")
    assert [row.registration_id for row in registrations.list_of_group(HUB, widgets, 2)] == ["A", "b"]
    assert [row.registration_id for row in registrations.list_of_group(HUB, widgets, 2, "B")] == ["C"]
    await store.write(lambda tables: tables.registrations.put(registration("a", of="Others")))
    await store.write(lambda tables: tables.registrations.delete(HUB, RegistrationId("B")))
    assert registrations.list_of_group(HUB, widgets, 9) == [registration("C")]


async def test_enrollments_are_counted_for_each_hub(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for called in ("a", "b", "A"):
            tables.individuals.put(individual(BY_KEY, called))
            tables.groups.put(group(BY_KEY, called))

    await store.write(put)
    tables = store.read()
    assert (tables.individuals.count(HUB), tables.groups.count(HUB)) == (2, 2)
    assert (tables.individuals.count(OTHER_HUB), tables.groups.count(OTHER_HUB)) == (0, 0)


async def test_a_web_hook_stored_in_plain_text_by_an_earlier_version_is_read(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        tables.individuals.put(individual(BY_KEY))
        # The column as version 2 wrote it.
        tables.individuals._connection.execute(
            "UPDATE individual_enrollments SET webhook_url = 'https://h.example/?c=1'"
        )

    await store.write(put)
    found = store.read().individuals.find(HUB, RegistrationId("line-7"))
    assert found is not None and found.custom_allocation is not None
    assert found.custom_allocation.webhook_url.reveal() == "https://h.example/?c=1"


async def test_linked_hubs_are_kept_in_their_order_and_found_without_case(store: SqliteStore) -> None:
    own = dataclasses.replace(linked_hub("", 1), connection_string=None, location="")

    def put(tables: AllTables) -> None:
        for linked in (linked_hub("z.example", 3), linked_hub(), own, linked_hub(hub=OTHER_HUB)):
            tables.linked_hubs.put(linked)

    await store.write(put)
    tables = store.read()
    assert tables.linked_hubs.all(HUB) == [own, linked_hub(), linked_hub("z.example", 3)]
    assert tables.linked_hubs.find(HUB, "WEST.example") == linked_hub()
    moved = dataclasses.replace(linked_hub(), weight=0, position=9)

    def change(tables: AllTables) -> None:
        tables.linked_hubs.put(moved)
        tables.linked_hubs.delete(HUB, "Z.Example")

    await store.write(change)
    assert store.read().linked_hubs.all(HUB) == [own, moved]
    assert store.read().linked_hubs.all(OTHER_HUB) == [linked_hub(hub=OTHER_HUB)]
