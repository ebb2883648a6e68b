"""Device templates as they are edited: drafts, versions and views over REST (contract/central.md DT-10 to DT-12, 7.5).

IoT Central's API publishes what it is given at once; what is saved here is a draft until it is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.problems import encoded_response
from moorage.api.routing import Route
from moorage.api.schemas.application_templates import DRAFT, TEMPLATE, TEMPLATE_SUMMARY, VIEW, VIEW_DRAFT, VIEWS
from moorage.dialects.json_text import encode_json
from moorage.dialects.template_json import DRAFT_MEMBERS, draft_json, parse_draft, summary_json
from moorage.dialects.views_json import parse_view, view_json
from moorage.errors import NotFound
from moorage.fleet.template_model import MAX_DOCUMENT_CHARS, Content, Template, parse_template_id
from moorage.fleet.views import View, still_fitting

__all__ = ["template_routes"]

_VIEW: Final[Permission] = "templates.view"
_MANAGE: Final[Permission] = "templates.manage"
# A character may take several bytes, and a model has a name and a description around it.
_MAX_BYTES: Final = 2 * MAX_DOCUMENT_CHARS


def template_routes(services: OwnServices) -> list[Route]:
    return [*_draft_routes(services), *_view_routes(services)]


# -- drafts ------------------------------------------------------------------------------------------------------------


def _draft_routes(services: OwnServices) -> list[Route]:
    api, all_of_them = _Templates(services), "/deviceTemplates"
    one, answer = f"{all_of_them}/{{id}}", {200: TEMPLATE}
    return [
        own_route(
            "GET",
            all_of_them,
            api.list,
            _VIEW,
            "Device templates, those that were never published too.",
            answers={200: page_schema(TEMPLATE_SUMMARY)},
        ),
        own_route("GET", one, api.get, _VIEW, "One as it is edited, else as it is published.", answers=answer),
        own_route(
            "DELETE", one, api.delete, _MANAGE, "Delete one that is not used.", answers={204: None}, is_guarded=True
        ),
        own_route(
            "PUT",
            f"{one}/draft",
            api.save,
            _MANAGE,
            "Save what is being edited; devices have what is published.",
            body=DRAFT,
            answers=answer,
            is_guarded=True,
            max_body_bytes=_MAX_BYTES,
        ),
        own_route(
            "DELETE",
            f"{one}/draft",
            api.discard,
            _MANAGE,
            "Go back to what is published.",
            answers={204: None},
            is_guarded=True,
        ),
        own_route(
            "POST",
            f"{one}/publish",
            api.publish,
            _MANAGE,
            "Give devices what is being edited; of one that devices have, nothing may break.",
            answers=answer,
            is_guarded=True,
        ),
        own_route(
            "POST", f"{one}/newVersion", api.new_version, _MANAGE, "A draft of the next version of it.", answers=answer
        ),
    ]


class _Templates:
    def __init__(self, services: OwnServices) -> None:
        self._templates = services.templates

    async def list(self, call: ActorCall) -> Response:
        found = sorted(await self._templates.list(), key=lambda each: each.template_id)
        return await page_of(call, found, lambda each: each.template_id, summary_json)

    async def get(self, call: ActorCall) -> Response:
        return await _answer(draft_json, await self._templates.load(parse_template_id(call.path["id"])))

    async def save(self, call: ActorCall) -> Response:
        template_id, body = parse_template_id(call.path["id"]), await call.members(*DRAFT_MEMBERS)
        present, held = self._templates.find(template_id), etag_in(call, body)
        if present is None and held is not None:
            # What the caller read is gone.
            self._templates.get(template_id)

        def read() -> Content:
            """Views that show what is not there any more go with it."""
            made = parse_draft(body, template_id, self._templates.models)
            views = () if present is None else still_fitting(present.latest.own_views, made.interface)
            return replace(made, own_views=views)

        # A large model takes longer than the loop may wait.
        content = await asyncio.to_thread(read)
        if present is None:
            return await _answer(draft_json, await self._templates.create_draft(call.actor, content, template_id))
        saved = await self._templates.put_draft(call.actor, template_id, content, held or present.etag)
        return await _answer(draft_json, saved)

    async def discard(self, call: ActorCall) -> Response:
        await self._templates.discard_draft(call.actor, parse_template_id(call.path["id"]), etag_in(call, {}))
        return no_content()

    async def publish(self, call: ActorCall) -> Response:
        template_id = parse_template_id(call.path["id"])
        return await _answer(draft_json, await self._templates.publish(call.actor, template_id, etag_in(call, {})))

    async def new_version(self, call: ActorCall) -> Response:
        made = await self._templates.new_version(call.actor, parse_template_id(call.path["id"]))
        return await _answer(draft_json, made)

    async def delete(self, call: ActorCall) -> Response:
        await self._templates.delete(call.actor, parse_template_id(call.path["id"]), etag_in(call, {}))
        return no_content()


# -- views -------------------------------------------------------------------------------------------------------------


def _view_routes(services: OwnServices) -> list[Route]:
    api, all_of_them = _Views(services), "/deviceTemplates/{id}/views"
    one = f"{all_of_them}/{{view}}"
    return [
        own_route("GET", all_of_them, api.list, _VIEW, "Views of a device template.", answers={200: VIEWS}),
        own_route("GET", one, api.get, _VIEW, "One view.", answers={200: VIEW}),
        own_route(
            "PUT",
            one,
            api.put,
            _MANAGE,
            "Make a view, or put another in its place, in the draft of the template.",
            body=VIEW_DRAFT,
            answers={200: VIEW},
            is_guarded=True,
        ),
        own_route("DELETE", one, api.delete, _MANAGE, "Delete a view.", answers={204: None}, is_guarded=True),
    ]


class _Views:
    def __init__(self, services: OwnServices) -> None:
        self._templates = services.templates

    async def list(self, call: ActorCall) -> Response:
        def encode(template: Template) -> dict[str, Any]:
            return {"value": [view_json(view, template.etag) for view in template.latest.views]}

        return await _answer(encode, await self._load(call))

    async def get(self, call: ActorCall) -> Response:
        return await self._shown(call, await self._load(call))

    async def put(self, call: ActorCall) -> Response:
        body = await call.json_object()
        view, held = parse_view(call.path["view"], body), etag_in(call, body)
        template = await self._load(call)
        own = template.latest.own_views
        views = [view if each.view_id == view.view_id else each for each in own]
        if view not in views:
            views.append(view)
        return await self._shown(call, await self._save(call, template, views, held))

    async def delete(self, call: ActorCall) -> Response:
        template = await self._load(call)
        if _find(template, call).is_generated:
            raise NotFound("view.unknown", "this view follows from the model, and cannot be deleted")
        views = [each for each in template.latest.own_views if each.view_id != call.path["view"]]
        await self._save(call, template, views, etag_in(call, {}))
        return no_content()

    async def _load(self, call: ActorCall) -> Template:
        return await self._templates.load(parse_template_id(call.path["id"]))

    async def _save(self, call: ActorCall, template: Template, views: Sequence[View], held: str | None) -> Template:
        content = replace(template.latest, own_views=tuple(views))
        # What was read just now is what is changed.
        return await self._templates.put_draft(call.actor, template.template_id, content, held or template.etag)

    async def _shown(self, call: ActorCall, template: Template) -> Response:
        return await _answer(lambda each: view_json(_find(each, call), each.etag), template)


def _find(template: Template, call: ActorCall) -> View:
    """Raises `NotFound` (`view.unknown`)."""
    for view in template.latest.views:
        if view.view_id == call.path["view"]:
            return view
    raise NotFound("view.unknown", f"the template has no view {call.path['view'][:60]!r}")


async def _answer(encode: Callable[[Template], Any], template: Template) -> Response:
    # A large model takes longer than the loop may wait.
    return encoded_response(await asyncio.to_thread(lambda: encode_json(encode(template))))
