"""Exports and destinations tried over our own REST (central.md 16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.application.world import Own, own_hub
from tests.callees import answer, callee

EXPORT: dict[str, Any] = {"displayName": "Out", "source": "deviceLifecycle", "destinations": [{"id": "hook"}]}


async def test_a_test_goes_to_a_destination_that_is_stored_or_given(tmp_path: Path) -> None:
    async with own_hub(tmp_path, egress_allow="127.0.0.1") as own:
        async with callee(answer(200), tls=False, names=["127.0.0.1"]) as hook:
            hidden = {"type": "header", "value": "let me in"}
            given = {"displayName": "Hook", "type": "webhook@v1", "url": f"{hook.url}/in", "authorization": hidden}
            assert (await own.call("POST", "/dataExport/destinations/test", given)).status == 204
            preview = "/dataExport/destinations/hook"
            assert (await own.central.call("PUT", preview, given, version="2022-10-31-preview")).status == 200
            assert (await own.call("POST", f"{preview}/test", b"")).status == 204
            assert [(each.target, each.headers["authorization"]) for each in hook.received] == [
                ("/in", "let me in"),
                ("/in", "let me in"),
            ]
        for path, body, status in (
            ("/test", {"displayName": "x"}, 400),
            ("/test", {**given, "weather": 1}, 400),
            ("/none/test", b"", 404),
        ):
            answered = await own.call("POST", f"/dataExport/destinations{path}", body)
            assert answered.status == status, answered.body
        # Nobody is there any more.
        gone = await own.call("POST", f"{preview}/test", b"")
        assert gone.status in (502, 503, 504), gone.body


async def test_a_sample_is_of_an_export_that_is_stored_or_given(own: Own) -> None:
    hook = {"displayName": "Hook", "type": "webhook@v1", "url": "https://desk.example/in"}
    preview = "2022-10-31-preview"
    assert (await own.central.call("PUT", "/dataExport/destinations/hook", hook, version=preview)).status == 200
    assert (await own.central.call("PUT", "/dataExport/exports/out", EXPORT, version=preview)).status == 200
    for path, body in (("/sample", EXPORT), ("/out/sample", b"")):
        empty = await own.call("POST", f"/dataExport/exports{path}", body)
        assert (empty.status, empty.json()) == (200, {"value": [{"destination": "hook", "body": None}]}), empty.body
    for path, wrong, status in (
        ("/sample", {"displayName": "x"}, 400),
        ("/sample", {**EXPORT, "source": "weather"}, 400),
        ("/sample", {**EXPORT, "destinations": [{"id": "nowhere"}]}, 404),
        ("/none/sample", b"", 404),
    ):
        answered = await own.call("POST", f"/dataExport/exports{path}", wrong)
        assert answered.status == status, (wrong, answered.body)
