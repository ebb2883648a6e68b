"""Attempts: what is kept of a flood, what is found again, and what becomes of a file that is damaged."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.attempts import SqliteAttempts, _fair_share
from moorage.attempts.model import Attempt, refused
from moorage.attempts.recorder import AttemptRecorder, origin_of
from moorage.clock import HandClock
from moorage.errors import Check, Unauthenticated, Unavailable
from moorage.ids import DEFAULT_HUB, HubId
from tests import certs

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CHAIN = certs.device(certs.intermediate(certs.root())).sends().certificates


def attempt(
    claimed_id: str = "pump-01",
    address: str = "10.0.0.1:1234",
    *,
    reason: str | None = "identity.unknown",
    tracking_id: str = "T",
    chain: tuple[bytes, ...] = (),
    at: datetime = NOW,
    hub: HubId = DEFAULT_HUB,
) -> Attempt:
    return Attempt(
        at, hub, "hub.mqtt", tracking_id, address, claimed_id, chain, "TLSv1.3", "x509", reason, "why", "fix"
    )


class Bench:
    def __init__(self, path: Path, keep: int = 1000) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.store = SqliteAttempts(path, keep=keep)
        self.recorder = AttemptRecorder(self.store, HandClock(NOW), self._count)

    def _count(self, door: str, reason: str) -> None:
        self.counted[door, reason] += 1

    async def find(
        self,
        device: str | None = None,
        *,
        thumbprint: str | None = None,
        tracking_id: str | None = None,
        limit: int = 10_000,
    ) -> list[Attempt]:
        return await self.recorder.find(
            DEFAULT_HUB, device=device, thumbprint=thumbprint, tracking_id=tracking_id, limit=limit
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "attempts.db")
    yield bench
    await bench.recorder.close()


# --- kept and found --------------------------------------------------------------------------------------------------


async def test_an_attempt_comes_back_whole(bench: Bench) -> None:
    refusal = Unauthenticated(
        "chain.expired",
        "was valid until \ud800 then",
        fix="make a new one",
        checks=(Check("chain.empty", True), Check("chain.expired", False, "ü"), Check("chain.key_usage", None)),
    )
    written = refused(
        attempt("pump\ud800-01", tracking_id="ABC", chain=CHAIN, at=NOW + timedelta(seconds=1.5)), refusal
    )
    bench.recorder.record(written)
    (found,) = await bench.find()
    assert found.chain == CHAIN
    assert found.checks == refusal.checks
    assert (found.at, found.door, found.reason, found.fix) == (
        written.at,
        "hub.mqtt",
        "chain.expired",
        "make a new one",
    )
    # SQLite has no half surrogates; what stands for them is readable.
    assert (found.claimed_id, found.message) == ("pump\\ud800-01", "was valid until \\ud800 then")


async def test_it_is_found_by_device_module_thumbprint_and_tracking_id(bench: Bench) -> None:
    leaf = certs.device(certs.root(), "pump-02").certificate
    for name in ("pump-01", "pump-01/vision", "pump-011", "pump-0", "pump-01-x", "PUMP-01"):
        bench.recorder.record(attempt(name, tracking_id=f"T-{name}"))
    bench.recorder.record(attempt("pump-02", tracking_id="abcdef", chain=(leaf.der,)))
    assert {each.claimed_id for each in await bench.find("pump-01")} == {"pump-01", "pump-01/vision"}
    assert [each.claimed_id for each in await bench.find("pump-01/vision")] == ["pump-01/vision"]
    for thumbprint in (leaf.sha1, leaf.sha256, leaf.sha256.lower()):
        assert [each.claimed_id for each in await bench.find(thumbprint=thumbprint)] == ["pump-02"]
    assert [each.claimed_id for each in await bench.find(tracking_id="ABCDEF")] == ["pump-02"]
    assert await bench.find("pump-01", tracking_id="abcdef") == []
    assert await bench.find("100%") == []


async def test_the_newest_come_first_and_only_so_many(bench: Bench) -> None:
    for number in range(4):
        bench.recorder.record(attempt(tracking_id=str(number), at=NOW + timedelta(seconds=number)))
    assert [each.tracking_id for each in await bench.find(limit=2)] == ["3", "2"]


async def test_another_hub_has_attempts_of_its_own(bench: Bench) -> None:
    bench.recorder.record(attempt(hub=HubId("other")))
    assert await bench.find() == []


async def test_they_outlive_a_restart(tmp_path: Path) -> None:
    first = Bench(tmp_path / "attempts.db")
    first.recorder.record(attempt(chain=CHAIN))
    await first.recorder.close()
    again = Bench(tmp_path / "attempts.db")
    assert [each.chain for each in await again.find()] == [CHAIN]
    await again.recorder.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    store = SqliteAttempts(tmp_path / "attempts.db", keep=10)
    store.append([attempt()])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


async def test_a_chain_is_stored_once_however_often_it_is_sent(bench: Bench, tmp_path: Path) -> None:
    for number in range(5):
        bench.recorder.record(attempt(f"pump-{number}", chain=CHAIN))
    bench.recorder.record(attempt("pump-9", chain=CHAIN[:1]))
    assert len(await bench.find()) == 6
    with sqlite3.connect(tmp_path / "attempts.db") as reader:
        assert reader.execute("SELECT count(*) FROM chains").fetchone() == (2,)
    reader.close()


async def test_of_accepted_ones_the_latest_under_each_id_is_kept_and_all_are_counted(bench: Bench) -> None:
    for number in range(50):
        bench.recorder.record(attempt("pump-01", reason=None, tracking_id=str(number)))
    bench.recorder.record(attempt("pump-02", reason=None))
    found = await bench.find()
    assert {each.claimed_id: each.tracking_id for each in found} == {"pump-01": "49", "pump-02": "T"}
    assert all(each.is_accepted for each in found)
    assert bench.counted == {("hub.mqtt", "accepted"): 51}


# --- floods (decisions S7) -------------------------------------------------------------------------------------------


async def test_a_flood_from_one_address_cannot_push_out_anothers_record(bench: Bench) -> None:
    for number in range(5000):
        bench.recorder.record(attempt(f"guess-{number}", "10.6.6.6:1"))
    bench.recorder.record(attempt("pump-01", "10.0.0.1:1", tracking_id="NEEDED"))
    assert [each.tracking_id for each in await bench.find("pump-01")] == ["NEEDED"]
    assert len(await bench.find()) == 21
    assert bench.counted["hub.mqtt", "identity.unknown"] == 5001


async def test_who_claims_to_be_a_device_cannot_push_out_that_devices_own_record(bench: Bench) -> None:
    for host in range(200):
        for _ in range(10):
            bench.recorder.record(attempt("pump-01", f"10.6.{host}.6:1", tracking_id="flood"))
    bench.recorder.record(attempt("pump-01", "10.0.0.1:1", tracking_id="NEEDED"))
    assert "NEEDED" in [each.tracking_id for each in await bench.find("pump-01")]


async def test_the_log_tells_of_a_few_refused_ones_a_second_and_counts_the_rest(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.attempts")
    bench.recorder.record(attempt(reason=None))
    for number in range(12):
        bench.recorder.record(attempt(reason="chain.expired", tracking_id=f"T{number}"))
    await bench.recorder.flush()
    assert caplog.messages[0] == (
        "refused reason=chain.expired device=pump-01 door=hub.mqtt address=10.0.0.1:1234 tracking=T0"
    )
    assert caplog.messages[5:] == ["refused_more count=7"]
    caplog.clear()
    bench.recorder.record(attempt("evil\nrefused reason=none", tracking_id="T13"))
    await bench.recorder.flush()
    (line,) = caplog.messages
    assert "\n" not in line
    assert r"device='evil\nrefused reason=none'" in line


async def test_a_flood_from_many_addresses_leaves_a_place_for_one_more(bench: Bench) -> None:
    for host in range(250):
        for number in range(20):
            bench.recorder.record(attempt(f"guess-{number}", f"10.6.{host}.6:1"))
    bench.recorder.record(attempt("pump-01", "10.0.0.1:1", tracking_id="NEEDED"))
    found = await bench.find()
    assert len(found) == 500
    assert "NEEDED" in [each.tracking_id for each in found]


async def test_a_flood_over_days_leaves_the_old_record_of_another_address(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "attempts.db", keep=200)
    bench.recorder.record(attempt("pump-01", "10.0.0.1:1", tracking_id="NEEDED", chain=CHAIN))
    for second in range(100):
        for number in range(20):
            bench.recorder.record(
                attempt(f"guess-{number}", "10.6.6.6:1", tracking_id=f"{second}", at=NOW + timedelta(seconds=second))
            )
        await bench.recorder.flush()
    found = await bench.find()
    assert 180 <= len(found) <= 220
    assert found[-1].tracking_id == "NEEDED"
    assert found[0].tracking_id == "99"
    await bench.recorder.close()


async def test_more_addresses_than_places_keep_the_newest(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "attempts.db", keep=100)
    for number in range(1000):
        bench.recorder.record(attempt("x", f"10.{number % 250}.{number // 250}.1:1", tracking_id=f"{number}"))
        if number % 100 == 99:
            await bench.recorder.flush()
    found = await bench.find()
    assert len(found) <= 100
    assert found[0].tracking_id == "999"
    await bench.recorder.close()


async def test_large_chains_do_not_fill_the_disk(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "attempts.db", keep=100)
    for number in range(40):
        for each in range(5):
            chain = (f"{number}-{each}".encode() + bytes(60_000),)
            bench.recorder.record(attempt(f"x{number}", "10.6.6.6:1", chain=chain))
        bench.recorder.record(attempt("pump-01", "10.0.0.1:1", tracking_id=f"{number}", chain=CHAIN))
        await bench.recorder.flush()
    with sqlite3.connect(tmp_path / "attempts.db") as reader:
        (size,) = reader.execute("SELECT sum(length(certificates)) FROM chains").fetchone()
    reader.close()
    assert size <= 100 * 4096
    assert "39" in [each.tracking_id for each in await bench.find("pump-01")]
    await bench.recorder.close()


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("10.0.0.1:1234", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2::"),
        ("2001:db8:1:2::1:443", "2001:db8:1:2::"),
        ("::1:443", "::"),
        ("::ffff:10.0.0.1:443", "10.0.0.1"),
        ("fe80::1%eth0:443", "fe80::"),
        ("", ""),
        ("nonsense:at:all:1", "nonsense:at:all"),
    ],
)
def test_ipv6_clients_count_by_their_network(address: str, origin: str) -> None:
    assert origin_of(address) == origin


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 400))
def test_the_fair_share_is_the_highest_that_fits(counts: list[int], target: int) -> None:
    def left(share: int) -> int:
        return sum(min(count, share) for count in counts)

    share = _fair_share(counts, target)
    assert share >= 1
    assert left(share) <= target or share == 1
    if share < max(counts):
        assert left(share + 1) > target


# --- files that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "attempts.db"
    path.write_bytes(content)
    bench = Bench(path)
    assert "attempts_damaged" in caplog.text
    bench.recorder.record(attempt())
    assert len(await bench.find()) == 1
    await bench.recorder.close()


async def test_a_file_of_another_layout_is_emptied(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "attempts.db") as old:
        old.executescript("CREATE TABLE attempts (whatever); PRAGMA user_version = 99;")
    old.close()
    bench = Bench(tmp_path / "attempts.db")
    bench.recorder.record(attempt())
    assert len(await bench.find()) == 1
    await bench.recorder.close()


class FullDisk(SqliteAttempts):
    """Takes nothing while `is_full`."""

    is_full = False

    def append(self, attempts: Sequence[Attempt]) -> None:
        if self.is_full:
            # What SQLite itself does when a file may not grow.
            self._file.connection.execute("PRAGMA max_page_count = 1")
            attempts = [attempt(f"{number}", chain=(bytes(100_000) + b"%d" % number,)) for number in range(50)]
        else:
            self._file.connection.execute("PRAGMA max_page_count = 1000000")
        super().append(attempts)


async def test_a_full_disk_loses_the_batch_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FullDisk(tmp_path / "attempts.db", keep=1000)
    recorder = AttemptRecorder(store, HandClock(NOW), lambda door, reason: None)
    recorder.record(attempt("before"))
    await recorder.flush()
    store.is_full = True
    recorder.record(attempt("lost"))
    await recorder.flush()
    assert "attempts_not_written" in caplog.text
    store.is_full = False
    recorder.record(attempt("after"))
    found = await recorder.find(DEFAULT_HUB, device=None, thumbprint=None, tracking_id=None, limit=10)
    assert [each.claimed_id for each in found] == ["after", "before"]
    await recorder.close()


async def test_a_file_that_cannot_be_read_is_a_refusal_and_no_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "attempts.db")
    bench.recorder.record(attempt())
    await bench.recorder.flush()
    bench.store.close()
    with pytest.raises(Unavailable) as caught:
        await bench.find()
    assert caught.value.reason == "attempts.unreadable"


async def test_a_caller_that_gives_up_leaves_no_half_written_batch(bench: Bench) -> None:
    """One thread does all the work, so nothing overlaps with what was left to itself."""
    gate = threading.Event()
    blocked = asyncio.get_running_loop().run_in_executor(bench.recorder._thread, gate.wait)
    bench.recorder.record(attempt("left alone"))
    flushing = asyncio.ensure_future(bench.recorder.flush())
    await asyncio.sleep(0.01)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    bench.recorder.record(attempt("next"))
    gate.set()
    await blocked
    assert {each.claimed_id for each in await bench.find()} >= {"next"}
