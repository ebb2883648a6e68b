"""Generated requests for every operation of our own API of the application: each gets the answer that its document
promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from moorage.api.application.routing import BASE
from moorage.api.routing import Route
from tests.api.application.test_rules import HOOK, HOT
from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.api.served import served_hub
from tests.fuzz.campaign import Campaign

_THINGS: Final[Mapping[str, Any]] = {
    f"/api/deviceTemplates/{PUMP}?api-version=2022-07-31": TEMPLATE,
    "/api/devices/d1?api-version=2022-07-31": {"template": PUMP},
    f"{BASE}/deviceTemplates/{PUMP}/views/hall": {"displayName": "Hall"},
    f"{BASE}/queries/g1": {"displayName": "Pressure", "measures": [{"name": "pressure"}]},
    f"{BASE}/roles/g1": {"displayName": "Watcher", "permissions": ["devices.view"]},
    "/api/organizations/g1?api-version=2022-07-31": {"displayName": "Line"},
    f"{BASE}/rules/g1": {"displayName": "Hot", "template": PUMP, "conditions": [HOT], "actions": [HOOK]},
}


class OwnCampaign(Campaign):
    @property
    def routes(self) -> Sequence[Route]:
        return [route for route in self._hub.app.application.own.routes if route.gate != "public"]

    async def _seeded(self) -> Mapping[str, Sequence[str]]:
        for path, document in _THINGS.items():
            await self._hub.ask("PUT", path, document, credential=self._hub.owner())
        return {
            "id": ("d1", "g1", PUMP, "nobody"),
            "action": ("none",),
            "picture": ("logo", "icon"),
            "view": ("hall", "overview"),
        }


@pytest.mark.timeout(300)
async def test_any_request_gets_the_answer_that_the_document_promises(tmp_path: Path) -> None:
    async with served_hub(tmp_path) as hub:
        campaign = OwnCampaign(hub, count=3, spoil=3, seed=1)
        operations = campaign.operations()
        await campaign.run(operations)
        assert campaign.findings.requests > len(operations) * 2
        # Most of them get as far as a handler.
        assert campaign.findings.answers[404] < campaign.findings.requests / 2
    assert not campaign.findings.wrong, campaign.findings.report()
