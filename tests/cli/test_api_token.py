"""`moorage api-token`, against a hub that runs: what a program needs to call the application's REST API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.hubs import running_hub
from tests.servers.clients import tls_context


def test_a_token_is_made_shown_once_used_and_deleted(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        text = hub.moorage("api-token", "create", "ci", "--role", "operator", "--days", "2").strip()
        assert text.startswith("SharedAccessSignature sr=")
        assert text not in hub.moorage("api-token", "list")
        [shown] = hub.ask("api-token", "list")
        assert (shown["id"], "token" in shown) == ("ci", False)
        url = f"https://{hub.info.bind}:{hub.info.https_port}/api/devices?api-version=2022-07-31"
        with httpx.Client(verify=tls_context(hub.data / "ca-bundle.pem"), timeout=60) as client:
            assert client.get(url, headers={"authorization": text}).json() == {"value": []}
            with pytest.raises(AssertionError, match=r"api_token\.taken"):
                hub.moorage("api-token", "create", "ci")
            hub.moorage("api-token", "delete", "ci")
            assert client.get(url, headers={"authorization": text}).status_code == 401
        with pytest.raises(AssertionError, match=r"api_token\.missing"):
            hub.moorage("api-token", "delete", "ci")
        with pytest.raises(AssertionError, match=r"account\.role"):
            hub.moorage("api-token", "create", "ci", "--role", "emperor")
        for number in range(101):
            body = {"roles": [{"role": "operator"}]}
            hub.request("PUT", f"/api/apiTokens/t{number:03}", body=body, query={"api-version": "1.0"})
        assert len(hub.ask("api-token", "list")) == 101
        # Nothing that opens a door is in the log.
        assert "sig=" not in hub.log_text()
