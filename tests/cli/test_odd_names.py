"""Names and values that mean something to shells, paths, queries or JSON: they name what they say, or are refused."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import main
from tests.hubs import Hub, running_hub

Run = Callable[..., str]
ODD = "o'brien;$(x)"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("odd") / "hub") as hub:
        yield hub


@pytest.fixture
def run(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command; what it printed, on standard error when `code` is not 0."""
    monkeypatch.setenv("MOORAGE_DATA", str(hub.data))

    def run(*arguments: str, code: int = 0) -> str:
        returned = main(arguments)
        said = capsys.readouterr()
        assert returned == code, said.err
        return said.err if code else said.out

    return run


def next_command(said: str) -> list[str]:
    """What a shell makes of the line that begins with `Next`, behind its colon."""
    (line,) = [line for line in said.splitlines() if line.startswith("Next")]
    return shlex.split(line.partition(": ")[2])


@pytest.mark.parametrize("name", [".", ".."])
def test_dots_are_a_name_and_no_step_in_a_path(run: Run, name: str) -> None:
    device = f"dotted-{len(name)}"
    run("device", "create", device)
    assert "module.not_found" in run("module", "delete", device, name, code=1)
    run("module", "create", device, name)
    assert json.loads(run("module", "show", device, name, "--json"))["moduleId"] == name
    run("module", "delete", device, name)
    assert f'"deviceId": "{device}"' in run("device", "show", device)


def test_an_empty_name_names_nothing(run: Run) -> None:
    run("device", "create", "nothing-below")
    for words in (("device", "show", ""), ("device", "delete", ""), ("module", "delete", "nothing-below", "")):
        assert "id.empty" in run(*words, code=1)
    assert "job.id" in run("job", "show", "query", code=1)


def test_what_comes_next_can_be_pasted_whatever_the_name(run: Run) -> None:
    assert next_command(run("device", "create", ODD)) == ["moorage", "cert", "device", ODD, "--issuer", "CA"]
    made = run("module", "create", ODD, "m;1")
    assert next_command(made) == ["moorage", "cert", "device", f"{ODD}/m;1", "--issuer", "CA"]
    made = run("job", "create", "twin-update", "--tags", '{"a": 1}', "--device", ODD, "--id", "j;$(y)'")
    assert next_command(made) == ["moorage", "job", "show", "j;$(y)'", "--watch"]
    assert f"moorage device show {shlex.quote(ODD)}" in run("token", "--device", ODD, code=1)


def test_a_gateway_may_have_a_quote_in_its_name(run: Run) -> None:
    run("device", "create", "gate'way", "--edge")
    run("device", "create", "below")
    run("device", "parent", "below", "gate'way")
    (child,) = run("device", "children", "gate'way", "--json").splitlines()
    assert json.loads(child)["deviceId"] == "below"


def test_who_stands_below_a_gateway_is_none(run: Run) -> None:
    run("device", "create", "real-gateway", "--edge")
    run("device", "create", "no-gateway")
    run("device", "create", "hopeful")
    run("device", "parent", "no-gateway", "real-gateway")
    assert "device_scope.no_edge" in run("device", "parent", "hopeful", "no-gateway", code=1)
    run("device", "parent", "hopeful", "real-gateway")
    assert run("device", "children", "no-gateway", "--json") == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"a": NaN}', "--tags is not JSON: there is no NaN"),
        ('{"a": -Infinity}', "--tags is not JSON: there is no -Infinity"),
        ("[" * 5000, "--tags is nested deeper"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": "\udcff"}', "half of a surrogate pair"),
    ],
)
def test_what_json_cannot_hold_is_refused_in_a_sentence(run: Run, value: str, said: str) -> None:
    assert said in run("twin", "update", "nobody", "--tags", value, code=1)


def test_a_name_that_is_no_text_is_refused_in_a_sentence(run: Run) -> None:
    assert "path.encoding" in run("device", "show", "\udcff", code=1)


def test_a_message_does_not_wait_longer_than_the_hub_lets_it(run: Run) -> None:
    run("device", "create", "patient")
    run("c2d", "send", "patient", "x", "--expires-in", str(2 * 24 * 3600 - 60))
    assert "--expires-in" in run("c2d", "send", "patient", "x", "--expires-in", "9" * 15, code=2)


@pytest.mark.parametrize("manifest", [[], {}, {"device": "d", "specimens": 5}, {"device": "d", "specimens": [{}]}])
def test_a_manifest_of_another_kind_is_named(run: Run, tmp_path: Path, manifest: Any) -> None:
    (tmp_path / "zoo.json").write_text(json.dumps(manifest))
    assert "zoo.manifest" in run("doctor", "zoo", str(tmp_path), code=1)


def test_a_zoo_leaves_out_what_its_device_cannot_have(run: Run, tmp_path: Path) -> None:
    run("cert", "root", "plant", "--out", str(tmp_path))
    make = ("cert", "zoo", "--ca", str(tmp_path / "plant_cert.pem"), "--out", str(tmp_path / "zoo"), "--json")
    names = {each["name"] for each in json.loads(run(*make, "--device", "007"))["specimens"]}
    assert "wrong-name" in names
    assert "wrong-case" not in names
    run(*make, "--device", "d" * 53)
    assert "at most 53" in run(*make, "--device", "d" * 54, code=2)
