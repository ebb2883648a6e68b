"""Configurations, edge deployments and digital twins (contract/services.md 2.2, 2.10)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import (
    ANYTHING,
    OBJECT,
    TIME,
    Schema,
    list_of,
    map_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)

__all__ = [
    "CONFIGURATION",
    "CONFIGURATIONS",
    "CONFIGURATION_CHANGE",
    "CONTENT",
    "DIGITAL_TWIN",
    "DIGITAL_TWIN_PATCH",
    "QUERIES_TEST",
    "QUERIES_TESTED",
]

_SECTIONS: Final = map_of(ANYTHING, "`properties.desired.NAME` to what it is to be; null takes it away.")
CONTENT: Final = named(
    "ConfigurationContent",
    members(
        {},
        {
            "deviceContent": nullable(_SECTIONS),
            "moduleContent": nullable(_SECTIONS),
            "modulesContent": nullable(map_of(_SECTIONS, "The same for each module of an edge device.")),
        },
    ),
)
_LABELS: Final = map_of(text())
_QUERIES: Final = map_of(text("A query."))
_METRICS: Final = members({"results": map_of(whole(least=0)), "queries": _QUERIES})
_SAID: Final[dict[str, Schema]] = {
    "schemaVersion": nullable(text(most=16)),
    "content": nullable(CONTENT),
    "targetCondition": nullable(text("`*`, nothing for nobody, or what stands behind WHERE.", most=4096)),
    "priority": nullable(whole(least=0)),
    "labels": nullable(_LABELS),
    "metrics": nullable(members({}, {"queries": nullable(_QUERIES)})),
}
CONFIGURATION_CHANGE: Final = named(
    "ConfigurationChange", members({}, {"id": text("The same as in the path.", most=128), **_SAID})
)
CONFIGURATION: Final = named(
    "Configuration",
    members(
        {
            "id": text(),
            "schemaVersion": text(),
            "labels": _LABELS,
            "content": CONTENT,
            "targetCondition": text(),
            "createdTimeUtc": TIME,
            "lastUpdatedTimeUtc": TIME,
            "priority": whole(least=0),
            "systemMetrics": _METRICS,
            "metrics": _METRICS,
            "etag": text(),
        }
    ),
)
CONFIGURATIONS: Final = list_of(CONFIGURATION, most=100)
QUERIES_TEST: Final = members(
    {}, {"targetCondition": nullable(text()), "customMetricQueries": nullable(map_of(text("A query.")))}
)
QUERIES_TESTED: Final = members(
    {"targetConditionError": nullable(text()), "customMetricQueryErrors": map_of(text("What is wrong."))}
)
DIGITAL_TWIN: Final = named(
    "DigitalTwin", members({"$dtId": text(), "$metadata": members({"$model": text()}, {"property": OBJECT})})
)
DIGITAL_TWIN_PATCH: Final = list_of(
    members({"op": one_of("add", "replace", "remove"), "path": text("A JSON pointer.")}, {"value": ANYTHING}), most=100
)
