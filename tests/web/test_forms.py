"""Every form: what is wrong is said beside its field, and nothing that was typed is lost.

The table has each form that something can be typed into, with what may be typed wrong and the field that is then meant.
Forms are sent as browsers send them, and the answers are read as browsers read them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from starlette.routing import compile_path

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor, OrganizationId
from moorage.fleet.groups import default_group_id
from moorage.fleet.model import DeviceChange, TemplateId
from moorage.fleet.template_model import make_content
from moorage.fleet.views import Subject, Tile, View
from moorage.identities.model import BySharedKey
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId
from moorage.web.pages import Page
from tests import certs
from tests.manifests import CONTENT
from tests.servers.world import KEY, World, named
from tests.web.browser import PASSWORD, Browser
from tests.web.forms import Control, SentForm, forms_of, said_at

ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
PUMP = TemplateId("dtmi:example:Pump;1")
DRAFT = "/device-templates/dtmi:example:Draft;1"
LONG = "x" * 2100
MODEL: Final[dict[str, Any]] = {
    "@context": "dtmi:dtdl:context;2",
    "@id": PUMP,
    "@type": "Interface",
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "temperature", "schema": "double"},
        {"@type": "Property", "name": "limit", "schema": "integer", "writable": True},
        {"@type": "Command", "name": "restart", "request": {"name": "delay", "schema": "integer"}},
    ],
}


@dataclass(frozen=True)
class Form:
    """`path` is what it is sent to, `good` what is typed; of `wrong` each is typed instead, with the field meant.

    `where` is the page that it stands on, where it is opened with what is stored.
    """

    path: str
    good: Mapping[str, str]
    wrong: tuple[tuple[Mapping[str, str], str], ...]
    where: str = ""
    # Sent twice, both answers are the same.
    is_made: bool = False

    def __str__(self) -> str:
        return self.path


RULE = {"name": "Too hot", "template": PUMP, "enabled": "on", "watches": "messages", "joined": "all"}
RULE |= {"path0": "temperature", "operator0": "greater", "against0": "constant", "value0": "30", "act": "save"}
HOOK = {"name": "The hook", "kind": "webhook", "address": "https://desk.example/in?code=1", "credential": "let me in"}
EXPORT = {"name": "Out", "source": "telemetry", "use0": "hook", "act": "save"}
JOB = {"id": "job-1", "name": "Limits", "group": default_group_id(PUMP), "kind": "property", "step": "0", "go": "next"}
JOB |= {"path0": "limit", "value0": "25", "recurrence": "now", "description": "of all pumps"}
COMMAND = {"kind": "command", "cpath": "restart", "path0": "", "value0": ""}
GROUP = {"name": "Warm", "by": "rows", "template": PUMP, "path0": "limit", "operator0": ">", "value0": "3"}
MANIFEST = {"name": "Plant", "json": json.dumps(CONTENT)}
CAPABILITY = {"interface_id": "dtmi:example:Draft;1", "was": "", "kind": "telemetry", "schema": "double"}
WRONG_RULE: Final = (
    ({"name": ""}, "name"),
    ({"template": ""}, "template"),
    ({"path0": ""}, "path0"),
    ({"value0": "warm"}, "value0"),
    ({"path2": "pressure", "operator2": "less", "value2": "low"}, "value2"),
    ({"fpath0": "a b", "foperator0": "equals", "fvalue0": "1"}, "fpath0"),
    ({"fpath1": "limit", "foperator1": "less", "fvalue1": "few"}, "fvalue1"),
    ({"watches": "silence", "minutes": "ten"}, "minutes"),
    ({"atype0": "webhook", "aname0": "Desk", "aurl0": "desk"}, "aurl0"),
    ({"atype1": "email", "aname1": "Mail", "ato1": "not a name"}, "ato1"),
    ({"atype1": "email", "ato1": "ada", "anote1": LONG}, "anote1"),
    ({"atype0": "webhook", "aname0": LONG, "aurl0": "https://desk.example"}, "aname0"),
)
WRONG_HOOK: Final = (
    ({"name": ""}, "name"),
    ({"address": "ftp://desk.example"}, "address"),
    ({"option_header": "a b"}, "option_header"),
    ({"credential": "ä"}, "credential"),
    ({"kind": "file", "address": "file:///tmp/out", "option_every": "soon"}, "option_every"),
)
WRONG_EXPORT: Final = (
    ({"name": ""}, "name"),
    ({"use0": ""}, "use0"),
    ({"fname0": "", "fvalue0": "3"}, "fname0"),
    ({"fname1": "temperature", "foperator1": "greater", "fvalue1": "high"}, "fvalue1"),
    ({"ekey0": "a b", "evalue0": "x"}, "ekey0"),
    ({"ekey0": "k", "evalue0": "x", "ekey1": "k", "evalue1": "y"}, "ekey1"),
    ({"ekey0": "k", "ekind0": "system", "evalue0": "moon"}, "evalue0"),
    ({"utemplate0": '{"a": '}, "utemplate0"),
)
WRONG_GROUP: Final = (
    ({"name": ""}, "name"),
    ({"template": ""}, "template"),
    ({"path0": "$nothing"}, "path0"),
    ({"path0": "", "value0": "4"}, "path0"),
    ({"by": "text", "query": "SELECT nothing"}, "query"),
    ({"description": "x" * 1025}, "description"),
)
WRONG_MANIFEST: Final = (({"name": ""}, "name"), ({"json": "{"}, "json"), ({"json": "{}"}, "json"))
FORMS: Final = (
    Form("/rules", {**RULE, "id": "rule-2"}, WRONG_RULE, is_made=True),
    Form("/rules/rule-1", RULE, WRONG_RULE[:4], "/rules/rule-1"),
    Form("/exports/destinations", {**HOOK, "id": "hook-2"}, WRONG_HOOK, is_made=True),
    Form("/exports/destinations/hook", HOOK, WRONG_HOOK[:2], "/exports/destinations/hook"),
    Form("/exports", {**EXPORT, "id": "out-2"}, WRONG_EXPORT, is_made=True),
    Form("/exports/out", EXPORT, WRONG_EXPORT[:3], "/exports/out"),
    Form(
        "/jobs",
        JOB,
        (
            ({"name": ""}, "name"),
            ({"description": "x" * 1025}, "description"),
            ({"group": ""}, "group"),
            ({"path0": "speed"}, "path0"),
            ({"path0": ""}, "path0"),
            ({"value0": "warm"}, "value0"),
            ({"path1": "temperature", "value1": "1"}, "path1"),
            ({**COMMAND, "cvalue": "{"}, "cvalue"),
            ({**COMMAND, "cvalue": '"soon"'}, "cvalue"),
            ({**COMMAND, "cpath": ""}, "cpath"),
            ({"step": "1", "batch": "few"}, "batch"),
            ({"step": "1", "threshold": "101", "threshold_kind": "percentage"}, "threshold"),
            ({"step": "2", "recurrence": "daily", "start_date": "2026-02-31", "start_time": "10:00"}, "start_date"),
            (
                {"step": "2", "recurrence": "daily", "start_date": "2027-02-01", "end": "runs", "end_runs": "0"},
                "end_runs",
            ),
            (
                {"step": "2", "recurrence": "daily", "start_date": "2027-02-01", "end": "date", "end_date": "soon"},
                "end_date",
            ),
        ),
    ),
    Form("/device-groups", {**GROUP, "id": "warm-2"}, WRONG_GROUP, is_made=True),
    Form("/device-groups/warm", GROUP, WRONG_GROUP[:3], "/device-groups/warm"),
    Form("/dashboards", {"id": "board-2", "name": "Second", "for": "me"}, (({"name": ""}, "name"),), is_made=True),
    Form("/dashboards/board", {"name": "Renamed"}, (({"name": ""}, "name"),), "/dashboards/board/edit"),
    Form(
        "/dashboards/board/tiles/TILE",
        {"title": "Latest", "devices": "pump-01", "a.temperature": "average", "colour0": "bad", "least0": "30"},
        (
            ({"title": "x" * 129}, "title"),
            ({"devices": ", ".join(f"pump-{number}" for number in range(11))}, "devices"),
            ({"least0": "warm"}, "least0"),
            ({"colour1": "", "least1": "50"}, "colour1"),
        ),
        "/dashboards/board/tiles/TILE/edit",
    ),
    Form(
        "/explorer/queries",
        {"id": "query-2", "asked": "device=pump-01&a.temperature=average&span=60", "name": "Of today"},
        (({"name": ""}, "name"),),
        is_made=True,
    ),
    Form(
        "/devices",
        {"device_id": "pump-07", "display_name": "The <pump>", "template": PUMP},
        (
            ({"device_id": "a b"}, "device_id"),
            ({"device_id": "pump-01"}, "device_id"),
            ({"display_name": "x" * 149}, "display_name"),
            ({"template": "dtmi:nobody;1"}, "template"),
            ({"template": "", "simulated": "on"}, "simulated"),
        ),
        is_made=True,
    ),
    Form(
        "/devices/pump-01/manage",
        {"display_name": "In the cellar"},
        (({"display_name": "x" * 149}, "display_name"),),
        "/devices/pump-01/manage",
    ),
    Form("/devices/pump-01/migrate", {"template": PUMP}, (({"template": "dtmi:nobody;1"}, "template"),)),
    Form(
        "/devices/pump-01/properties",
        {"patch": '{"limit": 3}'},
        (({"patch": "[]"}, "patch"), ({"patch": '{"a.b": 1}'}, "patch")),
        "/devices/pump-01/properties",
    ),
    Form("/devices/pump-01/views/limits", {"/limit": "4", "was": "{}"}, (({"/limit": "warm"}, "/limit"),)),
    Form(
        "/devices/pump-01/aliases",
        {"alias": "deep", "path": '$["a"]["b"]'},
        (({"alias": "_no"}, "alias"), ({"path": "a.b"}, "path")),
        is_made=True,
    ),
    Form("/devices/pump-01/gateway", {"gateway": "gateway"}, (({"gateway": "nobody"}, "gateway"),)),
    Form("/devices/gateway/downstream", {"child": "pump-01"}, (({"child": "nobody"}, "child"),)),
    Form(
        "/devices/pump-01/command",
        {"run_id": "run-1", "method": "restart", "payload": "3"},
        (({"payload": "{"}, "payload"), ({"method": ""}, "method")),
    ),
    Form(
        "/devices/pump-01/commands",
        {"component": "", "name": "restart", "request": "3"},
        (({"request": "soon"}, "request"),),
    ),
    Form("/devices/gateway/manifest", {"manifest": "plant"}, (({"manifest": "nobody"}, "manifest"),)),
    Form("/devices/gateway/manifest/content", {"json": json.dumps(CONTENT)}, (({"json": "{"}, "json"),)),
    Form(
        "/devices/pump-01/connect",
        {"method": "symmetricKey", "primary": "", "secondary": ""},
        (
            ({"primary": "no"}, "primary"),
            ({"secondary": "ä"}, "secondary"),
            ({"method": "tpm", "endorsement": "", "root": "AAAA"}, "endorsement"),
        ),
    ),
    Form("/device-import", {"template": PUMP}, (({}, "file"),)),
    Form("/manifests", {**MANIFEST, "id": "plant-2"}, WRONG_MANIFEST, is_made=True),
    Form("/manifests/plant", MANIFEST, WRONG_MANIFEST[:2], "/manifests/plant"),
    Form(
        "/device-templates",
        {"name": "Kettle", "model": "dtmi:example:Kettle;1"},
        (({"name": ""}, "name"), ({"model": "kettle"}, "model")),
        is_made=True,
    ),
    Form("/device-templates/import", {"text": json.dumps(MODEL)}, (({"text": "{"}, "text"), ({"text": "[]"}, "text"))),
    Form("/device-templates/from-folder", {"model_id": "dtmi:none;1"}, (({"model_id": "dtmi:no;1"}, "model_id"),)),
    Form(
        f"{DRAFT}/names",
        {"name": "Drafted", "description": "Of old"},
        (({"name": ""}, "name"), ({"description": "x" * 9000}, "description")),
        f"{DRAFT}/names",
    ),
    Form(f"{DRAFT}/model", {"text": "{}"}, (({"text": "{"}, "text"),), f"{DRAFT}/model"),
    Form(f"{DRAFT}/modules", {"text": "{}"}, (({"text": "{"}, "text"),), f"{DRAFT}/modules"),
    Form(
        f"{DRAFT}/capability",
        {**CAPABILITY, "name": "speed", "displayName": "Speed & flow"},
        (
            ({"name": "_speed"}, "name"),
            ({"name": "temperature"}, "name"),
            ({"schema": "JSON", "json": "{"}, "json"),
            ({"schema": "Enum of integers", "values": "one"}, "values"),
        ),
        f"{DRAFT}/capability?interface=dtmi:example:Draft;1&kind=telemetry",
    ),
    Form(
        f"{DRAFT}/views",
        {"name": "Mine", "kind": "custom"},
        (({"name": ""}, "name"),),
        f"{DRAFT}/views/~new",
        is_made=True,
    ),
    Form(f"{DRAFT}/views/own", {"name": "Theirs"}, (({"name": ""}, "name"),), f"{DRAFT}/views/own"),
    Form(
        f"{DRAFT}/views/own/tiles",
        {"kind": "chart", "title": "Of late", "subject": "/temperature"},
        (({"subject": ""}, "subject"),),
        f"{DRAFT}/views/own",
    ),
    Form(
        "/devices/pump-01/auto-create",
        {"name": "Guessed", "model": "dtmi:a:B;1", "name.0": "t", "kind.0": "telemetry", "schema.0": "double"},
        (({"name": ""}, "name"), ({"model": "B"}, "model")),
    ),
    Form(
        "/groups",
        {"name": "Line 2", "id": "line-2", "enabled": "on", "type": "iot", "attestation": "symmetricKey"},
        (
            ({"name": ""}, "name"),
            ({"id": "a b"}, "id"),
            ({"id": "line-1"}, "id"),
            ({"primary": "no"}, "primary"),
            ({"primary": KEY.reveal(), "secondary": "no"}, "secondary"),
        ),
        is_made=True,
    ),
    Form("/groups/line-1", {"name": "First line", "enabled": "on"}, (({"name": ""}, "name"),), "/groups/line-1"),
    Form("/groups/line-1/primary/certificate", {"verified": "on"}, (({}, "certificate"),)),
    Form("/groups/line-1/secondary/verify", {}, (({}, "certificate"),)),
    Form("/certificates/chains", {}, (({}, "certificate"),)),
    Form("/certificates/rehearsal", {"group": "line-1", "slot": "primary", "act": "replace"}, (({}, "certificate"),)),
    Form(
        "/users",
        {"login": "bob", "role": "operator"},
        (({"login": "not a name"}, "login"), ({"login": "ada"}, "login"), ({"role": "nobody"}, "role")),
    ),
    Form("/users/BOB/assignment", {"role": "builder"}, (({"role": "nobody"}, "role"),)),
    Form("/tokens", {"name": "night", "role": "operator"}, (({"name": "a b"}, "name"), ({"expires": "no"}, "expires"))),
    Form(
        "/organizations",
        {"id": "west", "name": "West", "parent": ""},
        (({"id": "-West"}, "id"), ({"name": ""}, "name"), ({"id": "north"}, "id")),
        is_made=True,
    ),
    Form(
        "/organizations/north", {"name": "Far north", "parent": ""}, (({"name": ""}, "name"),), "/organizations/north"
    ),
    Form("/organizations/north/move", {"to": "south"}, (({"to": "nowhere"}, "to"),)),
    Form("/organizations/north/delete", {"to": "south"}, (({"to": "-"}, "to"),)),
    Form(
        "/roles",
        {"name": "Reader", "kind": "application", "may:devices.view": "on"},
        (({"name": ""}, "name"),),
        is_made=True,
    ),
    Form("/roles/ROLE", {"name": "Reader", "may:devices.view": "on"}, (({"name": ""}, "name"),), "/roles/ROLE"),
    Form("/settings/application", {"name": "Dry dock"}, (({"name": "x" * 61}, "name"),), "/settings/application"),
    Form(
        "/settings/customization",
        {"own_header": "on", "header": "#102030", "label0": "Help", "url0": "https://help.example"},
        (
            ({"header": "blue"}, "header"),
            ({"label1": "More", "url1": "more"}, "url1"),
            ({"label1": "", "url1": "https://more.example"}, "label1"),
        ),
        "/settings/customization",
    ),
    Form("/settings/customization/logo", {}, (({}, "picture"),)),
    Form("/profile/organization", {"organization": "north"}, (({"organization": "nowhere"}, "organization"),)),
)
# Nothing of these comes back after a sign-in, and why.
NOT_KEPT: Final[Mapping[str, str]] = {
    "/sign-in": "who signs in is signed out",
    "/sign-in/link/{token}": "who comes by a link is signed out",
    "/sign-out": "a button",
    "/theme": "of everybody",
    "/profile/password": "passwords are typed again",
    "/groups/auto-approve": "one switch, which shows how it is",
    "/device-operations": "devices are chosen on the page, and what is done to them is a button",
}


@pytest.fixture
async def site(world: World, browser: Browser) -> AsyncIterator[dict[str, str]]:
    """Something of everything, and what stands for ids that were drawn."""
    application = world.app.application
    await application.templates.put_published(
        ADA,
        PUMP,
        make_content(
            "Pump", "", MODEL, (View("limits", "Limits", "form", (Tile("property", "", (Subject("", "limit"),)),)),)
        ),
    )
    draft = {**MODEL, "@id": "dtmi:example:Draft;1"}
    own = View("own", "Own", "custom", ())
    await application.templates.create_draft(ADA, make_content("Draft", "", draft, (own,)), TemplateId(draft["@id"]))
    await world.create("pump-01")
    await application.fleet.update(ADA, DeviceId("pump-01"), DeviceChange(template=PUMP))
    edge = IdentityDraft(named("gateway"), BySharedKey(KEY, KEY), is_edge=True)
    await world.registry.create(DEFAULT_HUB, edge, world.clock.now())
    for name in ("north", "south"):
        await application.organizations.create(OWNER, OrganizationId(name), name.title(), OrganizationId(""))
    await world.create("pump-02")
    await application.fleet.update(ADA, DeviceId("pump-02"), DeviceChange(organization=OrganizationId("north")))
    bob, _link = await world.app.accounts.invite(OWNER, "bob-1", "operator")
    for path, fields in (
        ("/rules", {**RULE, "id": "rule-1"}),
        ("/exports/destinations", {**HOOK, "id": "hook"}),
        ("/exports", {**EXPORT, "id": "out"}),
        ("/device-groups", {**GROUP, "id": "warm"}),
        ("/dashboards", {"id": "board", "name": "Board", "for": "me"}),
        ("/manifests", {**MANIFEST, "id": "plant"}),
        ("/devices/gateway/manifest", {"manifest": "plant"}),
        ("/groups", {"name": "line-1", "enabled": "on", "type": "iot", "attestation": "x509"}),
        ("/roles", {"name": "Looker", "kind": "application", "may:devices.view": "on"}),
    ):
        answer = await browser.send(path, fields)
        assert answer.status_code == 303, (path, answer.text)
    root = {"certificate": ("root.pem", certs.root("Root").certificate.pem.encode())}
    etag = dict(sent_form((await browser.open("/groups/line-1")).text, "/groups/line-1").fields())["etag"]
    slot = "/groups/line-1/secondary"
    assert (await browser.send(f"{slot}/certificate", {"etag": etag}, files=root)).status_code == 303
    assert (await browser.send(f"{slot}/code")).status_code == 303
    [role] = re.findall(r'href="/roles/([^"?]+)">Looker', (await browser.open("/roles")).text)
    tile = (await browser.send("/dashboards/board/tiles", {"kind": "last_value"})).headers["location"].split("/")[-2]
    yield {"TILE": tile, "BOB": bob.user_id, "ROLE": role}


def placed(form: Form, names: Mapping[str, str]) -> Form:
    path, where = form.path, form.where
    for short, name in names.items():
        path, where = path.replace(short, name), where.replace(short, name)
    return replace(form, path=path, where=where)


def sent_form(page: str, path: str, name: str = "") -> SentForm:
    """The form of `page` that goes to `path`, the one with that field where there are several."""
    found = [form for form in forms_of(page) if form.action == path and (not name or form.find(name))]
    assert found, (path, name)
    return found[0]


def holds(form: SentForm, name: str, text: str) -> bool:
    """Whether what was typed is still there. A box is ticked by its value; what can only be chosen may be gone."""
    found = [control for control in form.controls if control.name == name]
    if any(control.kind == "select" for control in found):
        return any(control.text == text for control in found) or text not in ("", *_choices(found))
    return any(control.text.replace("\r\n", "\n") == text for control in found)


def _choices(controls: list[Control]) -> list[str]:
    return [control.text for control in controls]


def lost(page: str, path: str, sent: Mapping[str, str]) -> set[str]:
    form = sent_form(page, path)
    others = [each for each in forms_of(page) if each.action == path]
    # Of buttons, and what a stale form is given anew.
    passing = {"act", "go", "step", "etag", "was", "run_id", "id", "asked", "version"}
    return {
        name
        for name, text in sent.items()
        if name not in passing and text and not any(holds(each, name, text) for each in (form, *others))
    }


async def base_of(browser: Browser, form: Form) -> dict[str, str]:
    """What is sent with a form as it stands on its page, with something good typed into it."""
    if not form.where:
        return dict(form.good)
    opened = sent_form((await browser.open(form.where)).text, form.path)
    return dict(opened.fields()) | dict(form.good)


def wrong_with(page: str, path: str, name: str, sent: Mapping[str, str]) -> str:
    """What is missing of an answer to bad input in the field `name`; '' for nothing."""
    found = [control for form in forms_of(page) if form.action == path for control in form.find(name)]
    if not found:
        return "there is no such field"
    control = next((each for each in found if each.attributes.get("aria-invalid") == "true"), found[0])
    told = control.attributes.get("aria-describedby", "").split()
    if control.attributes.get("aria-invalid") != "true" or not told:
        return "the field is not marked"
    if len(said_at(page, told[0])) < 10:
        return "nothing is said beside it"
    if "autofocus" not in control.attributes or sum("autofocus" in each.attributes for each in found) != 1:
        return "it has no focus"
    if not control.is_shown:
        return "it lies in what is closed"
    if 'class="problem"' in page:
        return "it is told at the top too"
    gone = lost(page, path, sent)
    return f"lost: {gone}" if gone else ""


async def test_bad_input_is_answered_beside_its_field_and_the_rest_is_kept(
    browser: Browser, site: dict[str, str]
) -> None:
    wrong = list[tuple[Any, ...]]()
    for form in (placed(each, site) for each in FORMS):
        base = await base_of(browser, form)
        for typed, name in form.wrong:
            sent = {**base, **typed}
            page = await browser.send(form.path, sent)
            if not 400 <= page.status_code < 500:
                wrong.append((form.path, typed, page.status_code))
            elif problem := wrong_with(page.text, form.path, name, sent):
                wrong.append((form.path, typed, name, problem))
    assert not wrong, "\n".join(map(str, wrong))


async def test_what_is_sent_twice_is_done_once(browser: Browser, site: dict[str, str]) -> None:
    for form in (placed(each, site) for each in FORMS):
        if form.is_made:
            base = await base_of(browser, form)
            first, second = [await browser.send(form.path, base) for _ in range(2)]
            assert (first.status_code, second.status_code) == (303, 303), (form.path, second.text)
            assert first.headers["location"] == second.headers["location"], form.path
    for path, fields in (
        ("/users", {"login": "eve", "role": "operator"}),
        ("/tokens", {"name": "ci", "role": "operator"}),
    ):
        pages = [await browser.send(path, fields) for _ in range(2)]
        # What is shown once stands in the answer that is shown.
        assert ["verdict" in page.text and page.status_code == 200 for page in pages] == [True, True], path


async def test_another_form_of_the_same_name_is_not_the_same_form(browser: Browser) -> None:
    ticked = {"name": "Tech", "kind": "application", "may:devices.view": "on", "may:data.view": "on"}
    for path, first, second in (
        ("/users", {"login": "eve", "role": "operator"}, {"role": "administrator"}),
        ("/tokens", {"name": "ci", "role": "operator"}, {"role": "administrator"}),
        (
            "/tokens",
            {"name": "cd", "role": "operator", "expires": ""},
            {"expires": f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"},
        ),
        ("/roles", ticked, {"may:data.view": None}),
    ):
        assert (await browser.send(path, first)).status_code in (200, 303), path
        typed = {name: value for name, value in {**first, **second}.items() if value is not None}
        answer = await browser.send(path, typed)
        assert answer.status_code == 400, path
        assert re.search(r"(account|api_token|role)\.taken", answer.text), path


async def test_a_form_that_was_changed_and_sent_again_is_not_taken_for_done(
    browser: Browser, site: dict[str, str]
) -> None:
    """As after Back: its id is the one that it made."""
    kinds: tuple[tuple[str, Mapping[str, str], Mapping[str, str]], ...] = (
        ("/rules", RULE | {"id": "again"}, {"fpath0": "limit", "foperator0": "equals", "fvalue0": "3"}),
        ("/rules", RULE | {"id": "more"}, {"atype0": "webhook", "aname0": "W", "aurl0": "https://desk.example/"}),
        ("/exports/destinations", HOOK | {"id": "again"}, {"credential": "another"}),
        ("/exports", EXPORT | {"id": "again"}, {"ekey0": "k", "ekind0": "constant", "evalue0": "v"}),
        ("/device-groups", GROUP | {"id": "again"}, {"description": "of hall 7"}),
        ("/dashboards", {"id": "again", "name": "A", "for": "organization", "organization": ""}, {"for": "me"}),
        ("/groups", {"name": "x", "attestation": "x509", "enabled": "on"}, {"attestation": "symmetricKey"}),
    )
    for path, first, more in kinds:
        assert (await browser.send(path, dict(first))).status_code == 303, path
        assert (await browser.send(path, dict(first))).status_code == 303, path
        answer = await browser.send(path, {**first, **more})
        assert (answer.status_code, ".exists" in answer.text) == (400, True), path


async def test_two_forms_at_once_add_a_tile_once(world: World, browser: Browser) -> None:
    await browser.send("/dashboards", {"id": "b", "name": "B", "for": "organization"})
    # Both have read the board before either writes.
    busy = asyncio.create_task(world.app.application.dashboards._store.write(lambda _: time.sleep(0.5)))
    answers = await asyncio.gather(
        *(browser.send("/dashboards/b/tiles", {"kind": "label", "tile": "t1"}) for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [303] * 4
    await busy


async def test_a_form_that_was_wrong_still_does_not_undo_what_came_meanwhile(
    browser: Browser, site: dict[str, str]
) -> None:
    [form] = [placed(each, site) for each in FORMS if each.path.endswith("/names")]
    base = await base_of(browser, form)
    await browser.send(form.path, base | {"description": "by somebody else"})
    wrong = await browser.send(form.path, base | {"name": ""})
    kept = dict(sent_form(wrong.text, form.path).fields())
    answer = await browser.send(form.path, {**kept, "name": "Pump"})
    assert (answer.status_code, "etag.stale" in answer.text) == (400, True)


async def test_a_form_that_was_overtaken_keeps_what_was_typed_and_then_wins(
    browser: Browser, site: dict[str, str]
) -> None:
    wrong, overtaken = list[tuple[Any, ...]](), 0
    for form in (placed(each, site) for each in FORMS):
        if not form.where or form.path.endswith(("/model", "/modules")):
            continue
        base = await base_of(browser, form)
        assert base.get("etag") or "was" in base, form.path
        first = await browser.send(form.path, base)
        typed = base | changed(form.good)
        second = await browser.send(form.path, typed)
        if (first.status_code, second.status_code // 100, "etag.stale" in second.text) != (303, 4, True):
            wrong.append((form.path, first.status_code, second.status_code))
            continue
        renewed = {name: text for name, text in sent_form(second.text, form.path).fields() if name in ("etag", "was")}
        third = await browser.send(form.path, typed | renewed)
        if gone := lost(second.text, form.path, typed):
            wrong.append((form.path, f"lost: {gone}"))
        if third.status_code != 303:
            wrong.append((form.path, third.status_code, renewed))
        overtaken += 1
    assert not wrong, "\n".join(map(str, wrong))
    assert overtaken > 14


def changed(good: Mapping[str, str]) -> dict[str, str]:
    """The same form with something else in it."""
    if "patch" in good:
        return {"patch": '{"limit": 8}'}
    if "displayName" in good:
        return {"name": "flow", "displayName": "Flow"}
    name = next(each for each in ("name", "display_name", "title", "label0") if each in good)
    return {name: f"{good[name]} 2"}


async def test_what_was_typed_when_the_sign_in_ended_comes_back_to_its_form(
    world: World, browser: Browser, stranger: Browser, site: dict[str, str]
) -> None:
    kept, wrong = set[str](), list[tuple[Any, ...]]()
    for form in (placed(each, site) for each in FORMS):
        file = next((name for typed, name in form.wrong if not typed), "")
        chosen = {file: ("a.txt", b"none")} if file else None
        door = await stranger.send(form.path, dict(form.good), files=chosen)
        assert (door.status_code, "What you typed is kept" in door.text) == (401, True), form.path
        carried = sent_form(door.text, "/sign-in").fields()
        fields = {name.removeprefix("typed:"): text for name, text in carried if name.startswith("typed:")}
        if (fields, dict(carried)["typed_file"]) != (dict(form.good), file):
            wrong.append((form.path, carried))
        back = await browser.send(f"{form.path}?held={file}", fields)
        if back.status_code != 400 or "ou were signed out before this was sent" not in back.text:
            wrong.append((form.path, back.status_code))
        elif gone := lost(back.text, form.path, form.good):
            wrong.append((form.path, f"lost: {gone}"))
        elif file and (problem := wrong_with(back.text, form.path, file, form.good)):
            wrong.append((form.path, problem))
        kept.add(pattern_of(world, form.path).pattern)
    assert not wrong, "\n".join(map(str, wrong))
    assert kept == {page.pattern for page in world.app.web.pages if page.keeps}
    # Nothing was done by any of them.
    assert [user.login for user in world.app.accounts.users()] == ["ada", "bob-1"]


async def test_signing_in_again_leads_on_to_what_was_typed(world: World, browser: Browser) -> None:
    world.clock.advance(13 * 3600)
    typed = {"device_id": "pump-09", "display_name": 'A "pump" & more', "note": "x" * 100_000}
    door = await browser.send("/devices", typed)
    assert door.status_code == 401
    wrong = await browser.send(
        "/sign-in", {**dict(sent_form(door.text, "/sign-in").fields()), "login": "ada", "password": "no"}
    )
    assert wrong.status_code == 401
    carried = dict(sent_form(wrong.text, "/sign-in").fields()) | {"login": "ada", "password": PASSWORD}
    on = await browser.send("/sign-in", carried)
    assert (on.status_code, "set-cookie" in on.headers) == (200, True)
    [go_on] = [form for form in forms_of(on.text) if form.action == "/devices"]
    assert dict(go_on.fields()) == typed
    # Whoever came in through a provider, in another tab, goes on from here too.
    elsewhere = await browser.send("/sign-in/on", carried)
    assert [dict(form.fields()) for form in forms_of(elsewhere.text)] == [typed]
    assert (await browser.send("/sign-in/on", {**carried, "typed_at": "//evil.example"})).status_code == 303
    back = await browser.send("/devices?held=", typed)
    assert lost(back.text, "/devices", {"device_id": "pump-09", "display_name": 'A "pump" & more'}) == set()
    saved = await browser.send("/devices", typed)
    assert saved.status_code == 303


async def test_a_stranger_is_carried_no_more_than_a_stranger_may_send(world: World, stranger: Browser) -> None:
    large = await stranger.send("/devices", {"device_id": "x" * 20_000})
    assert (large.status_code, "form.size" in large.text, "sign in in another tab" in large.text) == (413, True, True)
    nobody = await stranger.send("/sign-in/on", {"typed_at": "/devices", "typed:device_id": "pump-01"})
    assert (nobody.status_code, 'name="typed:device_id" value="pump-01"' in nobody.text) == (401, True)
    forged = await stranger.send("/sign-in", {"typed_at": "https://evil.example", "login": "ada", "password": "no"})
    assert forged.status_code == 401
    secret = await stranger.send("/users", {"login": "eve", "password": PASSWORD})
    assert PASSWORD not in secret.text


async def test_every_form_that_something_is_typed_into_is_in_the_table(
    world: World, browser: Browser, site: dict[str, str]
) -> None:
    """Whatever page is opened: a form on it with more than buttons keeps what is typed, or it is said why not."""
    ids = {"device_id": "pump-01", "template_id": "dtmi:example:Draft;1", "rule_id": "rule-1", "export_id": "out"}
    ids |= {"destination_id": "hook", "board_id": "board", "tile_id": site["TILE"], "role_id": site["ROLE"]}
    ids |= {"manifest_id": "plant", "organization_id": "north", "slot": "primary", "view_id": "own", "name": "none"}
    seen: dict[str, Page] = {}
    for page in world.app.web.pages:
        if page.method == "POST" or page.gate == "public":
            continue
        group = "warm" if page.pattern.startswith("/device-groups") else "line-1"
        path = page.pattern.replace("{group_id}", group)
        for name, text in ids.items():
            path = path.replace(f"{{{name}}}", text)
        if "{" in path or path.endswith((".csv", ".json", "/live", "/events", "/series")):
            continue
        answer = await asyncio.wait_for(browser.get(path), 30)
        for form in forms_of(answer.text):
            if any(control.is_typed for control in form.controls):
                seen[form.action] = pattern_of(world, form.action)
    assert len(seen) > 25
    table = {pattern_of(world, placed(form, site).path).pattern for form in FORMS}
    for action, page in seen.items():
        assert page.keeps == (page.pattern not in NOT_KEPT), action
        assert page.pattern in table or page.pattern in NOT_KEPT, action


def pattern_of(world: World, path: str) -> Page:
    for page in world.app.web.pages:
        if page.method == "POST" and compile_path(page.pattern)[0].fullmatch(path):
            return page
    raise AssertionError(path)
