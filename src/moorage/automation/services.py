"""Everything that pages and the Central API call of what happens by itself."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.automation.export_runner import ExportRunner
from moorage.automation.export_service import ExportService
from moorage.automation.firing import Deliver
from moorage.automation.job_service import JobService, ScheduledJobs
from moorage.automation.manifest_giving import ManifestGiving
from moorage.automation.manifests import Manifests
from moorage.automation.rule_service import RuleService

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
