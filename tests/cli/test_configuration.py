"""`moorage configuration` against a real hub, which is also killed in the middle of its work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import main
from tests.e2e.sdk import until
from tests.hubs import Hub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("configuration") / "hub") as hub:
        yield hub


class Commands:
    """Commands in this process: quicker than one of its own for each."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it printed, on standard error when `code` is not 0."""
        self._capsys.readouterr()
        assert main(list(arguments)) == code
        out, err = self._capsys.readouterr()
        return err if code else out

    def ask(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]


@pytest.fixture
def run(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.setenv("MOORAGE_DATA", str(hub.data))
    return Commands(capsys)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    """The path of a file with this JSON."""

    def write(document: Any) -> str:
        path = tmp_path / "content.json"
        path.write_text(json.dumps(document))
        return str(path)

    return write


CONTENT = {"deviceContent": {"properties.desired.rate": 5}}


def test_a_configuration_is_made_shown_changed_and_deleted(
    hub: Hub, run: Commands, write: Callable[[Any], str]
) -> None:
    run("device", "create", "pump-1")
    run("twin", "update", "pump-1", "--tags", '{"hall": "north"}')
    told = run("configuration", "create", "rate", write({"content": CONTENT}), "--label", "team=a")
    assert told.splitlines() == [
        "Created configuration rate for devices, priority 0.",
        "Next: moorage configuration update rate --condition '*'",
    ]
    metric = "fast=SELECT deviceId FROM devices WHERE properties.desired.rate = 5"
    told = run(
        *"configuration update rate --condition".split(), "tags.hall = 'north'", "--priority", "3", "--metric", metric
    )
    assert told == "Updated configuration rate: priority 3, condition tags.hall = 'north'.\n"
    until(
        "the configuration is applied",
        lambda: hub.request("GET", "/twins/pump-1").get("configurations") == {"rate": {"status": "Applied"}},
    )
    until("and counted", lambda: run.ask("configuration", "metrics", "rate")[0]["metrics"]["results"] == {"fast": 1})
    table = run("configuration", "list").splitlines()
    assert table[0].split("\t") == ["configuration", "for", "priority", "targeted", "applied", "condition", "created"]
    assert table[1].split("\t")[:6] == ["rate", "devices", "3", "1", "1", "tags.hall = 'north'"]
    (document,) = run.ask("configuration", "show", "rate")
    assert (document["content"], document["labels"]) == (CONTENT, {"team": "a"})
    for name in ("targetedCount", "appliedCount", "fast"):
        assert run.ask("configuration", "show-metric", "rate", name) == [{"deviceId": "pump-1"}]
    assert run("configuration", "show-metric", "rate", "fast") == "deviceId\npump-1\n"
    shown = run("configuration", "metrics", "rate").splitlines()
    assert [line.split("\t")[:2] for line in shown] == [
        ["metric", "count"],
        ["targetedCount", "1"],
        ["appliedCount", "1"],
        ["fast", "1"],
    ]
    assert "configuration.metric_unknown" in run("configuration", "show-metric", "rate", "slow", code=1)
    run("configuration", "update", "rate", "--label", "team=", "--metric", "fast=")
    (document,) = run.ask("configuration", "show", "rate")
    assert (document["labels"], document["metrics"]["queries"], document["priority"]) == ({}, {}, 3)
    run("configuration", "delete", "rate")
    until("its settings are gone", lambda: "rate" not in hub.request("GET", "/twins/pump-1")["properties"]["desired"])
    assert "moorage configuration list" in run("configuration", "show", "rate", code=1)


def test_modules_are_deployed_to_one_edge_device(hub: Hub, run: Commands, write: Callable[[Any], str]) -> None:
    run("device", "create", "edge-1", "--edge")
    modules: dict[str, Any] = {"$edgeAgent": {"properties.desired": {"modules": {"camera": {}}}}}
    told = run("configuration", "apply", "edge-1", write({"modulesContent": modules}))
    assert told == "Edge device edge-1 has the modules $edgeAgent, $edgeHub, camera.\n"
    documents = run.ask("configuration", "apply", "edge-1", write({"content": {"modulesContent": {}}}))
    assert [each["moduleId"] for each in documents] == ["$edgeAgent", "$edgeHub"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"a": 1}, "configuration.content"),
        ([1], "json.not_object"),
        ({"deviceContent": {"tags.a": 1}}, "configuration.content"),
    ],
)
def test_a_file_without_content_is_refused(
    hub: Hub, run: Commands, write: Callable[[Any], str], document: Any, reason: str
) -> None:
    assert run("configuration", "create", "bad", write(document), code=1).startswith(reason)


def test_wrong_usage_is_told(hub: Hub, run: Commands, write: Callable[[Any], str]) -> None:
    assert "give --condition" in run("configuration", "update", "rate", code=2)
    assert "NAME=TEXT" in run("configuration", "create", "bad", write(CONTENT), "--label", "x", code=2)
    told = run("configuration", "create", "bad", write(CONTENT), "--condition", "tags.a ==", code=1)
    assert "configuration.condition: --condition, line 1, column 9:" in told


def test_a_hub_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    count = 600
    with running_hub(tmp_path / "hub") as hub:
        for begin in range(0, count, 100):
            items = [{"id": f"d{number:05}", "importMode": "create"} for number in range(begin, begin + 100)]
            hub.request("POST", "/devices", body=items)

        def counts() -> tuple[int, int]:
            results = hub.request("GET", "/configurations/all")["systemMetrics"]["results"]
            return results["targetedCount"], results["appliedCount"]

        body = {"content": CONTENT, "targetCondition": "*"}
        hub.request("PUT", "/configurations/all", body=body)
        hub.kill()
        hub.start()
        until("all devices are configured", lambda: counts() == (count, count), 60)
        hub.request("DELETE", "/configurations/all", if_match="*")
        hub.kill()
        hub.start()
        left = "SELECT COUNT() AS n FROM devices WHERE IS_DEFINED(properties.desired.rate)"
        query = {"query": left}
        until("all settings are gone", lambda: hub.request("POST", "/devices/query", body=query) == [{"n": 0}], 30)
