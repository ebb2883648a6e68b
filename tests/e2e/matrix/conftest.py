"""One hub on every port that device SDKs know, one program with all devices for Node, and certificates for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests import certs
from tests.e2e.node.workshop import Crowd, Workshop, install_packages
from tests.hubs import HTTPS_PORT, may_listen, sdk_hub


@pytest.fixture(scope="package")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    if not may_listen(HTTPS_PORT):
        pytest.skip("port 443 is not permitted here")
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node with npm")
    install_packages()
    folder = tmp_path_factory.mktemp("matrix")
    with sdk_hub(folder / "hub", https_port=HTTPS_PORT) as hub:
        (folder / "files").mkdir()
        # Made at first use; many threads would have the first use here.
        assert hub.owner
        with closing(Workshop(hub, folder / "files")) as workshop:
            yield workshop


@pytest.fixture(scope="package")
def crowd(workshop: Workshop) -> Iterator[Crowd]:
    with workshop.crowd("many_devices.js") as crowd:
        yield crowd
        crowd.end()


@pytest.fixture(scope="package")
def root(workshop: Workshop) -> certs.Issued:
    """A CA that the hub and provisioning trust."""
    root = certs.root("Matrix Root")
    workshop.bench.trust(root)
    return root
