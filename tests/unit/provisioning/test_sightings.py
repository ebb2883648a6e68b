"""What devices show is kept, and what a roll would do to them is known before it is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.accounts.model import OWNER, OrganizationId
from moorage.attempts.model import Attempt
from moorage.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from moorage.fleet.forecast import Forecast, remaining
from moorage.fleet.rehearsal import Rolls
from moorage.fleet.roll_model import GroupSlot, HubCA
from moorage.fleet.sightings import NO_PATH, Sighting, Sightings
from moorage.identities.model import Authentication, ByAuthority, ByThumbprint
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, CAName, DeviceId, EnrollmentGroupId, ETag, IdentityName, version_etag
from moorage.pki.certificates import Certificate
from moorage.pki.waivers import NO_WAIVERS
from moorage.provisioning.anchors import vouching_certificates
from moorage.provisioning.drafts import signing_certificates
from moorage.provisioning.model import SigningCertificate, Slot
from tests.certs import LIFETIME, NOW, Issued, device, intermediate, key_of, odd, root, self_signed

from .world import World

COMPANY = root("Company-X")
FACTORY = intermediate(COMPANY, "Factory-Y")
TECHNICIAN = intermediate(FACTORY, "Technician-Z")
LINE = EnrollmentGroupId("line-7")
DAY = timedelta(days=1)
BY_GROUP = ByAuthority(LINE)


def sightings_of(world: World, asked: list[None] | None = None) -> Sightings:
    """`asked` grows by one each time that the store is looked at for what was heard."""

    async def known() -> Sequence[Certificate]:
        if asked is not None:
            asked.append(None)
        return await world.store.scan(lambda tables: vouching_certificates(tables, DEFAULT_HUB))

    return Sightings(DEFAULT_HUB, world.store, known)


def forecast_of(world: World) -> Forecast:
    return Forecast(DEFAULT_HUB, world.store, world.clock, lambda: [("server", root("Server").certificate)])


def rolls_of(world: World) -> Rolls:
    return Rolls(DEFAULT_HUB, world.store, world.enrollments, world.cas, world.clock)


def attempt(name: str, issued: Issued, count: int | None = None, *, after: timedelta = timedelta()) -> Attempt:
    chain = issued.sends(count).certificates
    return Attempt(NOW + after, DEFAULT_HUB, "hub.mqtt", "T", "127.0.0.1:1", name, chain, credential="x509")


async def connect(
    world: World,
    sightings: Sightings,
    name: str,
    issued: Issued,
    count: int | None = None,
    *,
    by: Authentication = BY_GROUP,
) -> None:
    registry = IdentityRegistry(world.store)
    if world.identity(name) is None:
        draft = IdentityDraft(IdentityName(DeviceId(name)), by)
        await registry.create(DEFAULT_HUB, draft, NOW)
    sightings.heard(attempt(name, issued, count))


def seen(world: World, name: str) -> Sighting | None:
    return world.store.read().sightings.find(DEFAULT_HUB, IdentityName(DeviceId(name)))


async def test_what_a_device_showed_is_kept_with_the_chain_above_it(world: World) -> None:
    await world.enroll_group(LINE, COMPANY.certificate)
    sightings = sightings_of(world)
    leaf = device(TECHNICIAN, "pump-01")
    await connect(world, sightings, "pump-01", leaf)
    await sightings.flush()
    found = seen(world, "pump-01")
    assert found is not None
    assert (found.thumbprint, found.not_after) == (leaf.certificate.sha256, leaf.certificate.not_after)
    assert (found.issuer, found.previous) == ("CN=Technician-Z", "")
    (path,) = world.store.read().sightings.paths(DEFAULT_HUB)
    # The root was not sent: it is known because the group holds it.
    assert [each.subject for each in path.certificates] == ["CN=Technician-Z", "CN=Factory-Y", "CN=Company-X"]
    assert path.sample == leaf.sends().certificates


async def test_a_certificate_that_is_known_is_written_again_once_an_hour_and_a_new_one_at_once(world: World) -> None:
    sightings = sightings_of(world)
    first, second = device(COMPANY, "pump-01"), device(COMPANY, "pump-01", label="second")
    await connect(world, sightings, "pump-01", first)
    await sightings.flush()
    times = []
    for minutes in (30, 61):
        sightings.heard(attempt("pump-01", first, after=timedelta(minutes=minutes)))
        await sightings.flush()
        found = seen(world, "pump-01")
        assert found is not None
        times.append(found.last_seen - NOW)
    assert times == [timedelta(), timedelta(minutes=61)]
    sightings.heard(attempt("pump-01", second, after=timedelta(minutes=62)))
    await sightings.flush()
    found = seen(world, "pump-01")
    assert found is not None
    assert (found.thumbprint, found.previous) == (second.certificate.sha256, first.certificate.sha256)
    assert found.first_seen == NOW + timedelta(minutes=62)


async def test_who_shows_the_same_certificate_within_the_hour_is_not_looked_up_again(world: World) -> None:
    asked: list[None] = []
    sightings, leaf = sightings_of(world, asked), device(COMPANY, "pump-01")
    await connect(world, sightings, "pump-01", leaf)
    looked_up = []
    for minutes in (0, 1, 59, 60):
        sightings.heard(attempt("pump-01", leaf, after=timedelta(minutes=minutes)))
        await sightings.flush()
        looked_up.append(len(asked))
    assert looked_up == [1, 1, 1, 2]
    # A hub that was started again looks once, and keeps to the time that is written.
    again: list[None] = []
    sightings = sightings_of(world, again)
    looked_up = []
    for minutes in (90, 119, 120, 121):
        sightings.heard(attempt("pump-01", leaf, after=timedelta(minutes=minutes)))
        await sightings.flush()
        looked_up.append(len(again))
    assert looked_up == [1, 1, 2, 2]
    found = seen(world, "pump-01")
    assert found is not None and found.last_seen == NOW + timedelta(minutes=120)


async def test_of_two_certificates_in_turn_the_last_is_kept(world: World) -> None:
    sightings = sightings_of(world)
    first, second = device(COMPANY, "pump-01"), device(COMPANY, "pump-01", label="second")
    await connect(world, sightings, "pump-01", first)
    await sightings.flush()
    for issued in (second, first):
        sightings.heard(attempt("pump-01", issued, after=timedelta(minutes=1)))
    await sightings.flush()
    found = seen(world, "pump-01")
    assert found is not None and (found.thumbprint, found.previous) == (first.certificate.sha256, "")


async def test_a_device_that_is_made_again_is_seen_at_its_first_connection(world: World) -> None:
    sightings, registry, leaf = sightings_of(world), IdentityRegistry(world.store), device(COMPANY, "pump-01")
    world.bus.subscribe(sightings.told)
    await connect(world, sightings, "pump-01", leaf)
    await sightings.flush()
    await registry.delete(DEFAULT_HUB, IdentityName(DeviceId("pump-01")))
    await connect(world, sightings, "pump-01", leaf)
    await sightings.flush()
    assert seen(world, "pump-01") is not None


async def test_what_was_not_written_yet_is_nothing_of_the_next_device_of_that_name(world: World) -> None:
    sightings, registry = sightings_of(world), IdentityRegistry(world.store)
    world.bus.subscribe(sightings.told)
    await connect(world, sightings, "pump-01", device(COMPANY, "pump-01"))
    await registry.delete(DEFAULT_HUB, IdentityName(DeviceId("pump-01")))
    await registry.create(DEFAULT_HUB, IdentityDraft(IdentityName(DeviceId("pump-01")), BY_GROUP), NOW)
    await sightings.flush()
    assert seen(world, "pump-01") is None


async def test_what_failed_to_be_written_is_heard_at_the_next_connection(world: World) -> None:
    sightings, leaf = sightings_of(world), device(COMPANY, "pump-01")
    await connect(world, sightings, "pump-01", leaf)
    write = world.store.write

    async def fails(_work: object) -> object:
        raise OSError("a fault that nobody foresaw")

    world.store.write = fails  # type: ignore[method-assign, assignment]  # a fault, and not a refusal
    with pytest.raises(OSError, match="nobody foresaw"):
        await sightings.flush()
    world.store.write = write  # type: ignore[method-assign]  # and it is over
    sightings.heard(attempt("pump-01", leaf))
    await sightings.flush()
    assert seen(world, "pump-01") is not None


async def test_what_is_remembered_of_devices_stays_small_and_the_others_are_seen_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.fleet.sightings._MAX_REMEMBERED", 1)
    asked: list[None] = []
    sightings = sightings_of(world, asked)
    leaves = {name: device(COMPANY, name) for name in ("pump-01", "pump-02")}
    for name, leaf in leaves.items():
        await connect(world, sightings, name, leaf)
    await sightings.flush()
    assert None not in (seen(world, "pump-01"), seen(world, "pump-02"))
    looked_up = []
    for name in ("pump-01", "pump-02", "pump-02"):
        sightings.heard(attempt(name, leaves[name]))
        await sightings.flush()
        looked_up.append(len(asked))
    assert looked_up == [1, 2, 3]
    # Within the hour the place of those who stay away is free again.
    await sightings.sweep()
    for name in ("pump-02", "pump-02"):
        sightings.heard(attempt(name, leaves[name]))
        await sightings.flush()
    assert len(asked) == 4


async def test_the_chain_whose_leaf_ends_last_stands_for_its_path(world: World) -> None:
    sightings = sightings_of(world)
    lives = {"pump-01": 20, "pump-02": 40, "pump-03": 30}
    leaves = {name: device(COMPANY, name, lifetime=days * DAY) for name, days in lives.items()}
    await world.enroll_group(LINE, COMPANY.certificate)
    for name, leaf in leaves.items():
        await connect(world, sightings, name, leaf)
        await sightings.flush()
    (path,) = world.store.read().sightings.paths(DEFAULT_HUB)
    assert path.sample == leaves["pump-02"].sends().certificates


async def test_only_what_was_let_in_at_the_hub_with_a_certificate_counts(world: World) -> None:
    sightings, leaf = sightings_of(world), device(COMPANY, "pump-01")
    await connect(world, sightings, "pump-01", leaf)
    await sightings.flush()
    other = attempt("pump-01", device(COMPANY, "pump-01", label="other"))
    for wrong in (
        replace(other, reason="chain.expired"),
        replace(other, credential="token"),
        replace(other, chain=()),
        replace(other, door="dps.mqtt"),
        replace(other, claimed_id="deleted-meanwhile"),
    ):
        sightings.heard(wrong)
    await sightings.flush()
    found = seen(world, "pump-01")
    assert found is not None and found.thumbprint == leaf.certificate.sha256
    assert seen(world, "deleted-meanwhile") is None


async def test_who_claims_an_issuer_that_did_not_sign_has_no_chain(world: World) -> None:
    sightings, fake = sightings_of(world), root("Company-X", label="fake")
    leaf = device(COMPANY, "pump-01")
    await connect(world, sightings, "pump-01", Issued(leaf.certificate, leaf.key, (fake.certificate,)), 2)
    await connect(world, sightings, "pump-02", self_signed("pump-02"))
    await sightings.flush()
    assert [found.path_id for name in ("pump-01", "pump-02") if (found := seen(world, name))] == [NO_PATH, NO_PATH]


async def test_what_cannot_be_written_now_is_written_later_and_goes_with_its_device(world: World) -> None:
    sightings = sightings_of(world)
    await connect(world, sightings, "pump-01", device(COMPANY, "pump-01"))
    write = world.store.write

    async def refuses(_work: object) -> object:
        raise Unavailable("store.full", "no room")

    world.store.write = refuses  # type: ignore[method-assign, assignment]  # a disk that is full for a moment
    await sightings.flush()
    world.store.write = write  # type: ignore[method-assign]  # and has room again
    await sightings.flush()
    assert seen(world, "pump-01") is not None
    await IdentityRegistry(world.store).delete(DEFAULT_HUB, IdentityName(DeviceId("pump-01")))
    assert seen(world, "pump-01") is None
    await sightings.sweep()
    assert world.store.read().sightings.paths(DEFAULT_HUB) == []


async def test_the_forecast_counts_leaves_lists_authorities_and_narrows_to_organisations(world: World) -> None:
    await world.enroll_group(LINE, COMPANY.certificate, vouched=False)
    sightings = sightings_of(world)
    for name, late in (("pump-01", 0), ("pump-02", 0), ("pump-03", 10)):
        await connect(world, sightings, name, device(TECHNICIAN, name, now=NOW + late * DAY))
    await sightings.flush()
    outlook = await forecast_of(world).look(OWNER)
    told = {(each.kind, each.certificate.subject): (each.devices, each.is_trusted) for each in outlook.authorities}
    assert told == {
        ("server", "CN=Server"): (0, True),
        ("group", "CN=Company-X"): (3, False),
        ("intermediate", "CN=Factory-Y"): (3, True),
        ("intermediate", "CN=Technician-Z"): (3, True),
    }
    assert (outlook.devices, outlook.expired, outlook.within(LIFETIME), outlook.within(2 * LIFETIME)) == (3, 0, 2, 3)
    curve = [each.devices for each in remaining(outlook, 5 * DAY, 9)]
    assert (curve[0], curve[-1]) == (3, 0) and 1 in curve
    ending = await forecast_of(world).ending(OWNER, NOW, NOW + LIFETIME + DAY, 10)
    assert [each.name.device_id for each in ending] == ["pump-01", "pump-02"]
    nobody = replace(OWNER, organizations=frozenset({OrganizationId("elsewhere")}))
    assert (await forecast_of(world).look(nobody)).devices == 0


async def test_a_certificate_without_end_is_counted_as_good_for_ever(world: World) -> None:
    sightings = sightings_of(world)
    forever = odd("pump-01", not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    await connect(world, sightings, "pump-01", Issued(forever, key_of("odd")), by=ByThumbprint(forever.sha256, None))
    await sightings.flush()
    outlook = await forecast_of(world).look(OWNER)
    assert (outlook.devices, outlook.expired, outlook.within(2 * LIFETIME)) == (1, 0, 0)
    assert [each.devices for each in remaining(outlook, DAY, 2)] == [1, 1, 1]


async def test_a_rehearsal_says_who_stays_and_who_is_left_outside(world: World) -> None:
    group = await world.enroll_group(LINE, COMPANY.certificate, FACTORY.certificate)
    sightings, other = sightings_of(world), root("Company-W")
    newcomer = intermediate(other, "Factory-W")
    for name, issued, count in (
        ("below-factory", device(TECHNICIAN, "below-factory"), None),
        ("leaf-alone", device(FACTORY, "leaf-alone"), 1),
        ("below-root", device(COMPANY, "below-root"), None),
        ("changed-over", device(newcomer, "changed-over"), 2),
        ("stranger", device(root("Nobody"), "stranger"), None),
    ):
        await connect(world, sightings, name, issued, count)
    await sightings.flush()
    rolls = rolls_of(world)
    rehearsal = await rolls.rehearse(OWNER, group, "primary", other.certificate, NO_WAIVERS)
    assert (rehearsal.fine_devices, rehearsal.stranded_devices) == (3, 1)
    assert [each.reason for each in rehearsal.stranded] == ["chain.incomplete"]
    left = await rolls.devices_below(OWNER, LINE, rehearsal.stranded_paths, 10)
    assert [each.name.device_id for each in left] == ["below-root"]

    # The factory goes: whoever sends it along is below the root all the same, a leaf alone is not.
    rehearsal = await rolls.rehearse(OWNER, group, "secondary", None, NO_WAIVERS)
    assert [(each.reason, each.devices) for each in rehearsal.stranded] == [("chain.incomplete", 1)]


async def test_only_who_hangs_on_the_ca_is_stranded_by_it(world: World) -> None:
    group = await world.enroll_group(LINE, COMPANY.certificate)
    await world.cas.upload(DEFAULT_HUB, "hub", CAName("plant"), COMPANY.certificate.pem, NOW, by="tests", vouched=True)
    sightings, rolls = sightings_of(world), rolls_of(world)
    leaves = {name: device(COMPANY, name) for name in ("by-group", "by-hub", "by-print")}
    await connect(world, sightings, "by-group", leaves["by-group"])
    await connect(world, sightings, "by-hub", leaves["by-hub"], by=ByAuthority())
    pin = ByThumbprint(leaves["by-print"].certificate.sha256)
    await connect(world, sightings, "by-print", leaves["by-print"], by=pin)
    await sightings.flush()
    of_group = await rolls.rehearse(OWNER, group, "primary", None, NO_WAIVERS)
    at_hub = await rolls.rehearse_registered(OWNER, CAName("plant"), None, NO_WAIVERS)
    for rehearsal, name in ((of_group, "by-group"), (at_hub, "by-hub")):
        assert (rehearsal.fine_devices, rehearsal.stranded_devices) == (0, 1)
        left = await rolls.devices_below(OWNER, rehearsal.binding, rehearsal.stranded_paths, 10)
        assert [each.name.device_id for each in left] == [name]


async def test_a_roll_is_done_followed_and_undone(world: World) -> None:
    group = await world.enroll_group(LINE, COMPANY.certificate)
    sightings, rolls, new = sightings_of(world), rolls_of(world), root("Company-W")
    for name in ("pump-01", "pump-02"):
        await connect(world, sightings, name, device(COMPANY, name))
    await sightings.flush()
    roll = await rolls.roll(LINE, "primary", new.certificate, if_match=group.etag, by="user:ada")
    assert rolls.find(LINE) == roll
    assert [held.certificate for _, held in slots(world)] == [new.certificate]
    assert slots(world)[0][1].proof == "vouched"
    await connect(world, sightings, "pump-01", device(new, "pump-01"))
    await sightings.flush()
    progress = await rolls.progress(OWNER, roll)
    assert (progress.changed, progress.waiting) == (1, 1)
    left = await rolls.devices_below(OWNER, LINE, progress.waiting_paths, 10)
    assert [each.name.device_id for each in left] == ["pump-02"]

    await rolls.undo(GroupSlot(LINE, "primary"), by="user:ada")
    assert [held.certificate for _, held in slots(world)] == [COMPANY.certificate]
    assert rolls.find(LINE) is None
    with pytest.raises(NotFound):
        await rolls.undo(GroupSlot(LINE, "primary"), by="user:ada")


async def test_a_certificate_that_let_nobody_in_lets_nobody_in_when_its_roll_is_undone(world: World) -> None:
    group = await world.enroll_group(LINE, COMPANY.certificate, vouched=False)
    rolls = rolls_of(world)
    await rolls.roll(LINE, "primary", FACTORY.certificate, if_match=group.etag, by="tests")
    await rolls.undo(GroupSlot(LINE, "primary"), by="tests")
    assert [(held.certificate, held.proof) for _, held in slots(world)] == [(COMPANY.certificate, "none")]
    # The same of a CA that is registered at the hub.
    plant = CAName("plant")
    ca = await world.cas.upload(DEFAULT_HUB, "hub", plant, COMPANY.certificate.pem, NOW, by="tests")
    await rolls.roll_registered(plant, FACTORY.certificate, if_match=version_etag(ca.version), by="tests")
    assert world.cas.get(DEFAULT_HUB, "hub", plant).is_verified
    await rolls.undo(HubCA(plant), by="tests")
    present = world.cas.get(DEFAULT_HUB, "hub", plant)
    assert (present.certificate, present.proof) == (COMPANY.certificate, "none")


async def test_a_ca_of_the_hub_is_rolled_followed_and_undone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="moorage.audit")
    name, new = CAName("Plant"), root("Company-W")
    ca = await world.cas.upload(DEFAULT_HUB, "hub", name, COMPANY.certificate.pem, NOW, by="tests", vouched=True)
    sightings, rolls = sightings_of(world), rolls_of(world)
    for device_id in ("pump-01", "pump-02", "pump-03"):
        await connect(world, sightings, device_id, device(COMPANY, device_id), by=ByAuthority())
    await sightings.flush()
    with pytest.raises(PreconditionFailed):
        await rolls.roll_registered(name, new.certificate, if_match=ETag("stale"), by="user:ada")
    assert await rolls.all([]) == []
    roll = await rolls.roll_registered(name, new.certificate, if_match=version_etag(ca.version), by="user:ada")
    assert roll.place == HubCA(name) and roll.was_proven
    assert rolls.find_registered(CAName("plant")) == roll
    assert await rolls.all([LINE]) == [roll]
    assert world.cas.get(DEFAULT_HUB, "hub", name).certificate == new.certificate
    assert world.cas.get(DEFAULT_HUB, "hub", name).proof == "vouched"

    await connect(world, sightings, "pump-02", device(new, "pump-02"), by=ByAuthority())
    await sightings.flush()
    progress = await rolls.progress(OWNER, roll)
    assert (progress.changed, progress.waiting) == (1, 2)
    first = await rolls.devices_below(OWNER, roll.binding, progress.waiting_paths, 1)
    rest = await rolls.devices_below(OWNER, roll.binding, progress.waiting_paths, 10, str(first[0].name))
    assert [str(each.name) for each in (*first, *rest)] == ["pump-01", "pump-03"]

    await rolls.undo(HubCA(name), by="user:ada")
    assert world.cas.get(DEFAULT_HUB, "hub", name).certificate == COMPANY.certificate
    assert rolls.find_registered(name) is None
    records: list[Any] = [each for each in caplog.records if each.name == "moorage.audit"]
    events = [each.event for each in records if each.event.startswith("ca.roll")]
    assert events == ["ca.rolled", "ca.roll_undone"]

    present = world.cas.get(DEFAULT_HUB, "hub", name)
    await rolls.roll_registered(name, new.certificate, if_match=version_etag(present.version), by="user:ada")
    await world.cas.replace(DEFAULT_HUB, "hub", name, FACTORY.certificate.pem, NOW, by="tests", if_match=None)
    with pytest.raises(Conflict, match=r"roll\.overtaken"):
        await rolls.undo(HubCA(name), by="user:ada")
    with pytest.raises(NotFound, match=r"ca\.unknown"):
        await rolls.roll_registered(CAName("nobody"), new.certificate, if_match=ETag(""), by="user:ada")


async def test_a_roll_that_another_change_has_overtaken_is_not_undone(world: World) -> None:
    group = await world.enroll_group(LINE, COMPANY.certificate)
    rolls = rolls_of(world)
    await rolls.roll(LINE, "primary", FACTORY.certificate, if_match=group.etag, by="tests")
    await world.enroll_group(LINE, TECHNICIAN.certificate, if_match="*")
    with pytest.raises(Conflict) as refusal:
        await rolls.undo(GroupSlot(LINE, "primary"), by="tests")
    assert refusal.value.reason == "roll.overtaken"
    assert [held.certificate for _, held in slots(world)] == [TECHNICIAN.certificate]


async def test_where_nobodys_word_counts_a_roll_changes_nothing() -> None:
    world = World(vouching=False)
    group = await world.enroll_group(LINE, COMPANY.certificate)
    with pytest.raises(Conflict) as refusal:
        await rolls_of(world).roll(LINE, "primary", FACTORY.certificate, if_match=group.etag, by="tests")
    assert refusal.value.reason == "enrollment.vouching_off"
    name = CAName("plant")
    ca = await world.cas.upload(DEFAULT_HUB, "hub", name, COMPANY.certificate.pem, NOW, by="tests", vouched=True)
    with pytest.raises(Conflict, match=r"enrollment\.vouching_off"):
        etag = version_etag(ca.version)
        await rolls_of(world).roll_registered(name, FACTORY.certificate, if_match=etag, by="tests")
    assert world.cas.get(DEFAULT_HUB, "hub", name) == ca
    assert [held.certificate for _, held in slots(world)] == [COMPANY.certificate]
    await world.close()


def slots(world: World) -> list[tuple[Slot, SigningCertificate]]:
    return list(signing_certificates(world.enrollments.get_group(LINE).attestation))
