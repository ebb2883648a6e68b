"""The zoo at a real hub: each certificate is offered over TLS, and the hub's own record says why it was refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moorage.cli import main
from tests.hubs import running_hub


def test_a_real_hub_says_of_each_what_it_has_to_say(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        hub.moorage("cert", "root", "plant", cwd=tmp_path)
        hub.moorage("ca", "add", "plant_cert.pem", "--prove-with", "plant_key.pem", cwd=tmp_path)
        (manifest,) = hub.ask("cert", "zoo", "--ca", "plant", "--out", "zoo", cwd=tmp_path)
        # Before its device is there, what is missing is said once, and nothing is tried.
        said = hub.moorage("doctor", "zoo", "zoo", cwd=tmp_path, code=1)
        assert "device.not_found" in said and said.count("zoo-pump") == 2, said
        assert "moorage device create zoo-pump" in said
        assert hub.attempts() == []
        hub.moorage("device", "create", "zoo-pump")
        results = hub.ask("doctor", "zoo", "zoo", cwd=tmp_path)
        assert len(results) == len(manifest["specimens"]) >= 30
        assert [result for result in results if not result["agrees"]] == []

        # A manifest that expects something else is told so: the command can fail.
        manifest["specimens"] = [{**manifest["specimens"][0], "reason": "chain.expired"}]
        (tmp_path / "zoo" / "zoo.json").write_text(json.dumps(manifest))
        hub.moorage("doctor", "zoo", "zoo", cwd=tmp_path, code=1)
        (tmp_path / "zoo" / "good_key.pem").unlink()
        assert "zoo.manifest" in hub.moorage("doctor", "zoo", "zoo", cwd=tmp_path, code=1)


def test_nothing_private_is_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cert", "root", "plant"]) == 0
    assert main(["cert", "zoo", "--ca", "plant"]) == 0
    assert {key.stat().st_mode & 0o777 for key in Path("zoo").glob("*_key.pem")} == {0o600}
