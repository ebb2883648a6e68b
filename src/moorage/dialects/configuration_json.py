"""Configurations in the JSON of the hub's service API (contract/services.md 2.10).

Reading ignores what the service makes itself (times, etag, results), as clients send back what they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.dialects.members import check_same, get_object, get_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.configuration_metrics import Counts, system_queries
from moorage.hub.configuration_model import Configuration, ConfigurationId
from moorage.hub.configurations import ConfigurationDraft
from moorage.ids import version_etag

__all__ = ["configuration_json", "parse_configuration", "parse_content", "parse_queries_test", "queries_test_json"]


def parse_configuration(configuration: ConfigurationId, body: Mapping[str, Any]) -> ConfigurationDraft:
    """What a PUT asks for. Raises `Invalid` (`body.member`, `body.id`)."""
    check_same(body, "id", configuration)
    metrics = get_object(body, "metrics")
    return ConfigurationDraft(
        id=configuration,
        content=get_object(body, "content"),
        target_condition=get_text(body, "targetCondition"),
        priority=_priority(body),
        labels=_texts(body.get("labels"), "labels"),
        metrics=None if metrics is None else _texts(metrics.get("queries"), "metrics.queries"),
        schema_version=get_text(body, "schemaVersion"),
    )


def parse_content(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content for one device: the body, or its member `content`. Raises `Invalid` (`body.member`)."""
    return get_object(body, "content") or body


def parse_queries_test(body: Mapping[str, Any]) -> tuple[str | None, Mapping[str, str]]:
    """The condition and the metrics to try. Raises `Invalid` (`body.member`)."""
    return get_text(body, "targetCondition"), _texts(body.get("customMetricQueries"), "customMetricQueries") or {}


def queries_test_json(condition: str | None, metrics: Mapping[str, str]) -> dict[str, Any]:
    return {"targetConditionError": condition, "customMetricQueryErrors": metrics}


def configuration_json(configuration: Configuration, counts: Counts) -> dict[str, Any]:
    return {
        "id": configuration.id,
        "schemaVersion": configuration.schema_version,
        "labels": configuration.labels,
        "content": configuration.content,
        "targetCondition": configuration.target_condition,
        "createdTimeUtc": format_time(configuration.created),
        "lastUpdatedTimeUtc": format_time(configuration.updated),
        "priority": configuration.priority,
        "systemMetrics": {"results": counts.system, "queries": system_queries(configuration)},
        "metrics": {"results": counts.custom, "queries": configuration.metrics},
        "etag": version_etag(configuration.version),
    }


def _priority(body: Mapping[str, Any]) -> int | None:
    value = body.get("priority")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid("body.member", f"priority is {str(value)[:40]!r}, it has to be a whole number")
    return value


def _texts(value: Any, path: str) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise Invalid("body.member", f"{path} has to be an object whose members are strings")
    return dict(value)
