"""The guide for Node does what it says, with the packages that are tested here."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from tests.docs.test_guides import blocks_of, play
from tests.e2e.node.workshop import HERE, Workshop

GUIDE = HERE.parents[2] / "docs" / "how-to" / "provision-node.md"


def test_the_guide_for_node_does_what_it_says(workshop: Workshop, tmp_path: Path) -> None:
    # Where the guide has them installed.
    packages = tmp_path / "build" / GUIDE.stem / "node_modules"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(HERE / "node_modules")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "NODE_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # Where the guide says that the hub is.
    (tmp_path / "build" / "hub").symlink_to(workshop.hub.data, target_is_directory=True)
    play(blocks_of(GUIDE.read_text()), tmp_path, environment, workshop.hub.hostname)
    assert len(workshop.bench.stored("valve-01")) == len(workshop.bench.stored("valve-02")) == 1


def test_the_guide_names_the_versions_that_are_tested() -> None:
    tested = json.loads((HERE / "package.json").read_text())["dependencies"]
    named = re.findall(r"(azure-[a-z0-9-]+)@([\d.]+)", GUIDE.read_text())
    assert len(named) == 5
    assert {name: tested[name] for name, _ in named} == dict(named)
    assert f"tested with {tested['azure-iothub']}" in GUIDE.read_text()
    reading = GUIDE.with_name("read-telemetry.md").read_text()
    assert re.findall(r"(@azure/[a-z-]+)@([\d.]+)", reading) == [("@azure/event-hubs", tested["@azure/event-hubs"])]
