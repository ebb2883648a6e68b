"""Device groups: stored queries, written as rows of a form or as text, and who belongs (contract/central.md 11)."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.dtdl.model import Interface
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal
from moorage.fleet.group_query import FACTS, OPERATORS, FilterRow, parse_group_query, write
from moorage.fleet.groups import DeviceGroup, GroupDraft, parse_group_id
from moorage.fleet.model import TemplateId
from moorage.ids import ETag
from moorage.query.problems import InvalidQuery
from moorage.web.board_code import device_group_acts
from moorage.web.code import Act
from moorage.web.forms import about
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_group_pages"]

# Rows that a form has at most; more conditions are written as text.
_MAX_ROWS: Final = 20
_SHOWN: Final = 25
_PAGE: Final = 50


def device_group_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceGroups(services, renderer)
    one = "/device-groups/{group_id}"
    return [
        Page("GET", "/device-groups", pages.all, "groups.view"),
        Page("GET", "/device-groups/new", pages.new, "groups.manage"),
        Page("POST", "/device-groups", pages.create, "groups.manage", keeps=True),
        Page("POST", "/device-groups/preview", pages.preview, "groups.view"),
        Page("GET", one, pages.show, "groups.view"),
        Page("POST", one, pages.save, "groups.manage", keeps=True),
        Page("GET", one + "/devices", pages.devices, "groups.view"),
        Page("POST", one + "/delete", pages.delete, "groups.manage"),
    ]


class _DeviceGroups:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._groups = services.groups
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        rows = await self._groups.listed(visit.actor)
        return await self._renderer.long_page(
            visit, "device_groups/list.html", rows=rows, names=await self._template_names(), organizations=self._nodes()
        )

    async def new(self, visit: Visit) -> Response:
        """Empty, or as a copy of another one."""
        fields = {"id": f"group-{secrets.token_hex(6)}", "organization": visit.default_organization, "by": "rows"}
        copied = visit.query.get("copy", "")
        if copied:
            group = self._groups.get(visit.actor, parse_group_id(copied))
            fields |= await asyncio.to_thread(_fields, group)
            fields |= {"name": f"Copy of {group.display_name}", "id": fields["id"], "etag": ""}
            if group.is_default:
                fields["description"] = ""
            if not visit.actor.sees(group.organization):
                fields["organization"] = visit.actor.organization
        else:
            fields["template"] = visit.query.get("template", "")
        return await self._editor(visit, fields, None)

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        if "more" in fields:
            return await self._editor(visit, fields, None, rows=1)
        group_id = parse_group_id(fields.get("id", ""))
        try:
            visit.check_in_time()
            draft = await asyncio.to_thread(_draft, fields)
            try:
                group = await self._groups.put(visit.actor, group_id, draft, is_new=True)
            except Conflict:
                # The same form, sent twice.
                group = self._groups.get(visit.actor, group_id)
                stored = (group.display_name, group.query, group.description, group.organization)
                name, about_it = draft.display_name.strip(), draft.description.strip()
                if stored != (name, draft.query, about_it, draft.organization):
                    raise
        except TOLD as refusal:
            return await self._editor(visit, fields, None, refusal)
        return _to(group)

    async def show(self, visit: Visit) -> Response:
        group = self._group(visit)
        return await self._editor(visit, await asyncio.to_thread(_fields, group), group)

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        group = self._group(visit)
        if "more" in fields:
            return await self._editor(visit, fields, group, rows=1)
        try:
            visit.check_in_time()
            group = await self._groups.put(
                visit.actor,
                group.group_id,
                await asyncio.to_thread(_draft, fields),
                if_match=ETag(fields.get("etag", "")),
            )
        except TOLD as refusal:
            if isinstance(refusal, PreconditionFailed):
                # What was typed stays; the next Save is a decision.
                fields = {**fields, "etag": group.etag}
            return await self._editor(visit, fields, group, refusal)
        return _to(group)

    async def delete(self, visit: Visit) -> Response:
        await self._groups.delete(visit.actor, self._group(visit).group_id)
        return RedirectResponse("/device-groups", HTTPStatus.SEE_OTHER)

    async def devices(self, visit: Visit) -> Response:
        """All members, in pages."""
        group, after = self._group(visit), visit.query.get("after", "")[:128]
        page = await self._groups.members(visit.actor, group.group_id, _PAGE, after)
        return await self._renderer.long_page(
            visit, "device_groups/devices.html", group=group, devices=page.devices, after=page.after, is_first=not after
        )

    async def preview(self, visit: Visit) -> Response:
        """What the form that is being filled would mean."""
        fields = await visit.form()
        return await self._renderer.long_page(
            visit, "device_groups/preview.html", is_part=True, **await self._preview(visit, fields, by_form=True)
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _group(self, visit: Visit) -> DeviceGroup:
        return self._groups.get(visit.actor, parse_group_id(visit.path["group_id"]))

    async def _editor(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        group: DeviceGroup | None,
        problem: Refusal | None = None,
        *,
        rows: int = 0,
    ) -> Response:
        interface = self._interface(fields.get("template", ""))
        filled = _filled(fields)
        return await self._renderer.long_page(
            visit,
            "device_groups/edit.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            group=group,
            fields=fields,
            rows=[*filled, *(("", "=", "") for _ in range(max(1, rows + 1)))][:_MAX_ROWS],
            operators=OPERATORS,
            paths=_paths(interface),
            templates=[each for each in await self._services.templates.list() if each.is_published],
            nodes=self._services.organizations.seen_by(visit.actor),
            may_change=visit.may("groups.manage") and (group is None or not group.is_default),
            acts=await self._as_code(visit, fields, group),
            problem=problem,
            is_part=False,
            **await self._preview(visit, fields, by_form=False) | ({} if problem is None else {"wrong": None}),
        )

    async def _as_code(self, visit: Visit, fields: Mapping[str, str], group: DeviceGroup | None) -> list[Act]:
        """Of what was typed, as far as it can be read."""
        if not visit.may("groups.manage") or (group is not None and group.is_default):
            return []
        typed = {**fields, "name": fields.get("name") or "New device group"}
        try:
            draft = await asyncio.to_thread(_draft, typed)
            group_id = parse_group_id(fields.get("id", "") if group is None else group.group_id)
        except TOLD:
            # The form tells what is wrong with it.
            return []
        return device_group_acts(self._services.info(), group_id, draft, is_new=group is None)

    async def _preview(self, visit: Visit, fields: Mapping[str, str], *, by_form: bool) -> dict[str, Any]:
        values: dict[str, Any] = {"query": "", "preview": None, "wrong": None, "caret": ""}
        if not fields.get("template") and fields.get("by") != "text":
            return values
        try:
            draft = await asyncio.to_thread(_draft, fields)
            values["query"] = draft.query
            values["preview"] = await self._groups.preview(visit.actor, draft, _SHOWN)
        except InvalidQuery as refusal:
            values["wrong"], values["caret"] = refusal, refusal.excerpt()
        except (Invalid, NotFound) as refusal:
            values["wrong"] = refusal
        return values

    def _interface(self, template: str) -> Interface | None:
        return self._services.templates.interface_of(TemplateId(template)) if template else None

    async def _template_names(self) -> dict[str, str]:
        return {each.template_id: each.display_name for each in await self._services.templates.list()}

    def _nodes(self) -> dict[str, str]:
        return {each.organization_id: each.display_name for each in self._services.organizations.all()}


def _fields(group: DeviceGroup) -> dict[str, str]:
    """What a form for `group` has in it."""
    query = group.parsed
    fields = {
        "name": group.display_name,
        "description": group.description,
        "organization": group.organization,
        "template": query.template,
        "query": group.query,
        "by": "text" if query.rows is None or len(query.rows) > _MAX_ROWS else "rows",
        "etag": group.etag,
    }
    for number, row in enumerate(query.rows or ()):
        fields |= {
            f"path{number}": _path_text(row.path),
            f"operator{number}": row.operator,
            f"value{number}": _value_text(row.value),
        }
    return fields


def _draft(fields: Mapping[str, str]) -> GroupDraft:
    """Raises `Invalid` (`query.*`)."""
    if fields.get("by") == "text":
        query = fields.get("query", "").strip()
        with about("query"):
            parse_group_query(query)
    else:
        query = _written(fields.get("template", ""), _filled(fields))
    return GroupDraft(
        fields.get("name", ""), query, fields.get("description", ""), OrganizationId(fields.get("organization", ""))
    )


def _written(template: str, typed: Sequence[tuple[str, str, str]]) -> str:
    """The query of filters, each of which is judged by itself first, so that what is wrong has its field."""
    _judge(template, [], "template")
    rows = []
    for number, (path, operator, value) in enumerate(typed):
        if not path:
            raise Invalid(
                "query.field", "a value is compared with a property, and none was named", field=f"path{number}"
            )
        rows.append(FilterRow(path, operator, _value(value)))
        _judge(template, rows[-1:], f"path{number}")
    query = write(template, rows)
    parse_group_query(query)
    return query


def _judge(template: str, rows: Sequence[FilterRow], field: str) -> None:
    """A place in a text that nobody typed says nothing: raises `Invalid` (`query.*`) with the field in its place."""
    try:
        parse_group_query(write(template, rows))
    except InvalidQuery as refusal:
        raise Invalid(refusal.reason, refusal.said, fix=refusal.fix, field=field) from None


def _filled(fields: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [row for row in _rows_of(fields) if row[0] or row[2]]


def _rows_of(fields: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for number in range(_MAX_ROWS):
        path = fields.get(f"path{number}", "").strip()
        operator = fields.get(f"operator{number}", "=")
        yield path, operator if operator in OPERATORS else "=", fields.get(f"value{number}", "").strip()


def _value(text: str) -> Any:
    """A number, a truth value or a text in quotes where it reads as one, else the text as it stands."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (str, bool, int, float)) and value == value and _is_kept(value) else text


def _is_kept(value: Any) -> bool:
    """Whether a query can hold the number: infinities and the longest ones are text."""
    return isinstance(value, (str, bool)) or (math.isfinite(value) and len(json.dumps(value)) <= 40)


def _path_text(path: str) -> str:
    """As it is typed: one name without its brackets, unless it would be read otherwise."""
    name = path.removeprefix("[[").removesuffix("]]")
    return path if "." in path or "[[" in name or name != name.strip() else name


def _value_text(value: Any) -> str:
    """As `_value` reads it again: a text only in quotes where it would be taken for something else."""
    if isinstance(value, str) and value == value.strip() and isinstance(_value(value), str) and _value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _paths(interface: Interface | None) -> list[str]:
    """What a filter can ask, for the list that a field proposes."""
    paths = [fact for fact in FACTS if fact != "$template"]
    if interface is not None:
        paths += [each.name for each in (*interface.properties, *interface.cloud_properties)]
        for component in interface.components:
            paths += [f"{component.name}.{each.name}" for each in component.schema.properties]
    return paths


def _to(group: DeviceGroup) -> Response:
    return RedirectResponse(f"/device-groups/{segment(group.group_id)}", HTTPStatus.SEE_OTHER)
