"""What every call of our own API of the application has in common: credentials, errors, its document."""

from __future__ import annotations

from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from moorage.api.application.routing import BASE
from moorage.api.openapi import openapi_document, tag_of
from moorage.api.schemas.parameters import REQUEST_HEADERS
from moorage.ids import DEFAULT_HUB
from tests.api.application.world import Own, own_hub


async def test_an_error_says_code_reason_sentence_fix_and_tracking_id(own: Own) -> None:
    answer = await own.get("/rules/none")
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "trackingId", "reason", "fix"}
    assert (answer.status, error["code"], error["reason"]) == (404, "NotFound", "rule.unknown")
    assert error["trackingId"] == answer.header("x-ms-request-id")
    assert answer.header("moorage-reason") == "rule.unknown"
    wrong = await own.call("POST", "/rules")
    assert (wrong.status, wrong.json()["error"]["code"], wrong.header("allow")) == (405, "MethodNotAllowed", "GET")
    good = await own.get("/rules")
    assert (good.status, good.header("cache-control")) == (200, "no-store")
    assert good.header("x-ms-request-id")
    assert (await own.hub.ask("GET", BASE.upper() + "/Rules", credential=own.hub.owner())).status == 200


async def test_a_path_beside_ours_is_the_hubs(own: Own) -> None:
    for path in (BASE + "s/rules", "/moorage/v1/applicationrules"):
        answer = await own.hub.ask("GET", path, credential=own.hub.owner())
        assert (answer.status, answer.header("iothub-errorcode") is None) == (404, False), path
    assert (await own.hub.ask("GET", "/moorage/v1/env", credential=own.hub.owner())).status == 200


async def test_who_is_nobody_is_told_little_and_kept_in_mind(own: Own) -> None:
    for header in (None, "Bearer x", "SharedAccessSignature sr=a&sig=b&skn=c&se=9999999999"):
        answer = await own.hub.ask("GET", BASE + "/rules", credential=header)
        assert (answer.status, answer.json()["error"]["code"]) == (401, "Unauthorized"), header
        assert answer.header("www-authenticate") == "SharedAccessSignature"
    await own.hub.app.attempts.flush()
    found = await own.hub.app.attempts.find(
        DEFAULT_HUB, device=None, thumbprint=None, tracking_id=answer.header("x-ms-request-id"), limit=9
    )
    assert [attempt.claimed_id for attempt in found] == [f"GET {BASE}/rules"]
    cookie = await own.hub.ask("GET", BASE + "/rules", headers=[(b"cookie", b"moorage=x")])
    assert cookie.status == 401


async def test_one_caller_has_one_allowance_for_both_apis(tmp_path: Path) -> None:
    async with own_hub(tmp_path, throttle_central_per_second="2") as own:
        busy = await own.token("operator")
        answers = [
            answer
            for _ in range(6)
            for answer in (await own.get("/rules", who=busy), await own.central.get("/deviceGroups", who=busy))
        ]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) >= 6
        assert refused[0].header("retry-after") == "1"


async def test_the_document_is_valid_open_to_all_and_covers_every_route(own: Own) -> None:
    answer = await own.hub.ask("GET", BASE + "/openapi.json")
    document = answer.json()
    OpenAPIV31SpecValidator(document).validate()
    routes = [route for route in own.application.own.routes if route.gate != "public"]
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.template) for route in routes}
    assert document["paths"] == openapi_document(routes)["paths"]
    for route in routes:
        where = f"{route.method} {route.pattern}"
        assert route.summary.endswith("."), where
        assert any(200 <= status < 300 for status in route.answers), where
        assert set(route.headers) <= set(REQUEST_HEADERS), where
        assert tag_of(route) != "moorage", where
