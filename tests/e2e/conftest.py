"""One hub for the whole run, with a CA that is registered and proven; tests keep apart by their device ids."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager

from tests import certs
from tests.certs import Issued
from tests.compatibility import watched
from tests.e2e.sdk import Bench
from tests.hubs import Hub, sdk_hub, transfer_flags

_SDK_WARNINGS = (
    # azure-iot-device 2.14.0 asks for exactly TLS 1.2 by a constant that Python has deprecated.
    "ignore:ssl.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning:azure.iot.device.common.mqtt_transport",
    "ignore:ssl.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning:azure.iot.device.common.http_transport",
    # paho-mqtt 1.6, under it, drops the pair of sockets that wakes its thread when it connects again.
    "ignore:unclosed <socket:ResourceWarning:paho.mqtt.client",
)

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for warning in _SDK_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session", autouse=True)
def no_timers_left() -> Iterator[None]:
    """A provisioning client that failed leaves its timer of 30 s running, for which Python would wait at its end."""
    yield
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("e2e")
    with sdk_hub(folder / "hub", *transfer_flags(folder)) as hub:
        yield hub


@pytest.fixture(scope="session")
def bench(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(hub, tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def plant(bench: Bench) -> Issued:
    """A root that the hub and provisioning trust."""
    root = certs.root("E2E Plant Root")
    bench.trust(root)
    return root


@pytest.fixture(scope="session")
def service(hub: Hub) -> Iterator[Any]:
    """The service SDK as the hub's owner; its calls are noted for `proves`."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("REQUESTS_CA_BUNDLE", str(hub.ca_bundle))
        yield watched(IoTHubRegistryManager.from_connection_string(hub.connection_string), "azure-iot-hub")


@pytest.fixture
def new_id() -> Callable[..., str]:
    """A name that no other test has."""

    def new_id(prefix: str = "pump") -> str:
        return f"{prefix}-{next(_numbers):03}"

    return new_id
