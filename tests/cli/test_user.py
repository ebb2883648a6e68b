"""`moorage user`, and the link of a first start, against a hub that runs."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest

from moorage.config import SIGN_IN_LINK
from tests.hubs import Hub, free_port, running_hub
from tests.servers.clients import tls_context

PASSWORD = {"password": "a word that nobody guesses", "again": "a word that nobody guesses"}
OURS = {"sec-fetch-site": "same-origin"}


def browser(hub: Hub) -> httpx.Client:
    return httpx.Client(verify=tls_context(hub.data / "ca-bundle.pem"), headers=OURS, timeout=60)


def test_a_first_start_leaves_a_link_for_its_owner_alone_until_somebody_can_sign_in(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub", web_port=free_port()) as hub:
        file = hub.data / SIGN_IN_LINK
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        link = file.read_text().strip()
        assert link not in hub.log_text()
        with browser(hub) as client:
            assert client.post(link, data={"login": "ada", **PASSWORD}).status_code == 303
        [ada] = hub.ask("user", "list")
        assert (ada["login"], ada["role"], ada["hasPassword"]) == ("ada", "administrator", True)
        hub.restart()
        assert not file.exists()

        hub.moorage("user", "invite", "bob@plant.example", "--role", "builder")
        hub.moorage("user", "role", "bob@plant.example", "operator")
        hub.moorage("user", "disable", "BOB@plant.example")
        [_ada, bob] = hub.ask("user", "list")
        assert (bob["role"], bob["disabled"], bob["hasPassword"]) == ("operator", True, False)
        hub.moorage("user", "enable", "bob@plant.example")
        link = hub.moorage("user", "link", "bob@plant.example").strip()
        with browser(hub) as client:
            assert client.post(link, data=PASSWORD).headers["location"] == "/devices"
            assert client.get(f"{hub.info.web_url}devices").status_code == 200
            hub.moorage("user", "delete", "bob@plant.example")
            assert client.get(f"{hub.info.web_url}devices").status_code == 303


def test_without_an_application_there_is_nothing_to_sign_in_to(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        assert not (hub.data / SIGN_IN_LINK).exists()
        with pytest.raises(AssertionError, match=r"web\.none"):
            hub.moorage("user", "link")
        with pytest.raises(AssertionError, match=r"account\.unknown"):
            hub.moorage("user", "delete", "nobody")
