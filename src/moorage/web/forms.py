"""What was refused of a form stands beside the field that it is about; what is about none stands above.

    {% filter told(problem) %} ... the forms of a page ... {% endfilter %}

A refusal names its field itself, or whoever reads the form does (`about`); else its reason says (`FIELDS`). The field
is looked for in the form that was sent: it gets `aria-invalid`, the sentence right below it, and the focus; whatever
`<details>` it lies in opens. What the page has no field for is told at the top of what is filtered.

The filter reads HTML that our own templates made, where every value is escaped: a `>` ends a tag and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any, Final
from urllib.parse import unquote

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from moorage.errors import PreconditionFailed, Refusal

__all__ = ["FIELDS", "about", "fields_meant", "told"]

# Which fields a refusal may be about, the likeliest first; a form has those of them that it has.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    # people
    "account.login": ("login",),
    "account.taken": ("login",),
    "account.role": ("role",),
    "account.role_kind": ("role",),
    "account.refused": ("present", "password"),
    "account.too_many": ("present", "password"),
    "account.crowd": ("present", "password"),
    "account.password_length": ("password",),
    "account.password_is_name": ("password",),
    "account.passwords_differ": ("again",),
    "api_token.id": ("name",),
    "api_token.taken": ("name",),
    "api_token.expiry": ("expires",),
    "role.name": ("name",),
    "role.taken": ("name",),
    "organization.id": ("id",),
    "organization.exists": ("id",),
    "organization.name": ("name",),
    "organization.cycle": ("parent",),
    "organization.depth": ("parent",),
    "organization.unknown": ("parent", "organization", "to"),
    "organization.not_seen": ("organization", "parent", "to"),
    "organization.not_empty": ("to",),
    "organization.people": ("to",),
    "customization.name": ("name",),
    "customization.picture": ("picture",),
    # devices
    "device.display_name": ("display_name", "name"),
    "device.exists": ("device_id",),
    "device.simulated_real": ("simulated",),
    "device.simulated_template": ("simulated", "template"),
    "device.simulated_number": ("simulated",),
    "device.unknown": ("device_id", "child", "gateway", "devices"),
    "device_scope.circle": ("gateway", "child"),
    "gateway.kind": ("gateway", "child"),
    "id.device": ("device_id", "child", "gateway"),
    "id.device_plain": ("device_id",),
    "command.name": ("method",),
    "command.unknown": ("method",),
    "method.name": ("method",),
    "method.payload": ("payload",),
    "id.module": ("module",),
    "id.empty": ("device_id", "id", "child"),
    "id.enrollment_group": ("id", "name"),
    "id.registration": ("registration_id",),
    "alias.name": ("alias",),
    "alias.path": ("path",),
    "template.unknown": ("template", "to_template"),
    "template.not_published": ("template",),
    "manifest.unknown": ("manifest",),
    "manifest.name": ("name",),
    "manifest.content": ("json",),
    # enrollment
    "form.name": ("name",),
    "form.file": ("file", "certificate", "picture", "primary", "chain"),
    "form.endorsement_key": ("endorsement_key",),
    "form.method": ("method",),
    "enrollment.exists": ("id", "name"),
    "key.base64": ("primary",),
    "key.length": ("primary",),
    "thumbprint.hex": ("primary_thumbprint", "primary"),
    "thumbprint.length": ("primary_thumbprint", "primary"),
    # what is made of devices
    "board.name": ("name",),
    "device_group.name": ("name",),
    "job.name": ("name",),
    "job.group": ("group",),
    "job.data": ("path0", "cpath", "to_template", "manifest"),
    "command.request": ("cvalue", "payload"),
    "job.batch": ("batch",),
    "job.threshold": ("threshold",),
    "job.schedule": ("start_date",),
    "rule.name": ("name",),
    "rule.template": ("template",),
    "rule.window": ("window",),
    "rule.silence": ("minutes",),
    "rule.conditions": ("path0",),
    "export.name": ("name",),
    "export.destinations": ("use0",),
    "export.destination": ("address",),
    "export.destination_unknown": ("use0",),
    "export.audit": ("source",),
    "egress.url": ("address",),
    "egress.not_allowed": ("address",),
    "egress.unresolved": ("address",),
    "endpoint.address": ("address",),
    "endpoint.broker": ("address",),
    "endpoint.credential": ("credential",),
    "endpoint.folder": ("address",),
    "image.kind": ("picture",),
    "image.size": ("picture",),
    # templates and files
    "template.display_name": ("name",),
    "template.exists": ("model",),
    "template.id": ("model",),
    "template.model_unknown": ("model_id",),
    "view.name": ("name",),
    "view.tile": ("subject", "kind"),
    "attestation.certificate_missing": ("primary",),
    "attestation.primary_missing": ("primary",),
    "customization.colour": ("header", "accent"),
    "template.description": ("description",),
    "csv.columns": ("file",),
    "csv.encoding": ("file",),
    "csv.line": ("file",),
    "csv.missing": ("file",),
    "csv.row": ("file",),
    "csv.rows": ("file",),
    "json.depth": ("json", "text", "patch", "payload"),
    "json.malformed": ("json", "text", "patch", "payload"),
    "json.not_object": ("json", "text", "patch", "payload"),
    "json.number": ("json", "text", "patch", "payload"),
    "json.text": ("json", "text", "patch", "payload"),
}
_FORM: Final = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_CONTROL: Final = re.compile(r"<(input|select|textarea)\b([^>]*)>")
_ATTRIBUTE: Final = re.compile(r"""\s([a-z-]+)(?:="([^"]*)"|='([^']*)')?""")
_FOCUSED: Final = re.compile(r"""(<(?:input|select|textarea)\b(?:[^">]|"[^"]*")*?) autofocus(?=[ >])""")
_DETAILS: Final = re.compile(r"<details\b[^>]*>|</details>")


@contextmanager
def about(field: str) -> Iterator[None]:
    """Whatever is refused inside is about that field of the form, unless it says itself about which."""
    try:
        yield
    except Refusal as refusal:
        refusal.field = refusal.field or field
        raise


def fields_meant(problem: Refusal) -> tuple[str, ...]:
    """By name, the likeliest first. Somebody else's change is about all of them."""
    if isinstance(problem, PreconditionFailed):
        return ()
    return (problem.field,) if problem.field else FIELDS.get(problem.reason, ())


@pass_context
def told(context: Context, page: str, problem: Refusal | None, errors: Mapping[str, str] | None = None) -> Markup:
    """`page`, a part with forms in it, with `problem` told in it, and with `errors`, a sentence for each field."""
    if problem is None and not errors:
        return Markup(page)
    # A plain text: those of `Markup` escape what is put into them.
    page = str(page)
    macros: Any = context.environment.get_template("macros.html").module
    sent_to: str = context["visit"].here
    said = {name: _Said(sentence) for name, sentence in (errors or {}).items()}
    if problem is not None:
        meant = next((name for name in fields_meant(problem) if _find(page, name, sent_to)), "")
        if meant:
            said = {meant: _Said(problem.message, problem.fix, problem.reason)} | said
        else:
            page = f"{macros.problem(problem)}{page}"
    if said:
        page = _FOCUSED.sub(r"\1", page)
    for number, (name, each) in enumerate(said.items()):
        found = _find(page, name, sent_to)
        if found is not None:
            at = f"{found.attributes.get('id', name)}-wrong"
            below = str(macros.beside(at, each.message, each.fix, each.reason))
            page = _marked(page, found, at, below, has_focus=not number)
    return Markup(page)


@dataclass(frozen=True, slots=True)
class _Said:
    message: str
    fix: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Control:
    """`begin` and `end` are where its first tag does, `after` is where what belongs to it is over."""

    begin: int
    end: int
    after: int
    attributes: Mapping[str, str]


def _find(page: str, name: str, sent_to: str) -> _Control | None:
    """The control of that name: of the form that goes to `sent_to` where there is one, else of any."""
    forms = list(_FORM.finditer(page))
    sent = [form for form in forms if unquote(unescape(_attributes(form[1]).get("action", ""))) == sent_to]
    for form in sent or forms:
        for tag in _CONTROL.finditer(page, form.start(2), form.end(2)):
            attributes = _attributes(tag[2])
            if unescape(attributes.get("name", "")) == name and attributes.get("type") != "hidden":
                return _Control(tag.start(), tag.end(), _end_of(page, form.start(2), tag, attributes), attributes)
    return None


def _end_of(page: str, begin: int, tag: re.Match[str], attributes: Mapping[str, str]) -> int:
    """Where a sentence about a control can stand: behind it, its label or its choices."""
    end = tag.end() if tag[1] == "input" else page.index(f"</{tag[1]}>", tag.end()) + len(tag[1]) + 3
    if attributes.get("type") == "radio":
        return page.index("</fieldset>", end)
    if page.count("<label", begin, tag.start()) > page.count("</label>", begin, tag.start()):
        end = page.index("</label>", end) + len("</label>")
    return end


def _marked(page: str, control: _Control, at: str, below: str, *, has_focus: bool) -> str:
    tag = page[control.begin : control.end - 1].rstrip("/ ")
    described = " ".join(filter(None, (at, control.attributes.get("aria-describedby", ""))))
    tag = re.sub(r' aria-describedby="[^"]*"', "", tag)
    focus = " autofocus" if has_focus else ""
    tag += f' aria-invalid="true" aria-describedby="{described}"{focus}>'
    return f"{_opened(page[: control.begin])}{tag}{page[control.end : control.after]}{below}{page[control.after :]}"


def _opened(before: str) -> str:
    """Every `<details>` that does not end in `before` is open."""
    around: list[re.Match[str]] = []
    for tag in _DETAILS.finditer(before):
        if tag[0] == "</details>":
            around = around[:-1]
        else:
            around.append(tag)
    for tag in reversed(around):
        if "open" not in _attributes(tag[0]):
            before = f"{before[: tag.end() - 1]} open>{before[tag.end() :]}"
    return before


def _attributes(text: str) -> dict[str, str]:
    return {found[1]: found[2] or found[3] or "" for found in _ATTRIBUTE.finditer(text)}
