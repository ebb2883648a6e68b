"""All tables on one connection, with the two that belong to no domain: settings and the outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from moorage.adapters.sqlite import application_schema, schema
from moorage.adapters.sqlite.account_tables import Users
from moorage.adapters.sqlite.alias_tables import AliasRows
from moorage.adapters.sqlite.automation_tables import ExportRows, LogReaders, ManifestRows, RuleRows
from moorage.adapters.sqlite.awaited_tables import AwaitedRows
from moorage.adapters.sqlite.board_tables import BoardRows, ImageRows
from moorage.adapters.sqlite.command_tables import CommandRows
from moorage.adapters.sqlite.configuration_tables import Configurations
from moorage.adapters.sqlite.device_job_tables import DeviceJobs
from moorage.adapters.sqlite.feedback_tables import Feedback
from moorage.adapters.sqlite.fleet_tables import Devices
from moorage.adapters.sqlite.group_tables import GroupRows
from moorage.adapters.sqlite.hub_tables import Activities, Messages, MqttSessions, Twins
from moorage.adapters.sqlite.job_tables import JobDevices, Jobs
from moorage.adapters.sqlite.linked_hub_tables import LinkedHubs
from moorage.adapters.sqlite.notification_tables import Notifications
from moorage.adapters.sqlite.operation_tables import Operations
from moorage.adapters.sqlite.people_tables import ApiTokens, OrganizationRows, RoleRows
from moorage.adapters.sqlite.provisioning_tables import Groups, Individuals, Registrations
from moorage.adapters.sqlite.query_tables import Queries
from moorage.adapters.sqlite.registry_tables import CAs, Identities, Policies
from moorage.adapters.sqlite.resource_tables import ConsumerGroupRows
from moorage.adapters.sqlite.revocation_tables import RevocationRows
from moorage.adapters.sqlite.routing_tables import RoutingRows
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.sighting_tables import SightingRows
from moorage.adapters.sqlite.statements import compile_sql, insert_into, select_by, upsert
from moorage.adapters.sqlite.template_tables import Templates
from moorage.adapters.sqlite.transfer_tables import Transfers
from moorage.adapters.sqlite.upload_tables import FileNotifications, FileUploads
from moorage.adapters.sqlite.values import from_json, to_json
from moorage.adapters.sqlite.waiver_tables import WaiverRows
from moorage.analytics.boards import Dashboard, SavedQuery
from moorage.events import Event
from moorage.ids import HubId

__all__ = ["INSTALLATION", "AllTables", "Outbox", "Settings"]

# The `hub_id` of settings that belong to no single hub.
INSTALLATION = HubId("")

_GET = select_by(schema.settings, [schema.settings.c.value], "hub_id", "key")
_PUT = upsert(schema.settings)


class Settings:
    """Small lasting texts, by key."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str, hub: HubId = INSTALLATION) -> str | None:
        row = self._connection.execute(_GET, (hub, key)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, value: str, hub: HubId = INSTALLATION) -> None:
        self._connection.execute(_PUT, (hub, key, value))


_EMIT = insert_into(schema.outbox)
_LEFT_OVER = compile_sql(schema.outbox.select().order_by(schema.outbox.c.sequence))


class Outbox:
    """Port: `events.Outbox`. `emitted` is what the open transaction added: (its row's sequence, the event)."""

    __slots__ = ("_connection", "emitted")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.emitted: list[tuple[int, Event]] = []

    def emit(self, event: Event) -> None:
        cursor = self._connection.execute(_EMIT, (None, event.hub, event.kind, event.subject, to_json(event.data)))
        assert cursor.lastrowid is not None  # an INSERT into a table with rowids always has one
        self.emitted.append((cursor.lastrowid, event))

    def left_over(self) -> list[tuple[int, Event]]:
        """Committed events that were not taken out again, oldest first."""
        return [
            (sequence, Event(kind, HubId(hub), subject, from_json(data)))
            for sequence, hub, kind, subject, data in self._connection.execute(_LEFT_OVER).fetchall()
        ]


class AllTables:
    """Every domain's tables (`RegistryTables`, `CATables`, `HubTables`, `ProvisioningTables`)."""

    __slots__ = (
        "_connection",
        "activity",
        "awaited",
        "aliases",
        "api_tokens",
        "cas",
        "commands",
        "configurations",
        "consumer_groups",
        "dashboard_images",
        "dashboards",
        "device_groups",
        "device_jobs",
        "devices",
        "exports",
        "explorer_queries",
        "feedback",
        "file_notifications",
        "file_uploads",
        "groups",
        "identities",
        "individuals",
        "job_devices",
        "jobs",
        "linked_hubs",
        "log_readers",
        "manifests",
        "messages",
        "mqtt_sessions",
        "notifications",
        "operations",
        "organizations",
        "outbox",
        "policies",
        "queries",
        "registrations",
        "revocation",
        "roles",
        "routing",
        "rules",
        "settings",
        "sightings",
        "templates",
        "transfers",
        "twins",
        "users",
        "waivers",
    )

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self.identities = Identities(connection, sealer)
        self.policies = Policies(connection, sealer)
        self.cas = CAs(connection)
        self.revocation = RevocationRows(connection)
        self.waivers = WaiverRows(connection)
        self.consumer_groups = ConsumerGroupRows(connection)
        self.twins = Twins(connection)
        self.notifications = Notifications(connection, self.twins)
        self.messages = Messages(connection)
        self.feedback = Feedback(connection)
        self.file_uploads = FileUploads(connection)
        self.file_notifications = FileNotifications(connection)
        self.mqtt_sessions = MqttSessions(connection)
        self.activity = Activities(connection)
        self.commands = CommandRows(connection)
        self.aliases = AliasRows(connection)
        self.configurations = Configurations(connection)
        self.queries = Queries(connection)
        self.individuals = Individuals(connection, sealer)
        self.groups = Groups(connection, sealer)
        self.registrations = Registrations(connection)
        self.linked_hubs = LinkedHubs(connection, sealer)
        self.jobs = Jobs(connection)
        self.job_devices = JobDevices(connection)
        self.transfers = Transfers(connection, sealer)
        self.routing = RoutingRows(connection, sealer)
        self.users = Users(connection)
        self.roles = RoleRows(connection)
        self.organizations = OrganizationRows(connection)
        self.api_tokens = ApiTokens(connection)
        self.devices = Devices(connection)
        self.awaited = AwaitedRows(connection)
        self.device_jobs = DeviceJobs(connection)
        self.operations = Operations(connection)
        self.rules = RuleRows(connection, sealer)
        self.exports = ExportRows(connection, sealer)
        self.manifests = ManifestRows(connection, sealer)
        self.log_readers = LogReaders(connection)
        self.device_groups = GroupRows(connection)
        self.dashboards = BoardRows(connection, application_schema.dashboards, Dashboard)
        self.explorer_queries = BoardRows(connection, application_schema.explorer_queries, SavedQuery)
        self.dashboard_images = ImageRows(connection)
        self.sightings = SightingRows(connection)
        self.settings = Settings(connection)
        self.templates = Templates(connection)
        self.outbox = Outbox(connection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is written inside is undone alone, events included, when it raises; the rest of the work stands."""
        connection, emitted = self._connection, self.outbox.emitted
        before = len(emitted)
        connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            # A failing disk undoes the whole transaction at once; then there is nothing to go back to.
            if connection.in_transaction:
                connection.execute("ROLLBACK TO part")
                connection.execute("RELEASE part")
                del emitted[before:]
            raise
        connection.execute("RELEASE part")
