"""Revocation that bites: lists and answers cut sessions and keep devices out, and say why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.certificates.revocation_model import issuer_id_of
from moorage.errors import Conflict, Invalid, NotFound, Refusal
from moorage.hub.sessions import LocalSessionDirectory
from moorage.identities.owner import OwnerKey
from moorage.pki.list_issuing import issue_revocation_list
from moorage.pki.revocation_lists import Entry
from moorage.protocols.mqtt.packets import PingReq, PingResp
from tests import certs
from tests.servers.clients import CUT_S, Client, return_code
from tests.servers.revoking import WEEK, add_list, answer_of, crl, serving, with_signers
from tests.servers.world import World, eventually, running
from tests.unit.pki.lists import entry, odd_list

ROOT = certs.root("Plant Root")
LINE = certs.intermediate(ROOT, "Plant Line 7")
OTHER_KEY = certs.root("Plant Root", label="other key")


SHORT = timedelta(minutes=30)


def number(value: int) -> tuple[x509.ExtensionType, bool]:
    return x509.CRLNumber(value), False


def delta_of(value: int) -> tuple[x509.ExtensionType, bool]:
    return x509.DeltaCRLIndicator(value), True


def reason(flag: x509.ReasonFlags) -> tuple[x509.ExtensionType, bool]:
    return x509.CRLReason(flag), False


INDIRECT = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)


@asynccontextmanager
async def responder(world: World, revoked: set[int]) -> AsyncIterator[list[int]]:
    """An OCSP responder with the root's own key, which the hub is told of; what it was asked about."""
    asked: list[int] = []

    def is_revoked(serial: int) -> bool:
        asked.append(serial)
        return serial in revoked

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        now = world.clock.now()
        return 200, {}, answer_of(body, ROOT, revoked=is_revoked, now=now, life=timedelta(minutes=10))

    async with serving(answer) as url:
        await world.app.revocation.service.configure(ROOT.certificate, by="tests", ocsp_url=url)
        yield asked


async def is_alive(client: Client) -> bool:
    client.say(PingReq())
    return await client.next() == PingResp()


async def refused(world: World, name: str, issued: certs.Issued) -> str:
    """The reason for which it is kept out."""
    client = await world.dial(issued)
    assert return_code(await client.say_hello(name)) == 5
    return await world.reason(name) or ""


async def signed(world: World, name: str = "pump-01", *, ca: certs.Issued = ROOT) -> certs.Issued:
    """A device below the proven root, with its leaf."""
    await world.create_by_authority(name, ca=ROOT)
    return certs.device(ca, name)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Two apps that share a store, a bus and a session directory (decisions S1)."""
    bus = LocalBus()
    store = SqliteStore(MEMORY, secrets_key=bytes(32), bus=bus)
    directory = LocalSessionDirectory(bus)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        apps = [
            await stack.enter_async_context(
                running(tmp_path / name, store=store, bus=bus, directory=directory, egress_allow="127.0.0.1")
            )
            for name in ("a", "b")
        ]
        yield apps[0], apps[1]


class TestLists:
    async def test_a_leaf_on_a_list_is_cut_and_kept_out_and_others_stay(self, world: World) -> None:
        pump, valve = await signed(world), await signed(world, "valve-01")
        one, other = await world.connect(issued=pump), await world.connect("valve-01", valve)
        await add_list(world, crl(ROOT, pump, number=7))
        assert await one.rest(CUT_S) == []
        assert await is_alive(other)
        assert await refused(world, "pump-01", pump) == "chain.revoked"
        attempt = (await world.attempts("pump-01"))[0]
        assert attempt.message is not None
        assert "keyCompromise" in attempt.message and "the list 7 of 'CN=Plant Root'" in attempt.message
        assert f"{certs.NOW:%Y-%m-%d}" in attempt.message

    async def test_an_intermediate_on_a_list_cuts_whoever_came_by_it(self, world: World) -> None:
        below, beside = await signed(world, ca=LINE), await signed(world, "valve-01")
        one, other = await world.connect(issued=below), await world.connect("valve-01", beside)
        await add_list(world, crl(ROOT, LINE))
        assert await one.rest(CUT_S) == []
        assert await is_alive(other)
        assert await refused(world, "pump-01", below) == "chain.revoked"

    async def test_the_list_of_an_intermediate_is_taken_with_its_certificate(self, world: World) -> None:
        pump = await signed(world, ca=LINE)
        client = await world.connect(issued=pump)
        with pytest.raises(Invalid) as caught:
            await add_list(world, crl(LINE, pump))
        assert caught.value.reason == "crl.unknown_issuer"
        state = await add_list(world, with_signers(crl(LINE, pump), LINE.certificate))
        assert state.issuer.certificate == LINE.certificate
        assert await client.rest(CUT_S) == []

    async def test_what_is_revoked_on_one_app_is_cut_on_the_other(self, two: tuple[World, World]) -> None:
        here, there = two
        pump = await signed(here)
        client = await there.connect(issued=pump)
        await add_list(here, crl(ROOT, pump))
        assert await client.rest(CUT_S) == []
        assert await refused(there, "pump-01", pump) == "chain.revoked"

    async def test_a_restart_remembers(self, tmp_path: Path) -> None:
        async with running(tmp_path / "hub") as world:
            pump = await signed(world)
            await add_list(world, crl(ROOT, pump))
        async with running(tmp_path / "hub") as world:
            assert await refused(world, "pump-01", pump) == "chain.revoked"

    async def test_a_list_by_another_ca_of_the_same_name_is_not_taken(self, world: World) -> None:
        pump = await signed(world)
        client = await world.connect(issued=pump)
        for content in (crl(OTHER_KEY, pump), with_signers(crl(OTHER_KEY, pump), OTHER_KEY.certificate)):
            with pytest.raises(Invalid) as caught:
                await add_list(world, content)
            assert caught.value.reason in ("crl.signature", "crl.unvouched")
        assert await is_alive(client)

    async def test_an_older_list_does_not_take_back_what_a_later_one_revoked(self, world: World) -> None:
        pump = await signed(world)
        latest = crl(ROOT, pump, number=2)
        await add_list(world, latest)
        for number in (1, 2):
            with pytest.raises(Conflict) as caught:
                await add_list(world, crl(ROOT, number=number))
            assert caught.value.reason == "crl.older"
        await add_list(world, latest)
        assert await refused(world, "pump-01", pump) == "chain.revoked"
        await add_list(world, crl(ROOT, number=3))
        await world.connect(issued=pump)

    async def test_a_delta_adds_and_takes_back(self, world: World) -> None:
        pump = await signed(world)
        base = odd_list(ROOT, extensions=[number(4)])
        await add_list(world, base)
        client = await world.connect(issued=pump)
        held = entry(pump.certificate.serial_number, reason(x509.ReasonFlags.certificate_hold))
        await add_list(world, odd_list(ROOT, held, extensions=[number(5), delta_of(4)]))
        assert await client.rest(CUT_S) == []
        freed = entry(pump.certificate.serial_number, reason(x509.ReasonFlags.remove_from_crl))
        await add_list(world, odd_list(ROOT, freed, extensions=[number(6), delta_of(4)]))
        await world.connect(issued=pump)

    async def test_an_indirect_list_and_one_from_the_future_are_not_taken(self, world: World) -> None:
        await signed(world)
        for content, why in (
            (odd_list(ROOT, extensions=[number(1), (INDIRECT, True)]), "crl.indirect"),
            (crl(ROOT, now=certs.NOW + timedelta(hours=1)), "crl.from_the_future"),
            (b"no list", "crl.malformed"),
        ):
            with pytest.raises(Refusal) as caught:
                await add_list(world, content)
            assert caught.value.reason == why

    async def test_forgetting_a_publisher_lets_its_devices_back_in(self, world: World) -> None:
        pump = await signed(world)
        await add_list(world, crl(ROOT, pump))
        service = world.app.revocation.service
        issuer_id = issuer_id_of(ROOT.certificate.subject_key)
        await service.forget(issuer_id, by="tests")
        await world.connect(issued=pump)
        with pytest.raises(NotFound):
            service.get(issuer_id)


class TestPolicies:
    async def test_nobody_is_asked_about_a_ca_without_a_list(self, world: World) -> None:
        pump = await signed(world)
        await world.connect(issued=pump)
        (attempt,) = await world.attempts("pump-01", 1)
        assert not [check for check in attempt.checks if check.name.startswith("chain.revo")]

    async def test_hard_without_a_list_keeps_new_logins_out_and_cuts_nobody(self, world: World) -> None:
        pump = await signed(world)
        client = await world.connect(issued=pump)
        await world.app.revocation.service.configure(ROOT.certificate, by="tests", policy="hard")
        assert await is_alive(client)
        assert await refused(world, "pump-01", pump) == "chain.revocation_unknown"
        attempt = (await world.attempts("pump-01"))[0]
        assert attempt.fix == "moorage ca crl add FILE"
        await add_list(world, crl(ROOT))
        await world.connect(issued=pump)

    async def test_an_overdue_list_stops_new_logins_when_hard_and_not_when_soft(self, world: World) -> None:
        pump, valve = await signed(world), await signed(world, "valve-01")
        await add_list(world, crl(ROOT, valve, life=SHORT))
        client = await world.connect(issued=pump, keep_alive_s=0)
        known, service = world.app.revocation.known, world.app.revocation.service
        assert known.warnings(world.clock.now()) == []
        world.turn(25 * 60)
        assert await is_alive(client)
        assert [each.kind for each in known.warnings(world.clock.now())] == ["crl.nearly_overdue"]
        world.turn(15 * 60)
        assert [each.kind for each in known.warnings(world.clock.now())] == ["crl.overdue"]
        assert await refused(world, "valve-01", valve) == "chain.revoked"
        await service.configure(ROOT.certificate, by="tests", policy="hard")
        assert await is_alive(client)
        assert await refused(world, "pump-01", pump) == "chain.revocation_unknown"
        message = (await world.attempts("pump-01"))[0].message
        assert message is not None and "is too old" in message
        await service.configure(ROOT.certificate, by="tests", policy="soft")
        await world.connect(issued=pump)
        (attempt,) = await world.attempts("pump-01", 1)
        (unknown,) = [each for each in attempt.checks if each.name == "chain.revocation_unknown"]
        assert unknown.passed is None and "is too old" in unknown.detail

    async def test_off_looks_at_nothing_and_switching_on_cuts_who_is_on_the_list(self, world: World) -> None:
        pump = await signed(world)
        service = world.app.revocation.service
        await service.configure(ROOT.certificate, by="tests", policy="off")
        await add_list(world, crl(ROOT, pump))
        client = await world.connect(issued=pump)
        await service.configure(ROOT.certificate, by="tests", policy=None)
        assert await client.rest(CUT_S) == []

    async def test_a_stranger_to_all_registered_cas_has_no_policy(self, world: World) -> None:
        await signed(world)
        stranger = certs.root("Stranger")
        with pytest.raises(Invalid) as caught:
            await world.app.revocation.service.configure(stranger.certificate, by="tests", policy="hard")
        assert caught.value.reason == "crl.unvouched"


class TestFetching:
    async def test_a_list_is_fetched_in_time_and_cuts(self, tmp_path: Path) -> None:
        async with running(tmp_path / "hub", egress_allow="127.0.0.1") as world:
            pump = await signed(world)
            client = await world.connect(issued=pump, keep_alive_s=0)
            lists, asked = [crl(ROOT, life=SHORT)], list[dict[str, str]]()

            def answer(
                _method: str, _path: str, headers: dict[str, str], _body: bytes
            ) -> tuple[int, dict[str, str], bytes]:
                asked.append(headers)
                etag = f'"{len(lists)}"'
                if headers.get("if-none-match") == etag:
                    return 304, {}, b""
                return 200, {"etag": etag}, lists[-1]

            async with serving(answer) as url:
                parts = world.app.revocation
                state = await parts.service.configure(ROOT.certificate, by="tests", crl_url=f"{url}/plant.crl")
                issuer_id = state.issuer.issuer_id
                await parts.fetcher.fetch_due()
                (stored,) = parts.service.get(issuer_id).lists
                assert (stored.number, stored.entries) == (1, 0)
                await parts.fetcher.fetch_due()
                assert len(asked) == 1
                world.turn(16 * 60)
                await parts.fetcher.fetch_due()
                assert asked[1]["if-none-match"] == '"1"'
                assert await is_alive(client)
                lists.append(crl(ROOT, pump, number=2))
                world.turn(8 * 60)
                await parts.fetcher.fetch_due()
                assert await client.rest(CUT_S) == []

    async def test_a_failure_is_told_and_tried_again_later_and_later(self, tmp_path: Path) -> None:
        async with running(tmp_path / "hub", egress_allow="127.0.0.1") as world:
            await signed(world)
            contents = [(500, b""), (200, b"rubbish"), (200, crl(certs.root("Plant Line 7"))), (200, crl(ROOT))]

            def answer(*_request: object) -> tuple[int, dict[str, str], bytes]:
                status, content = contents.pop(0)
                return status, {}, content

            async with serving(answer) as url:
                parts = world.app.revocation
                state = await parts.service.configure(ROOT.certificate, by="tests", crl_url=url)
                pauses = []
                for reason in ("crl.not_served", "crl.malformed", "crl.another_issuer"):
                    await parts.fetcher.fetch_due()
                    issuer = parts.service.get(state.issuer.issuer_id).issuer
                    assert issuer.failed is not None and issuer.failed.startswith(reason)
                    assert issuer.next_fetch is not None
                    pauses.append((issuer.next_fetch - world.clock.now()).total_seconds())
                    world.turn(pauses[-1] + 1)
                assert 48 <= pauses[0] <= 60 and 96 <= pauses[1] <= 120 and 192 <= pauses[2] <= 240
                await parts.fetcher.fetch_due()
                issuer = parts.service.get(state.issuer.issuer_id).issuer
                assert (issuer.failed, issuer.failures) == (None, 0)

    async def test_loopback_is_not_called_unless_it_is_allowed(self, world: World) -> None:
        await signed(world)
        parts = world.app.revocation
        state = await parts.service.configure(ROOT.certificate, by="tests", crl_url="http://127.0.0.1:9/plant.crl")
        with pytest.raises(Refusal) as caught:
            await parts.fetcher.fetch(state.issuer.issuer_id, by="tests")
        assert caught.value.reason == "egress.not_allowed"

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "https://", "https://me:secret@ca.example/", "http://a b/"])
    async def test_what_is_no_url_is_not_kept(self, world: World, url: str) -> None:
        await signed(world)
        with pytest.raises(Invalid) as caught:
            await world.app.revocation.service.configure(ROOT.certificate, by="tests", crl_url=url)
        assert caught.value.reason == "crl.url"


class TestOcsp:
    async def test_who_is_called_revoked_is_cut_and_kept_out(self, two: tuple[World, World]) -> None:
        here, there = two
        pump, valve = await signed(here), await signed(here, "valve-01")
        revoked: set[int] = set()
        async with responder(here, revoked) as asked:
            clients = [
                await here.connect(issued=pump, keep_alive_s=0),
                await there.connect("valve-01", valve, keep_alive_s=0),
            ]
            await eventually(lambda: len(asked) == 2)
            assert [await is_alive(client) for client in clients] == [True, True]
            revoked |= {pump.certificate.serial_number, valve.certificate.serial_number}
            for world in two:
                world.turn(400)
                await world.app.revoked.ask(world.app.revocation.asker)
            for client in clients:
                assert await client.rest(CUT_S) == []
            for world in two:
                assert await refused(world, "pump-01", pump) == "chain.revoked"
        # The responder is gone, and what it said is not.
        assert await refused(there, "valve-01", valve) == "chain.revoked"
        message = (await there.attempts("valve-01"))[0].message
        assert message is not None and "the OCSP responder of 'CN=Plant Root'" in message

    async def test_who_was_on_hold_comes_back_when_the_responder_says_so(self, two: tuple[World, World]) -> None:
        here, there = two
        pump = await signed(here)
        revoked = {pump.certificate.serial_number}
        async with responder(here, revoked):
            client = await here.connect(issued=pump)
            assert await client.rest(CUT_S) == []
            known = [world.app.revocation.known for world in two]
            assert await refused(there, "pump-01", pump) == "chain.revoked"
            # That attempt asks too: of what it is told only the answer after this one is news.
            serial = pump.certificate.serial_number
            await eventually(lambda: not known[1].is_to_be_asked(ROOT.certificate, serial, there.clock.now()))
            revoked.clear()
            there.turn(400)
            # Asked again, by the attempt.
            assert await refused(there, "pump-01", pump) == "chain.revoked"
            await eventually(
                lambda: not any(each.is_held_revoked(pump.certificate, ROOT.certificate) for each in known)
            )
            await here.connect(issued=pump)
            await there.connect(issued=pump)

    async def test_under_hard_nobody_comes_in_before_the_answer(self, tmp_path: Path) -> None:
        async with running(tmp_path / "hub", egress_allow="127.0.0.1") as world:
            pump = await signed(world)
            async with responder(world, set()) as asked:
                await world.app.revocation.service.configure(ROOT.certificate, by="tests", policy="hard")
                assert await refused(world, "pump-01", pump) == "chain.revocation_unknown"
                (attempt,) = await world.attempts("pump-01", 1)
                assert attempt.message is not None and "it is asked now" in attempt.message
                await eventually(lambda: asked)
                known = world.app.revocation.known
                await eventually(
                    lambda: (
                        not known.is_to_be_asked(ROOT.certificate, pump.certificate.serial_number, world.clock.now())
                    )
                )
                await world.connect(issued=pump)

    async def test_a_responder_that_is_silent_or_lies_decides_nothing(self, tmp_path: Path) -> None:
        async with running(tmp_path / "hub", egress_allow="127.0.0.1") as world:
            pump = await signed(world)
            parts = world.app.revocation

            def answer(
                _method: str, _path: str, _headers: dict[str, str], body: bytes
            ) -> tuple[int, dict[str, str], bytes]:
                return 200, {}, answer_of(body, OTHER_KEY, revoked=lambda _: True, now=world.clock.now())

            async with serving(answer) as url:
                state = await parts.service.configure(ROOT.certificate, by="tests", ocsp_url=url)
                client = await world.connect(issued=pump)
                await eventually(lambda: parts.asker.failures)
                assert "ocsp.signer" in parts.asker.failures[state.issuer.issuer_id]
                assert await is_alive(client)


async def test_a_large_list_comes_over_rest_is_read_elsewhere_and_found(world: World) -> None:
    """Larger than what any other path takes."""
    pump = await signed(world)
    client = await world.connect(issued=pump)
    entries = {2**150 + n: Entry(certs.NOW, "superseded") for n in range(90_000)}
    entries[pump.certificate.serial_number] = Entry(certs.NOW, "keyCompromise")
    until = certs.NOW + WEEK
    der = issue_revocation_list(ROOT.certificate, ROOT.key, entries, number=1, now=certs.NOW, next_update=until)
    assert len(der) > 4 * 1024 * 1024
    owner = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    bearer = owner.mint("api", timedelta(hours=1), world.clock.now()).reveal()
    answer = await world.http.post(
        "/moorage/v1/revocation/lists", content=der, headers={"Authorization": f"Bearer {bearer}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert [each["entries"] for each in answer.json()["lists"]] == [90_001]
    assert await client.rest(CUT_S) == []
    known = world.app.revocation.known
    assert known.may_be_revoked(ROOT.certificate.subject_key, 2**150 + 89_999)
    assert not known.may_be_revoked(ROOT.certificate.subject_key, 2**150 + 90_000)
    answer = await world.http.post(
        "/moorage/v1/revocation/lists", content=b"\x30" * 100_000, headers={"Authorization": f"Bearer {bearer}"}
    )
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "crl.malformed")


async def test_what_goes_wrong_is_in_the_figures_and_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await signed(world)
    await add_list(world, crl(ROOT, life=SHORT))
    world.turn(25 * 60)
    await world.app.tell_of_lists()
    await world.app.tell_of_lists()
    told = [record.getMessage() for record in caplog.records if "crl.nearly_overdue" in record.getMessage()]
    assert len(told) == 1 and "list 1 of 'CN=Plant Root' has to be replaced by" in told[0]
    answer = await world.http.get("/readyz")
    assert answer.json() == {"status": "ready", "warnings": ["crl.nearly_overdue"]}
    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in world.app.metrics.registry.collect()
        for sample in family.samples
    }
    assert figures["moorage_crl_warnings", "crl.nearly_overdue"] == 1
    due = figures["moorage_crl_next_update_timestamp_seconds", "CN=Plant Root"]
    assert due == (certs.NOW + SHORT).timestamp()
