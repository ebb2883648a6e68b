"""What every call of the Central API has in common: versions, credentials, errors, pages (central.md 22.1; PC-18)."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from moorage.accounts.model import OWNER, OrganizationId
from moorage.accounts.token_model import TokenId
from moorage.ids import DEFAULT_HUB
from tests.api.central.world import Central, central_hub

_GROUPS = "/api/enrollmentGroups"


_VERSIONS: tuple[str, ...] = (
    "2022-07-31",
    "2022-05-31",
    "1.0",
    "2022-10-31-preview",
    "2022-06-30-preview",
)


async def test_versions_that_are_served(central: Central) -> None:
    for version in _VERSIONS:
        assert (await central.get("/enrollmentGroups", version=version)).status == 200, version


_NO_VERSIONS: tuple[str, ...] = (
    "",
    "?api-version=undefined",
    "?api-version=",
)


async def test_a_call_without_a_version_finds_nothing_as_in_the_service(central: Central) -> None:
    for query in _NO_VERSIONS:
        answer = await central.hub.ask("GET", _GROUPS + query, credential=central.hub.owner())
        assert (answer.status, answer.header("x-ms-error-code")) == (404, "NotFound")
        assert answer.header("moorage-reason") == "api.version"
        assert "2022-07-31" in answer.json()["error"]["message"]


async def test_an_error_says_code_message_request_and_time(central: Central) -> None:
    answer = await central.get("/enrollmentGroups/missing")
    error = answer.json()["error"]
    assert list(error) == ["code", "message", "requestId", "time"]
    assert error["code"] == answer.header("x-ms-error-code") == "NotFound"
    assert error["requestId"] == answer.header("x-ms-request-id")
    assert "missing" in error["message"]
    assert abs(parsedate_to_datetime(error["time"]) - central.hub.app.clock.now()) < timedelta(minutes=1)


async def test_paths_and_methods_that_are_not_served(central: Central) -> None:
    unknown = await central.get("/toasters")
    assert (unknown.status, unknown.json()["error"]["code"]) == (404, "NotFound")
    wrong = await central.call("POST", "/enrollmentGroups")
    assert (wrong.status, wrong.json()["error"]["code"], wrong.header("allow")) == (405, "MethodNotAllowed", "GET")
    assert (
        await central.hub.ask("GET", "/API/EnrollmentGroups?api-version=1.0", credential=central.hub.owner())
    ).status == 200


_STRANGERS: tuple[str | None, ...] = (
    None,
    "Basic YTpi",
    "Bearer of-something-else",
    "SharedAccessSignature",
    "SharedAccessSignature sr=a&sig=b&skn=c&se=9999999999",
)


async def test_who_is_nobody_is_told_little_and_kept_in_mind(central: Central) -> None:
    for header in _STRANGERS:
        answer = await central.hub.ask("GET", _GROUPS + "?api-version=1.0", credential=header)
        assert (answer.status, answer.json()["error"]["code"]) == (401, "Unauthenticated"), header
        assert answer.header("www-authenticate") == "SharedAccessSignature"
        await central.hub.app.attempts.flush()
        found = await central.hub.app.attempts.find(
            DEFAULT_HUB,
            device=None,
            thumbprint=None,
            tracking_id=answer.header("x-ms-request-id"),
            limit=9,
        )
        assert [attempt.claimed_id for attempt in found] == ["GET /api/enrollmentGroups"]


async def test_policies_of_the_hub_open_nothing_here(central: Central) -> None:
    token = central.hub.policy("dps", "provisioningserviceowner")
    assert (await central.get("/enrollmentGroups", who=token)).status == 401


async def test_a_token_opens_nothing_of_the_hub_itself(central: Central) -> None:
    token = await central.token("administrator")
    assert (await central.hub.ask("GET", "/devices/pump-01?api-version=2021-04-12", credential=token)).status == 401


async def test_a_cookie_opens_nothing(central: Central) -> None:
    answer = await central.hub.ask("GET", _GROUPS + "?api-version=1.0", headers=[(b"cookie", b"moorage=x")])
    assert answer.status == 401


async def test_a_token_that_was_deleted_is_nobodys(central: Central) -> None:
    _, text = await central.application.tokens.create(OWNER, TokenId("ci"), "builder", OrganizationId(""))
    assert (await central.get("/enrollmentGroups", who=text.reveal())).status == 200
    await central.application.tokens.delete(OWNER, TokenId("ci"))
    assert (await central.get("/enrollmentGroups", who=text.reveal())).status == 401


async def test_a_page_is_as_long_as_asked_and_at_most_100(central: Central) -> None:
    for query, length in (("$top=1", 1), ("maxpagesize=1", 1), ("$top=1000000", 2), ("", 2)):
        answer = await central.get(f"/enrollmentGroups?{query}")
        assert len(answer.json()["value"]) == length
        assert answer.header("cache-control") == "no-store"
    for query in ("$top=0", "$top=many", "maxpagesize=-1", "$skiptoken=%00", "$skiptoken=" + "a" * 4000):
        answer = await central.get(f"/enrollmentGroups?{query}")
        assert (answer.status, answer.json()["error"]["code"]) == (400, "BadRequest"), query


async def test_the_next_link_goes_where_the_caller_called(central: Central) -> None:
    for host, expected in ((b"factory.example.org:8443", "factory.example.org:8443"), (b"a/b@c", None)):
        answer = await central.get("/enrollmentGroups?$top=1", headers=[(b"host", host)])
        link = answer.json()["nextLink"]
        shown = expected or central.hub.app.info().service_host
        assert link.startswith(f"https://{shown}/api/enrollmentGroups?"), link
        assert re.search(r"[?]%24top=1&api-version=2022-07-31&%24skiptoken=\w+", link)


async def test_a_body_that_is_too_large_is_not_read(central: Central) -> None:
    answer = await central.put("/enrollmentGroups/x", b'{"displayName": "' + b"x" * 300_000 + b'"}')
    assert (answer.status, answer.json()["error"]["code"]) == (413, "PayloadTooLarge")
    assert answer.header("connection") == "close"


async def test_one_token_that_asks_too_often_holds_up_itself_alone(tmp_path: Path) -> None:
    async with central_hub(tmp_path, throttle_central_per_second="2") as central:
        busy, other = await central.token("operator"), await central.token("operator")
        answers = [await central.get("/enrollmentGroups", who=busy) for _ in range(8)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        assert refused[0].json()["error"]["code"] == "TooManyRequests"
        assert refused[0].header("retry-after") == "1"
        assert (await central.get("/enrollmentGroups", who=other)).status == 200
        assert {(await central.get("/enrollmentGroups")).status for _ in range(8)} == {200}


async def test_the_document_lists_every_route_and_names_who_may(central: Central) -> None:
    answer = await central.hub.ask("GET", "/api/openapi.json")
    assert answer.status == 200
    document = answer.json()
    shown = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert shown == {
        (route.template, route.method)
        for route in central.application.central.routes
        if route.pattern != "/api/openapi.json"
    }
    operation = document["paths"]["/api/enrollmentGroups/{id}"]["put"]
    assert operation["description"] == "For the owner, and for whoever has the permission certificates.manage."
    version = next(parameter for parameter in operation["parameters"] if parameter["name"] == "api-version")
    assert version["required"]


async def test_where_files_go_is_shown_and_changed_where_the_hub_is_started(tmp_path: Path) -> None:
    async with central_hub(tmp_path, upload_lifetime_minutes="5") as central:
        shown = (await central.get("/fileUploads")).json()
        assert (shown["state"], shown["sasTtl"], shown["connectionString"]) == ("succeeded", "PT5M", "built-in store")
        for method in ("PUT", "PATCH", "DELETE"):
            refused = await central.call(method, "/fileUploads", {})
            assert (refused.status, refused.header("moorage-reason")) == (400, "resource.fixed")
    async with central_hub(tmp_path / "other", upload_store=(tmp_path / "files").as_uri()) as central:
        shown = (await central.get("/fileUploads")).json()
        assert shown["connectionString"] == (tmp_path / "files").as_uri()
