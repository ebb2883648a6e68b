"""Mistakes that people make at the command line, and that what is said then speaks of what they typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hubs import Hub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("words") / "hub") as hub:
        yield hub


def test_the_last_hub_that_takes_devices_is_not_taken_out_by_mistake(hub: Hub) -> None:
    (own,) = hub.ask("linked-hub", "list")
    said = hub.moorage("linked-hub", "remove", own["name"], code=1)
    assert "linked_hub.last" in said and "allocation.no_hub" in said
    assert hub.ask("linked-hub", "list") == [own]
    removed = hub.moorage("linked-hub", "remove", own["name"], "--force")
    assert hub.ask("linked-hub", "list") == []
    _, way_back = removed.strip().rsplit("To put it back: moorage ", 1)
    hub.moorage(*way_back.split())
    assert [each["name"] for each in hub.ask("linked-hub", "list")] == [own["name"]]


def test_a_hub_that_is_not_linked_is_called_so(hub: Hub) -> None:
    (own,) = hub.ask("linked-hub", "list")
    said = hub.moorage("linked-hub", "update", "typo.example", "--weight", "0", code=1)
    assert f"'typo.example' is not linked; linked: {own['name']}" in said


def test_a_job_that_selects_nobody_says_that_it_did_nothing(hub: Hub) -> None:
    said = hub.moorage(
        "job",
        "create",
        "twin-update",
        "--where",
        "tags.site = 'nowhere'",
        "--tags",
        '{"a": 1}',
        "--id",
        "none",
        "--wait",
    )
    assert said == "Job none is completed. The condition selects no device: nothing was done.\n"


@pytest.mark.parametrize("option", ["--where", "--condition"])
def test_a_condition_that_is_none_is_shown_with_its_place(hub: Hub, tmp_path: Path, option: str) -> None:
    content = tmp_path / "content.json"
    content.write_text(json.dumps({"deviceContent": {"properties.desired.rate": 5}}))
    job = ("job", "create", "twin-update", "--tags", '{"a": 1}', "--where")
    command = job if option == "--where" else ("configuration", "create", "c", str(content), "--condition")
    said = hub.moorage(*command, "tags.site == 'a'", code=1)
    assert said.startswith("  tags.site == 'a'\n             ^")
    assert f"{option}, line 1, column 12:" in said
    for text in ("WHERE tags.site = 'a'", "SELECT * FROM devices WHERE tags.site = 'a'"):
        assert "give only what stands behind WHERE" in hub.moorage(*command, text, code=1)


def test_ends_of_jobs_may_be_spelled_either_way(hub: Hub) -> None:
    for spelling in ("canceled", "cancelled", "Cancelled"):
        assert hub.ask("job", "list", "--status", spelling) == []
    hub.ask("job", "create", "twin-update", "--device", "ghost", "--tags", '{"a": 1}', "--id", "spelled")
    (watched,) = hub.ask("job", "show", "spelled", "--watch", "0.5")
    assert watched["status"] == "completed"
    for spelling in ("canceled", "cancelled"):
        assert hub.ask("job", "show", "spelled", "--devices", "--status", spelling) == []


def test_an_export_is_not_called_csv(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "out.CSV"
    said = hub.moorage("device", "export", str(file), code=2)
    assert "out.jsonl" in said and not file.exists()


def test_csv_is_read_as_csv_whatever_it_is_called(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "fleet.txt"
    file.write_text('\ufefftags.site,"ID"\na,csv-1\na,csv-2\n')
    (told,) = hub.ask("device", "import", str(file))
    assert (told["done"], told["refused"]) == (2, 0)
    assert hub.request("GET", "/twins/csv-1")["tags"] == {"site": "a"}


def test_json_that_speaks_of_ids_is_not_taken_for_csv(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "fleet"
    file.write_text('{"id": "json-1", "tags": {"names": {"a": 1}}, "x": ["a", "id", "b"]}\n')
    (told,) = hub.ask("device", "import", str(file))
    assert (told["done"], told["refused"]) == (1, 0)


def test_an_empty_file_holds_nothing(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    assert hub.ask("device", "import", str(file))[0]["done"] == 0


def test_a_parent_that_is_not_there_is_called_by_its_name(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text("id,parent\nchild,nogate\n")
    said = hub.moorage("device", "import", str(file), code=1)
    assert "there is no edge device 'nogate'" in said and "ms-azure" not in said


@pytest.mark.parametrize("spelling", ["geo-latency", "geolatency", "geoLatency", "GEO-LATENCY"])
def test_a_policy_is_known_by_all_its_spellings(hub: Hub, spelling: str) -> None:
    name = f"group-{spelling}".lower()
    command = ("enrollment-group", "create", name, "--symmetric-key", "--allocation", spelling)
    (made,) = hub.ask(*command)
    assert made["allocationPolicy"] == "geoLatency"
    hub.moorage("enrollment-group", "delete", name)
    assert hub.ask("linked-hub", "policy", spelling)[0]["allocationPolicy"] == "geoLatency"


def test_a_policy_names_what_else_it_takes(hub: Hub) -> None:
    create = ("enrollment", "create", "placed", "--symmetric-key", "--allocation")
    assert "--webhook FILE" in hub.moorage(*create, "custom", code=2)
    assert "first linked hub" in hub.moorage(*create, "static")
    assert "--webhook FILE" in hub.moorage("enrollment", "update", "placed", "--allocation", "custom", code=2)


def test_a_configuration_that_exists_is_updated_instead(hub: Hub, tmp_path: Path) -> None:
    content = tmp_path / "content.json"
    content.write_text(json.dumps({"deviceContent": {"properties.desired.rate": 5}}))
    hub.moorage("configuration", "create", "twice", str(content))
    said = hub.moorage("configuration", "create", "twice", str(content), code=1)
    assert "fix: moorage configuration update twice" in said and "If-Match" not in said


@pytest.mark.parametrize(
    "command",
    [
        ("device", "show", "typo"),
        ("device", "update", "typo", "--status", "enabled"),
        ("device", "connection-string", "typo"),
        ("twin", "show", "typo"),
        ("twin", "update", "typo", "--tags", "{}"),
        ("monitor", "typo"),
        ("token", "--device", "typo"),
        ("c2d", "send", "typo", "hello"),
        ("method", "call", "typo", "reboot"),
        ("module", "list", "typo"),
    ],
)
def test_who_has_to_exist_is_looked_for_not_made(hub: Hub, command: tuple[str, ...]) -> None:
    said = hub.moorage(*command, code=1)
    assert "device.not_found" in said and said.endswith("  fix: moorage device list\n")


def test_the_device_of_a_new_module_is_made(hub: Hub) -> None:
    assert "fix: moorage device create typo" in hub.moorage("module", "create", "typo", "m", code=1)


@pytest.mark.parametrize(
    ("command", "code", "named"),
    [
        (("monitor", "--follow", "--watch", "1"), 2, "leave --watch out"),
        (("monitor", "pump", "--prefix", "x"), 2, "not both"),
        (("monitor", "--expires-before", "soon"), 1, "--expires-before"),
        (("job", "create", "twin-update", "--tags", "{}", "--where", "*", "--start", "soon"), 1, "--start"),
        (("twin", "update", "pump", "--tags", "@my file"), 1, "--tags \"$(cat 'my file')\""),
        (("twin", "update", "pump", "--tags", "{site: a}"), 1, "give JSON in quotes"),
    ],
)
def test_options_are_called_by_their_names(hub: Hub, command: tuple[str, ...], code: int, named: str) -> None:
    assert named in hub.moorage(*command, code=code)
