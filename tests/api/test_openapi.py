"""The OpenAPI document: it is one, it is about everything that is served, and it is what the hub hands out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from moorage.api.openapi import openapi_document, tag_of
from moorage.api.schemas.parameters import ANSWER_HEADERS, PATH_PARAMETERS, REQUEST_HEADERS
from tests.api.served import ServedHub, served_hub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    async with served_hub(tmp_path) as served:
        yield served


async def test_every_route_says_what_it_does_and_how_it_answers(hub: ServedHub) -> None:
    for route in hub.routes:
        where = f"{route.method} {route.pattern}"
        assert route.summary.endswith("."), f"{where} has no summary, or it is no sentence"
        assert any(200 <= status < 500 for status in route.answers), f"{where} does not say how it answers"
        assert route.body is None or route.method in ("PUT", "POST", "PATCH"), where
        assert set(route.headers) <= set(REQUEST_HEADERS), where
        assert set(route.answer_headers) <= set(ANSWER_HEADERS), where
        assert set(re.findall(r"{(\w+)}", route.template)) <= set(PATH_PARAMETERS), where
        assert tag_of(route), where


async def test_the_document_is_valid_and_covers_every_route(hub: ServedHub) -> None:
    served = (await hub.ask("GET", "/moorage/v1/openapi.json")).json()
    assert served == openapi_document(hub.routes)
    OpenAPIV31SpecValidator(served).validate()
    described = {(method.upper(), path) for path, operations in served["paths"].items() for method in operations}
    assert described == {(route.method, route.template) for route in hub.routes}
    identifiers = [operation["operationId"] for operation in _operations(served)]
    assert len(identifiers) == len(set(identifiers))


async def test_every_area_that_is_named_is_described(hub: ServedHub) -> None:
    document = openapi_document(hub.routes)
    described = {tag["name"] for tag in document["tags"]}
    assert {tag for operation in _operations(document) for tag in operation["tags"]} == described


async def test_what_needs_a_credential_says_which(hub: ServedHub) -> None:
    document = openapi_document(hub.routes)
    schemes = set(document["components"]["securitySchemes"])
    for route in hub.routes:
        security = document["paths"][route.template][route.method.lower()]["security"]
        assert (security == []) == (route.gate == "public"), route.pattern
        assert {name for each in security for name in each} <= schemes


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()
