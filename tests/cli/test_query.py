"""`moorage query` against a real hub."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.cli import main
from tests.hubs import Hub, running_hub

Run = Callable[..., str]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("query") / "hub") as hub:
        for number in range(3):
            name = f"pump-{number}"
            hub.request("PUT", f"/devices/{name}", body={"deviceId": name, "authentication": {"type": "none"}})
            hub.request("PATCH", f"/twins/{name}", body={"tags": {"site": "A\x1b[2J", "floor": number}})
        hub.request("PUT", "/devices/pump-1/modules/camera", body={"authentication": {"type": "none"}})
        yield hub


@pytest.fixture
def run(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """What a command printed, on standard error when `code` is not 0."""
    monkeypatch.setenv("MOORAGE_DATA", str(hub.data))

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["query", *arguments]) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def test_whole_devices_are_a_table_of_what_matters(run: Run) -> None:
    heading, *rows = run("SELECT * FROM devices").splitlines()
    assert heading.split("\t") == ["device", "auth", "status", "connection", "last activity", "tags"]
    assert rows[1].split("\t")[:5] == ["pump-1", "none", "enabled", "Disconnected", "never"]
    assert json.loads(rows[1].split("\t")[5])["floor"] == 1


def test_modules_and_jobs_have_columns_of_their_own(run: Run) -> None:
    assert run("SELECT * FROM devices.modules").splitlines()[1].split("\t")[:2] == ["pump-1", "camera"]
    assert run("SELECT * FROM devices.jobs").splitlines() == ["job\tdevice\ttype\tstatus\tstarted\tended"]


def test_columns_are_those_of_the_projection_and_text_from_outside_is_escaped(run: Run) -> None:
    table = run("SELECT deviceId AS id, tags.floor, tags.site, tags.nothing FROM devices WHERE tags.floor > 1")
    assert table.splitlines() == ["id\tfloor\tsite\tnothing", "pump-2\t2\tA\\x1b[2J\t"]


def test_json_is_a_row_a_line_as_the_hub_gives_it(run: Run, hub: Hub) -> None:
    rows = [json.loads(line) for line in run("SELECT * FROM devices", "--json").splitlines()]
    assert rows == [hub.request("GET", f"/twins/pump-{number}") for number in range(3)]


def test_top_ends_it(run: Run) -> None:
    assert len(run("SELECT deviceId FROM devices", "--json", "--top", "2").splitlines()) == 2


def test_a_wrong_query_is_shown_with_the_place(run: Run) -> None:
    assert run("SELECT * FROM devices WHERE tags.site == 'A'", code=1).splitlines() == [
        "  SELECT * FROM devices WHERE tags.site == 'A'",
        "  " + " " * 39 + "^",
        "query.syntax: line 1, column 40: expected a value, a path or a function, found '='",
    ]


def test_watch_asks_again(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())", "query"]
    asked = [*command, "SELECT COUNT() AS n FROM devices", "--watch", "0.5", "--json", "--data", str(hub.data)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline()) for _ in range(2)] == [{"n": 3}, {"n": 3}]
        process.terminate()


@pytest.mark.parametrize("where", ["tag.site = 'A'", "tags.site = harbour"])
def test_a_name_that_no_row_has_is_noted(run: Run, capsys: pytest.CaptureFixture[str], where: str) -> None:
    assert main(["query", f"SELECT * FROM devices WHERE {where}"]) == 0
    name = "tag" if where.startswith("tag.") else "harbour"
    assert f"Note: devices have no field '{name}'" in capsys.readouterr().err


def test_names_that_rows_have_are_not_noted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["query", "SELECT COUNT(tags.a) AS n, status FROM devices WHERE DEVICEID != 'x' GROUP BY status"])
    assert capsys.readouterr().err == ""
