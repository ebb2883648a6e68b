"""Opening: private files, every kind of file that is not ours, migrations, and no slow import when none is needed."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.accounts.model import Maker
from moorage.accounts.roles import ADMINISTRATOR, BUILT_IN
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore, schema
from moorage.adapters.sqlite.documents import plain
from moorage.adapters.sqlite.migrations import upgrade
from moorage.adapters.sqlite.values import from_micros, to_json
from moorage.automation.jobs import Job, JobDraft, JobId
from moorage.errors import Conflict, Invalid, Refusal, Unavailable
from moorage.events import Event
from moorage.ids import EnrollmentGroupId, RegistrationId
from moorage.provisioning.model import BySymmetricKey

from .samples import HUB, KEY, KEYS, group, identity, individual, linked_hub, message, name, policy, twin


def open_store(path: Path, key: bytes = KEY) -> SqliteStore:
    return SqliteStore(path, secrets_key=key, bus=LocalBus())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moorage % é?.db"


def modes(path: Path) -> dict[str, int]:
    return {file.name.removeprefix(path.name): stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}


def contents(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


async def test_the_files_are_private(path: Path) -> None:
    before = os.umask(0)
    try:
        store = open_store(path)
        await store.write(lambda tables: tables.settings.put("key", "value"))
        assert modes(path) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
        store.close()
        os.chmod(path, 0o644)
        store = open_store(path)
        await store.write(lambda tables: tables.settings.put("key", "value"))
        assert modes(path) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
        store.close()
    finally:
        os.umask(before)


async def test_keys_are_not_in_the_files_in_any_spelling(path: Path) -> None:
    def put(tables: AllTables) -> None:
        tables.identities.put(identity(authentication=KEYS))
        tables.policies.put(policy())
        tables.individuals.put(individual(BySymmetricKey(KEYS.primary, KEYS.secondary)))
        tables.groups.put(group(BySymmetricKey(KEYS.primary, KEYS.secondary)))
        tables.linked_hubs.put(linked_hub())

    store = open_store(path)
    await store.write(put)
    store.close()
    written = contents(path)
    assert written is not None and written.count(b"pump-01") >= 1 and written.count(b"Widgets") >= 1
    for key in (KEYS.primary.reveal(), KEYS.secondary.reveal(), "open-sesame", "SharedAccessKey="):
        assert key.encode() not in written
    assert b"shared key" not in written and KEY not in written


async def test_another_secrets_key_is_refused_at_once(path: Path) -> None:
    open_store(path).close()
    with pytest.raises(Invalid, match=r"store\.secrets_key: .* was written with another secrets key"):
        open_store(path, bytes(32))
    with pytest.raises(Invalid, match=r"store\.secrets_key_length: the secrets key has 16 bytes; it takes 32"):
        open_store(path, bytes(16))
    open_store(path).close()


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def newer_database(path: Path) -> None:
    open_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.commit()
    connection.close()


def text_file(path: Path) -> None:
    path.write_text("not a database, " * 1000)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "refusal", "sentence"),
    [
        (newer_database, Conflict, rf"store\.newer: .* has schema 999; .* knows schemas up to {schema.VERSION}"),
        (foreign_database, Invalid, r"store\.foreign: .* is not a database of moorage"),
        (text_file, Invalid, r"store\.foreign: .* is not a database of moorage: file is not a database"),
        (folder, Unavailable, r"store\.unusable: .* cannot be opened for writing"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_left_as_it_was(
    path: Path, make: object, refusal: type[Refusal], sentence: str
) -> None:
    assert callable(make)
    make(path)
    before = contents(path)
    with pytest.raises(refusal, match=sentence) as refused:
        open_store(path)
    assert refused.value.fix
    assert contents(path) == before


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"store\.unusable: .*nowhere/moorage\.db.*No such file") as refused:
        open_store(tmp_path / "nowhere" / "moorage.db")
    assert "nowhere" in refused.value.fix


def test_the_version_is_that_of_the_newest_migration() -> None:
    versions = Path(schema.__file__).parent / "migrations" / "versions"
    assert max(int(file.name[:4]) for file in versions.glob("[0-9]*.py")) == schema.VERSION


def layout(path: Path) -> set[tuple[str, str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    connection.close()
    return {(kind, called, " ".join((sql or "").split())) for kind, called, sql in rows}


async def test_migrations_arrive_at_the_schema_of_a_new_database(tmp_path: Path) -> None:
    migrated, new = tmp_path / "migrated.db", tmp_path / "new.db"
    upgrade(migrated)
    open_store(new).close()
    assert layout(migrated) == layout(new)
    open_store(migrated).close()


async def test_what_version_1_stored_is_there_after_migrating(path: Path) -> None:
    upgrade(path, "0001")
    store_tables(path)
    store = open_store(path)
    try:
        tables = store.read()
        assert tables.identities.find(HUB, name()) == identity(authentication=KEYS)
        assert tables.identities.count_devices(HUB) == (1, 0)
        record = tables.devices.find(HUB, name().device_id)
        assert record and (record.display_name, record.state, record.template) == (name().device_id, "blocked", "")
        assert tables.devices.tallies(HUB) == [("", "", "blocked", 1)]
        assert tables.twins.find(HUB, name()) == twin()
        assert tables.messages.waiting(HUB, name(), 9) == [message(1)]
        assert tables.groups.find(HUB, EnrollmentGroupId("widgets")) is not None
        assert tables.individuals.find(HUB, RegistrationId("line-7")) is not None
        assert tables.activity.find(HUB, name()) is None
        assert store.replay() == 1
    finally:
        store.close()


async def test_users_of_version_5_have_the_roles_that_they_had_by_their_ids(path: Path) -> None:
    upgrade(path, "0005")
    connection = sqlite3.connect(path)
    for role in ("administrator", "builder", "operator"):
        connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, 'x', 0, NULL, 0)", (HUB, role, role, role))
    connection.commit()
    connection.close()
    store = open_store(path)
    try:
        tables = store.read()
        for user in tables.users.all(HUB):
            held = BUILT_IN[user.role]
            assert (held.short, user.organization, user.subject, user.password) == (user.login, "", "", "x")
        assert (tables.roles.all(HUB), tables.organizations.all(HUB), tables.api_tokens.all(HUB)) == ([], [], [])
    finally:
        store.close()


async def test_what_people_made_in_version_6_is_bound_to_them_and_what_nobody_has_is_gone(path: Path) -> None:
    upgrade(path, "0006")
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO users VALUES (?, 'u1', 'ada', ?, 'x', 7, NULL, 0, '', '')", (HUB, ADMINISTRATOR))
    connection.execute("INSERT INTO settings VALUES (?, 'calendar.u1', 'digest')", (HUB,))
    for owner in ("user:ada", "user:gone", "owner", ""):
        board = (HUB, f"of-{owner}", "Board", owner, "", '{"$": "Dashboard", "tiles": []}', 0, 1)
        connection.execute("INSERT INTO dashboards VALUES (?, ?, ?, ?, ?, ?, ?, ?)", board)
    for by in ("user:ada", "user:gone"):
        job = Job(HUB, JobId(by.partition(":")[2]), JobDraft("Job", "group", ()), from_micros(0), by)
        document = json.loads(to_json(plain(job, [])))
        del document["acts_for"]
        row = (HUB, job.job_id, "", "", job.status, 0, None, json.dumps(document))
        connection.execute("INSERT INTO device_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    store = open_store(path)
    try:
        tables = store.read()
        ada = tables.users.all(HUB)[0]
        assert tables.settings.get(f"calendar.{ada.key}", HUB) == "digest"
        owners = {board.board_id: board.owner for board in tables.dashboards.all(HUB)}
        assert owners == {"of-": "", "of-owner": "owner", "of-user:ada": ada.key}
        makers = {job.job_id: job.acts_for for job in tables.device_jobs.unfinished(HUB)}
        assert makers == {"ada": Maker(ada.key, "user:ada"), "gone": Maker("user:gone", "user:gone")}
    finally:
        store.close()


def store_tables(path: Path) -> None:
    """Write a row of every kind that version 1 knew."""
    from moorage.adapters.sqlite.sealing import Sealer

    connection = sqlite3.connect(path)
    # Today's code writes a column that version 1 did not have.
    connection.execute("ALTER TABLE enrollment_groups ADD COLUMN display_name TEXT")
    tables = AllTables(connection, Sealer(KEY))
    tables.identities.put(identity(authentication=KEYS))
    tables.twins.put(twin())
    tables.messages.put(message(1))
    tables.groups.put(group(BySymmetricKey(KEYS.primary, KEYS.secondary)))
    tables.individuals.put(individual(BySymmetricKey(KEYS.primary, KEYS.secondary)))
    tables.policies.put(policy())
    tables.outbox.emit(Event("identity.created", HUB, "pump-01"))
    connection.execute("ALTER TABLE enrollment_groups DROP COLUMN display_name")
    connection.commit()
    connection.close()


def test_a_migration_that_fails_leaves_the_old_database(path: Path) -> None:
    upgrade(path, "0001")
    connection = sqlite3.connect(path)
    connection.execute("CREATE INDEX ix_identities_devices ON identities (hub_id)")  # the last step will trip over it
    connection.close()
    before = layout(path)
    with pytest.raises(Exception, match="ix_identities_devices already exists"):
        open_store(path)
    assert layout(path) == before


OPEN = """
import json, sys, time
from pathlib import Path
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from tests.stores.sqlite.samples import KEY
began = time.perf_counter()
store = SqliteStore(Path(sys.argv[1]), secrets_key=KEY, bus=LocalBus())
store.read()
took = time.perf_counter() - began
store.close()
print(json.dumps([took, "alembic" in sys.modules]))
"""


def test_only_an_old_database_makes_us_import_alembic(tmp_path: Path) -> None:
    def opening(path: Path) -> tuple[float, bool]:
        shown = subprocess.run([sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE, timeout=60, check=True)
        took_s, imported_alembic = json.loads(shown.stdout)
        return took_s, imported_alembic

    old, new = tmp_path / "old.db", tmp_path / "new.db"
    upgrade(old, "0001")
    migrating_s, imported_alembic = opening(old)
    assert imported_alembic
    assert not opening(old)[1]
    assert not opening(new)[1]
    again = [opening(new) for _ in range(3)]
    assert not any(imported_alembic for _, imported_alembic in again)
    # It is a fiftieth.
    assert min(took_s for took_s, _ in again) < migrating_s / 4
