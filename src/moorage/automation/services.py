"""Everything that pages and the Central API call of what happens by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from moorage.accounts.model import Actor
from moorage.automation.export_runner import ExportRunner
from moorage.automation.export_service import ExportService
from moorage.automation.exports import DataExport, Destination, check_export
from moorage.automation.firing import Deliver
from moorage.automation.job_service import JobService, ScheduledJobs
from moorage.automation.manifest_giving import ManifestGiving
from moorage.automation.manifests import Manifests
from moorage.automation.rule_model import Action, Rule, check_rule
from moorage.automation.rule_service import RuleService
from moorage.errors import NotFound
from moorage.hub.router import Outgoing

__all__ = ["AutomationServices"]


@dataclass(frozen=True, slots=True)
class AutomationServices:
    """`deliver` does what an action of a rule does, at once; `export_runner` knows how exports do.

    `is_mail_set_up` says whether e-mails can be sent at all.
    """

    rules: RuleService
    deliver: Deliver
    is_mail_set_up: bool
    exports: ExportService
    export_runner: ExportRunner
    jobs: JobService
    scheduled_jobs: ScheduledJobs
    manifests: Manifests
    giving: ManifestGiving

    async def test_action(self, actor: Actor, rule: Rule, action_id: str) -> Action:
        """Do at once what an action of `rule`, which need not be stored, does, with the newest message there is.

        Raises as `check_rule` and as the delivery does; `NotFound` (`rule.action_unknown`).
        """
        check_rule(rule)
        action = next((each for each in rule.actions if each.action_id == action_id), None)
        if action is None:
            raise NotFound("rule.action_unknown", f"the rule has no action {action_id[:64]!r}")
        await self.deliver(await self.rules.example(actor, rule), action)
        return action

    async def test_destination(self, actor: Actor, destination: Destination, now: datetime) -> None:
        """Send one body to `destination`, which need not be stored, at once.

        Raises as `ExportService.check_destination` and as the delivery does.
        """
        self.exports.check_destination(actor, destination)
        await self.export_runner.try_once(destination, [_trial(destination, now)])

    async def samples(self, actor: Actor, export: DataExport) -> list[tuple[Destination, Outgoing | None]]:
        """What `export`, which need not be stored, would send to each of its destinations.

        Raises as `ExportService.sample`.
        """
        check_export(export)
        return [
            (
                self.exports.get_destination(actor, use.destination_id),
                await self.exports.sample(actor, export, use),
            )
            for use in export.destinations
        ]


def _trial(destination: Destination, now: datetime) -> Outgoing:
    document = json.dumps({"messageSource": "test", "schema": "default@v1"}).encode()
    beside = json.dumps({"enqueuedTime": now.isoformat(), "properties": {}, "systemProperties": {}}).encode()
    return Outgoing("", 0, beside if destination.kind == "kafka" else document, document)
