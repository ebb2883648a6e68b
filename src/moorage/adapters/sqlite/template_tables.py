"""Device templates (port: `fleet.template_model.TemplateTable`)."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import Content, Template, TemplateSummary
from moorage.fleet.views import Subject, Tile, View
from moorage.ids import HubId

__all__ = ["Templates"]

_T = schema.device_templates.c
_PUT = upsert(schema.device_templates)
_FIND = select_by(
    schema.device_templates,
    [_T.published, _T.draft, _T.created, _T.updated, _T.version],
    "hub_id",
    "template_id",
)
_VERSION = select_by(schema.device_templates, [_T.version], "hub_id", "template_id")
_DELETE = delete_by(schema.device_templates, "hub_id", "template_id")
_SUMMARIES = compile_sql(
    sa.select(
        _T.template_id,
        _T.display_name,
        _T.model_id,
        _T.published.is_not(None),
        _T.draft.is_not(None),
        _T.updated,
    )
    .where(_T.hub_id == parameter("hub_id"))
    .order_by(sa.func.lower(_T.display_name), _T.template_id),
    "hub_id",
)
_COUNT = compile_sql(
    sa.select(sa.func.count()).select_from(schema.device_templates).where(_T.hub_id == parameter("hub_id")),
    "hub_id",
)
_PUBLISHED_FOR = compile_sql(
    limited(
        sa.select(_T.template_id)
        .where(_T.hub_id == parameter("hub_id"), _T.published_model == parameter("published_model"))
        .order_by(_T.created.desc(), _T.template_id.desc())
    ),
    "hub_id",
    "published_model",
    "limit",
)


class Templates:
    """Port: `fleet.template_model.TemplateTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, template_id: TemplateId) -> Template | None:
        row = self._connection.execute(_FIND, (hub, template_id)).fetchone()
        if row is None:
            return None
        published, draft, created, updated, version = row
        return Template(
            hub,
            template_id,
            _from_text(published),
            _from_text(draft),
            from_micros(created),
            from_micros(updated),
            version,
        )

    def version_of(self, hub: HubId, template_id: TemplateId) -> int | None:
        row = self._connection.execute(_VERSION, (hub, template_id)).fetchone()
        return None if row is None else row[0]

    def put(self, template: Template) -> None:
        self._connection.execute(
            _PUT,
            (
                template.hub,
                template.template_id,
                template.display_name,
                template.model_id,
                # Empty, not NULL, which no index finds.
                template.published.interface.id if template.published else "",
                to_micros(template.created),
                to_micros(template.updated),
                template.version,
                _to_text(template.published),
                _to_text(template.draft),
            ),
        )

    def delete(self, hub: HubId, template_id: TemplateId) -> None:
        self._connection.execute(_DELETE, (hub, template_id))

    def summaries(self, hub: HubId) -> list[TemplateSummary]:
        return [
            TemplateSummary(
                TemplateId(template_id), display_name, model_id, bool(published), bool(draft), from_micros(updated)
            )
            for template_id, display_name, model_id, published, draft, updated in self._connection.execute(
                _SUMMARIES, (hub,)
            ).fetchall()
        ]

    def count(self, hub: HubId) -> int:
        count: int = self._connection.execute(_COUNT, (hub,)).fetchone()[0]
        return count

    def published_for(self, hub: HubId, model_id: str) -> TemplateId | None:
        row = self._connection.execute(_PUBLISHED_FOR, (hub, model_id, 1)).fetchone()
        return None if row is None else TemplateId(row[0])


def _to_text(content: Content | None) -> str | None:
    if content is None:
        return None
    views = [
        [
            view.view_id,
            view.name,
            view.kind,
            [[tile.kind, tile.title, tile.subjects, tile.text] for tile in view.tiles],
        ]
        for view in content.own_views
    ]
    # The model as the text that it is, so that what reads it back finds it parsed already.
    return to_json([content.display_name, content.description, content.text, views])


def _from_text(text: str | None) -> Content | None:
    if text is None:
        return None
    display_name, description, model, views = from_json(text)
    return Content(display_name, description, model, tuple(_view(*view) for view in views))


def _view(view_id: str, name: str, kind: Any, tiles: list[Any]) -> View:
    return View(view_id, name, kind, tuple(_tile(*tile) for tile in tiles))


def _tile(kind: Any, title: str, subjects: list[Any], text: str) -> Tile:
    return Tile(kind, title, tuple(Subject(component, name) for component, name in subjects), text)
