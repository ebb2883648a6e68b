"""What is known of revocation from the store, and when its sources are asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.list_reader import read_revocation_list
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.certificates.known_revocation import KnownRevocation
from moorage.certificates.list_fetching import FETCH_AT_MOST, Fetched, ListFetcher
from moorage.certificates.revocation import RevocationService
from moorage.certificates.revocation_model import CRLIssuer, OcspRevocation, issuer_id_of
from moorage.clock import HandClock
from moorage.ids import DEFAULT_HUB
from moorage.pki.certificates import Certificate
from moorage.pki.revocation import Revoked
from tests import certs
from tests.certs import NOW
from tests.servers.revoking import crl

ROOT = certs.root("Plant Root")
OLD_KEY = certs.root("Plant Root", label="old key")
PUMP = certs.device(ROOT)
URL = "http://ca.example/"
DAY = timedelta(days=1)


@pytest.fixture
def store() -> SqliteStore:
    return SqliteStore(MEMORY, secrets_key=bytes(range(32)), bus=LocalBus())


@pytest.fixture
async def known(store: SqliteStore) -> AsyncIterator[KnownRevocation]:
    known = KnownRevocation(DEFAULT_HUB, store, LocalBus())
    yield known
    await known.close()
    store.close()


@pytest.mark.parametrize("date", [NOW - DAY, NOW + 30 * DAY])
async def test_a_stored_revocation_is_asked_again_at_once_whatever_its_date(
    store: SqliteStore, known: KnownRevocation, date: datetime
) -> None:
    """Responders may date it ahead; whether it still holds is to be asked all the same."""
    revoked = Revoked("certificateHold", date, "a responder")
    serial = PUMP.certificate.serial_number
    issuer = CRLIssuer(DEFAULT_HUB, issuer_id_of(ROOT.certificate.subject_key), ROOT.certificate, ocsp_url=URL)
    await store.write(lambda tables: tables.revocation.put_issuer(issuer))
    found = OcspRevocation(DEFAULT_HUB, ROOT.certificate.sha256, serial, revoked, NOW)
    await store.write(lambda tables: tables.revocation.put_ocsp_revocation(found))
    await known.refresh()
    path = (PUMP.certificate, ROOT.certificate)
    assert known.status(path, 0, NOW) == revoked
    assert known.is_to_be_asked(ROOT.certificate, serial, NOW)


async def test_the_list_of_a_key_that_was_rolled_does_not_hurry_the_fetching(
    store: SqliteStore, known: KnownRevocation
) -> None:
    clock = HandClock(NOW)

    async def vouchers() -> list[Certificate]:
        return [ROOT.certificate, OLD_KEY.certificate]

    async def get(_url: str, _etag: str | None) -> Fetched:
        return Fetched(crl(ROOT, number=2), None)

    service = RevocationService(DEFAULT_HUB, store, known, clock, read_list=read_revocation_list, vouchers=vouchers)
    fetcher = ListFetcher(DEFAULT_HUB, store, service, clock, get)
    await service.add(crl(OLD_KEY, now=NOW - 30 * DAY, life=DAY), by="tests")
    state = await service.configure(ROOT.certificate, by="tests", crl_url=URL)
    state = await fetcher.fetch(state.issuer.issuer_id, by="tests")
    assert len(state.lists) == 2
    assert state.issuer.next_fetch is not None
    assert state.issuer.next_fetch - clock.now() >= FETCH_AT_MOST * 0.8
