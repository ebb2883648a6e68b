"""One hub for all Node programs, on the ports that they cannot be told otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.node.backend import Backend
from tests.e2e.node.workshop import Workshop, install_packages
from tests.hubs import HTTPS_PORT, may_listen, sdk_hub, transfer_flags


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    if not (shutil.which("node") and shutil.which("npm") and shutil.which("openssl")):
        pytest.skip("needs Node with npm, and the openssl tool that the npm package pem runs")
    install_packages()
    folder = tmp_path_factory.mktemp("node")
    https_port = HTTPS_PORT if may_listen(HTTPS_PORT) else 0
    with sdk_hub(folder / "hub", *transfer_flags(folder), https_port=https_port) as hub:
        (folder / "files").mkdir()
        with closing(Workshop(hub, folder / "files")) as workshop:
            yield workshop


@pytest.fixture(scope="session")
def backend(workshop: Workshop) -> Iterator[Backend]:
    """The service SDKs in one program. They know port 443 and no other."""
    if f":{workshop.hub.info.https_port}" in workshop.hub.connection_string:
        pytest.skip("the hub could not have port 443 here")
    with workshop.start("calls.js", {}) as program:
        yield Backend(program, workshop.hub)
        program.end()
