"""One hub with its application for a whole run, a browser, a person in each theme; tests keep apart by their names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium
from tests.browser.furniture import Furnished, furnished
from tests.browser.pages import THEMES, Person, Theme, signed_in
from tests.e2e.node.workshop import Workshop, install_packages
from tests.hubs import HTTPS_PORT, free_port, sdk_hub

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # azure-iot-device 2.14.0 asks for exactly TLS 1.2 by a constant that Python has deprecated.
            item.add_marker(pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning"))
            # Its paho-mqtt drops the sockets that wake its thread when it connects again.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
            # A browser, a hub and an SDK that provisions, on two cores.
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A hub with its application on the ports that SDKs know, and the tutorials' generator beside it."""
    install_packages()
    folder = tmp_path_factory.mktemp("browser")
    certificates = folder / "certificates"
    certificates.mkdir()
    with (
        sdk_hub(folder / "hub", "--egress-allow", "127.0.0.1", https_port=HTTPS_PORT, web_port=free_port()) as hub,
        ExitStack() as stack,
    ):
        workshop = Workshop(hub, certificates)
        stack.callback(workshop.close)
        yield workshop


@pytest.fixture(scope="session")
def plant(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """Pumps at work and one of everything beside them, for whoever looks at all pages."""
    with furnished(browser, tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest) -> Theme:
    theme: Theme = request.param
    return theme


@pytest.fixture
def person(browser: Browser, workshop: Workshop, theme: Theme) -> Iterator[Person]:
    """An administrator at work."""
    with signed_in(browser, workshop.hub, f"ada-{next(_numbers)}", theme) as person:
        yield person


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """A name that no other test of this run has."""

    def new_name(prefix: str) -> str:
        return f"{prefix}-{next(_numbers)}"

    return new_name
