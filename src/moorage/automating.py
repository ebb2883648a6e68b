"""Rules, jobs, data exports and edge manifests, wired: the part of `application.py` for what happens by itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moorage.accounts.model import Login
from moorage.accounts.organizations import Organizations
from moorage.adapters.bus import LocalBus
from moorage.adapters.egress import Egress
from moorage.adapters.endpoints.documents import DocumentFiles
from moorage.adapters.mail import Mailer, MailSettings
from moorage.adapters.sqlite.store import SqliteStore
from moorage.adapters.webhook import Webhooks
from moorage.analytics.series import Series
from moorage.automation.export_ears import ExportEars
from moorage.automation.export_runner import MAX_COMPOSED_BYTES, Composed, ExportRunner, Selecting
from moorage.automation.export_service import ExportService
from moorage.automation.exports import (
    DataExport,
    Destination,
    DestinationUse,
    ExportEvent,
    ExportTables,
    OutgoingEvent,
    asks_properties,
    asks_system_values,
    enriched,
    is_exported,
)
from moorage.automation.filters import Watched
from moorage.automation.firing import Firing
from moorage.automation.job_acts import DeviceActs
from moorage.automation.job_runner import JobRunner
from moorage.automation.job_service import JobService, ScheduledJobs
from moorage.automation.manifest_giving import ManifestGiving
from moorage.automation.manifests import Manifests
from moorage.automation.rule_model import Action, WebhookAction
from moorage.automation.rule_runner import RuleRunner
from moorage.automation.rule_service import RuleService
from moorage.automation.services import AutomationServices
from moorage.automation.watching import of_record, watched_in
from moorage.clock import Clock
from moorage.config import Config
from moorage.dialects.export_json import as_outgoing, encode_body, event_body, export_body, message_events
from moorage.dialects.hub_json import Presence
from moorage.dialects.json_text import encode_json
from moorage.dialects.readings import read_telemetry
from moorage.dialects.rule_json import ApplicationFacts, email_of, webhook_body
from moorage.errors import Invalid, TooLarge, Unavailable
from moorage.fleet.commands import Commands
from moorage.fleet.groups import Groups
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import DeviceProperties
from moorage.fleet.service import Fleet
from moorage.fleet.templates import TemplateService
from moorage.hub.configurations import ConfigurationService
from moorage.hub.router import Outgoing, Sink
from moorage.hub.routing_model import Endpoint
from moorage.hub.telemetry_log import StoredMessage, TelemetryLog
from moorage.hub_info import HubInfo
from moorage.ids import DeviceId, HubId, IdentityName

__all__ = ["Automation", "AutomationParts"]

_ANSWER_BYTES = 64 * 1024
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class AutomationParts:
    """What it takes of the hub and of the application. `presence` says who is connected, and since when who is not."""

    hub: HubId
    hub_name: str
    application_id: Callable[[], str]
    application_name: Callable[[], str]
    config: Config
    clock: Clock
    store: SqliteStore
    bus: LocalBus
    egress: Egress
    log: TelemetryLog
    info: Callable[[], HubInfo]
    presence: Callable[[IdentityName], Presence]
    organizations: Organizations
    series: Series
    fleet: Fleet
    groups: Groups
    templates: TemplateService
    configurations: ConfigurationService
    properties: DeviceProperties
    commands: Commands
    sink_of: Callable[[Endpoint], Sink]
    vet: Callable[[Endpoint], None]


class Automation:
    """`runners` are to be run as long as the hub runs; `close` is called once they are cancelled."""

    def __init__(self, parts: AutomationParts) -> None:
        self._parts = parts
        self.mailer = Mailer(_mail_settings(parts.config))
        self._webhooks = Webhooks(parts.egress, answer_bytes=_ANSWER_BYTES)
        subtree = parts.organizations.subtree
        self.rules = RuleService(
            parts.hub, parts.store, parts.log, parts.clock, read_telemetry, subtree, parts.egress.check
        )
        self.rule_runner = RuleRunner(
            parts.hub,
            parts.store,
            parts.log,
            parts.bus,
            parts.clock,
            read_telemetry,
            self,
            subtree,
            self.deliver,
        )

        self.manifests = Manifests(parts.hub, parts.store, parts.configurations, parts.clock)
        self.giving = ManifestGiving(parts.hub, parts.store, parts.fleet, self.manifests, parts.bus)
        self.job_runner = self._make_job_runner()
        jobs = parts.hub, parts.store, parts.groups, parts.templates, parts.clock, self.job_runner.wake
        self.jobs = JobService(*jobs)
        self.scheduled_jobs = ScheduledJobs(*jobs)

        self.export_runner = ExportRunner(
            parts.hub,
            parts.store,
            parts.log,
            parts.bus,
            self._sink_of,
            self._selecting(),
            subtree,
            parts.clock,
        )
        self.exports = ExportService(
            parts.hub, parts.store, parts.log, parts.clock, self._selecting(), self._vet_destination
        )
        self._ears = ExportEars(
            parts.hub, parts.bus, parts.clock, lambda: self.export_runner.hears, self.export_runner.take
        )

    def _make_job_runner(self) -> JobRunner:
        parts = self._parts
        acts = DeviceActs(parts.fleet, parts.properties, parts.commands, parts.templates, self.giving)
        return JobRunner(
            parts.hub,
            parts.store,
            parts.groups,
            acts,
            parts.clock,
            history=timedelta(days=parts.config.job_history_days),
        )

    def services(self) -> AutomationServices:
        return AutomationServices(
            rules=self.rules,
            deliver=self.deliver,
            is_mail_set_up=self.mailer.is_set_up,
            exports=self.exports,
            export_runner=self.export_runner,
            jobs=self.jobs,
            scheduled_jobs=self.scheduled_jobs,
            manifests=self.manifests,
            giving=self.giving,
        )

    def runners(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return [self.rule_runner.run, self.job_runner.run, self._export, self.giving.run]

    def close(self) -> None:
        self.rule_runner.close()
        self.export_runner.close()
        self.giving.close()

    async def _export(self) -> None:
        self._ears.open()
        try:
            await self.export_runner.run()
        finally:
            self._ears.close()

    def facts(self) -> ApplicationFacts:
        """What bodies say of the application. For the loop: its name is a point read."""
        info = self._parts.info()
        port = "" if info.web_port in (0, 443) else f":{info.web_port}"
        return ApplicationFacts(
            application_id=self._parts.application_id(),
            display_name=self._parts.application_name() or self._parts.hub_name,
            subdomain=info.hostname.partition(".")[0],
            host=f"{info.hostname}{port}",
        )

    # -- what rules do -------------------------------------------------------------------------------------------------

    async def deliver(self, firing: Firing, action: Action) -> None:
        """Port: `automation.firing.Deliver`."""
        if not isinstance(action, WebhookAction):
            subject, text = email_of(firing, action, self.facts())
            await self.mailer.send(self._addresses(action.to), subject, text)
            return
        body = encode_json(webhook_body(firing, action, self.facts()))
        status, _ = await self._webhooks.post(action.url, body)
        if 200 <= status < 300:
            return
        if status in _AGAIN or status >= 500:
            raise Unavailable("endpoint.failed", f"the web hook answered {status}")
        raise Invalid("endpoint.refused", f"the web hook answered {status}")

    def _addresses(self, logins: Sequence[Login]) -> list[str]:
        """Those of them who may be written to (RUL-6). Raises `Invalid` (`rule.recipients`) when nobody is left."""
        tables = self._parts.store.read()
        users = [tables.users.find_login(self._parts.hub, login) for login in logins]
        found = [
            user.login
            for user in users
            if user is not None and user.signed_in is not None and not user.is_disabled and "@" in user.login
        ]
        if not found:
            raise Invalid(
                "rule.recipients",
                "none of the users whom this e-mail is for has an address as a name and has signed in once",
            )
        return list(found)

    # -- what exports send ---------------------------------------------------------------------------------------------

    def _selecting(self) -> Selecting:
        return Selecting(_message_events, _event_bodies, self._compose)

    def _compose(
        self,
        export: DataExport,
        use: DestinationUse,
        destination: Destination,
        events: Iterable[OutgoingEvent],
        tables: ExportTables,
    ) -> Composed:
        """Bodies of those events that the export takes, until they are many bytes. For a thread."""
        parts = self._parts
        seen = parts.organizations.subtree(export.organization) if export.organization else None
        known: dict[str, tuple[Watched | None, Mapping[str, Any]]] = {"": (None, {})}
        application_id = parts.application_id()
        outgoing = list[Outgoing]()
        refused = list[TooLarge]()
        size = 0
        for event in events:
            if size > MAX_COMPOSED_BYTES and event.place != outgoing[-1].offset:
                return Composed(outgoing, refused, outgoing[-1].offset)
            if event.device_id not in known:
                known[event.device_id] = self._known(tables, export, event.device_id)
            device, system = known[event.device_id]
            if seen is not None and (device is None or device.organization not in seen):
                continue
            if not is_exported(export, event, device):
                continue
            enrichments = enriched(export, device, system)
            body = export_body(event, device, enrichments, application_id)
            try:
                document = encode_body(body, use.template)
            except TooLarge as refusal:
                refused.append(refusal)
                continue
            outgoing.append(as_outgoing(destination.kind, event, document))
            size += len(document)
        return Composed(outgoing, refused, None)

    def _known(
        self, tables: ExportTables, export: DataExport, device_id: str
    ) -> tuple[Watched | None, Mapping[str, Any]]:
        """As much of a device as the export asks for."""
        if asks_properties(export):
            device = watched_in(tables, self._parts.hub, device_id)
        else:
            record = tables.devices.find(self._parts.hub, DeviceId(device_id))
            device = None if record is None else of_record(record)
        return device, self._system_values(device) if asks_system_values(export) else {}

    def _system_values(self, device: Watched | None) -> dict[str, Any]:
        """What enrichments may ask of every device (CDE-7)."""
        if device is None:
            return {}
        template = self._parts.templates.find(TemplateId(device.template)) if device.template else None
        return {
            "$enabled": not device.is_blocked and device.is_approved,
            "$displayName": device.display_name,
            "$templateDisplayName": "" if template is None else template.display_name,
            "$organizations": [device.organization] if device.organization else [],
            "$provisioned": device.is_provisioned,
            "$simulated": device.is_simulated,
        }

    def _sink_of(self, destination: Destination) -> Sink:
        endpoint = _endpoint_of(destination)
        if destination.kind == "file":
            return DocumentFiles(endpoint, self._parts.config.transfer_folder, self._parts.clock)
        return self._parts.sink_of(endpoint)

    def _vet_destination(self, destination: Destination) -> None:
        """What the settings of this machine say of a destination. Raises `Invalid` (`endpoint.*`, `egress.*`)."""
        self._parts.vet(_endpoint_of(destination))

    # -- who is silent (port: `automation.rule_runner.Silences`) -------------------------------------------------------

    def offline_since(self, device_ids: Sequence[str]) -> dict[str, datetime]:
        silent = {}
        for device_id in device_ids:
            presence = self._parts.presence(IdentityName(DeviceId(device_id)))
            if presence.changed is None or presence.is_connected:
                continue
            silent[device_id] = max(presence.changed, presence.last_activity or presence.changed)
        return silent

    async def last_data(self, device_ids: Sequence[str]) -> dict[str, datetime]:
        found = await self._parts.series.last_values_of(device_ids)
        return {device_id: max(value.at for value in values.values()) for device_id, values in found.items() if values}


def _message_events(messages: Sequence[StoredMessage]) -> Iterator[OutgoingEvent]:
    return (event for message in messages for event in message_events(message))


def _event_bodies(found: Sequence[tuple[int, ExportEvent]]) -> Iterator[OutgoingEvent]:
    return (event_body(event, place) for place, event in found)


def _endpoint_of(destination: Destination) -> Endpoint:
    options = dict(destination.options)
    if destination.kind == "webhook":
        options.setdefault("shape", "object")
    return Endpoint(destination.display_name, destination.kind, destination.address, destination.credential, options)


def _mail_settings(config: Config) -> MailSettings:
    return MailSettings(
        host=config.smtp_host,
        port=config.smtp_port,
        security=config.smtp_security,
        sender=config.smtp_from or f"moorage@{config.hostname}",
        user=config.smtp_user or "",
        password_file=config.smtp_password_file,
        ca_bundle=config.egress_ca_bundle,
    )
