"""Everything that pages and the Central API call of what happens by itself."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.accounts.model import Actor
from moorage.automation.export_runner import ExportRunner
from moorage.automation.export_service import ExportService
from moorage.automation.firing import Deliver
from moorage.automation.job_service import JobService, ScheduledJobs
from moorage.automation.manifest_giving import ManifestGiving
from moorage.automation.manifests import Manifests
from moorage.automation.rule_model import Action, Rule, check_rule
from moorage.automation.rule_service import RuleService
from moorage.errors import NotFound

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
