"""Signing in through a provider on a real socket: who comes in, as what, and every way in which it must not work."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.accounts.model import OWNER, OrganizationId
from moorage.accounts.single_sign_on import grant_of, parse_rules
from moorage.clock import HandClock
from moorage.errors import Invalid
from moorage.web.sign_in import SSO_COOKIE
from tests import certs
from tests.hubs import free_port
from tests.servers.clients import tls_context
from tests.servers.world import World, running
from tests.web.browser import Browser, text_of
from tests.web.oidc import CLIENT, SECRET, Provider, provider, signing_key


@asynccontextmanager
async def plant(folder: Path, **settings: Any) -> AsyncIterator[tuple[World, Provider, Browser]]:
    clock = HandClock(certs.NOW)
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    async with provider(clock) as its:
        async with running(
            folder / "hub",
            clock=clock,
            web_port=free_port(),
            oidc_issuer=its.issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret_file=str(secret),
            egress_allow=("127.0.0.1",),
            egress_ca_bundle=str(its.callee.ca_bundle),
            **settings,
        ) as world:
            info = world.app.info()
            assert info.web_url is not None
            client = httpx.AsyncClient(base_url=info.web_url, verify=tls_context(info.ca_bundle), timeout=30)
            async with Browser(client) as browser:
                yield world, its, browser


def with_public_key_as_password(claims: dict[str, Any]) -> str:
    """What a verifier takes that lets the token choose the algorithm (RFC 8725 2.1)."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "first"}, claims)
    ]
    signed = b".".join(parts)
    signature = hmac.digest(signing_key().as_pem(private=False), signed, "sha256")
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


async def come(browser: Browser, its: Provider, there: str = "/devices") -> httpx.Response:
    begun = await browser.get(f"/sign-in/sso?next={there}")
    assert begun.status_code == 303, begun.text
    return await browser.get(its.sign_in(begun.headers["location"]))


async def test_rules_make_a_user_give_the_role_and_follow_when_it_changes(tmp_path: Path) -> None:
    rules = ("groups:plant-admins=administrator", "groups:line-1=org-operator@line-1", "groups:*=operator")
    async with plant(tmp_path, oidc_roles=rules) as (world, its, browser):
        await world.app.application.organizations.create(OWNER, OrganizationId("line-1"), "Line 1", OrganizationId(""))
        its.claims["groups"] = ["everybody", "line-1"]
        door = await browser.open("/sign-in?next=/attempts")
        assert "Sign in with" in text_of(door)
        answer = await come(browser, its, "/attempts")
        assert (answer.status_code, answer.headers["location"]) == (303, "/attempts")
        [grace] = world.app.accounts.users()
        assert (grace.login, grace.organization, world.app.accounts.role_of(grace)) == (
            "grace",
            "line-1",
            "Org Operator",
        )
        assert "grace" in text_of(await browser.open("/devices"))

        # Another name, the same person; and promoted.
        its.claims |= {"preferred_username": "grace.hopper", "groups": ["plant-admins"]}
        assert (await come(browser, its)).status_code == 303
        [grace] = world.app.accounts.users()
        assert (grace.login, grace.organization, world.app.accounts.role_of(grace)) == ("grace", "", "Administrator")

        its.claims |= {"sub": "4712", "preferred_username": "eve", "groups": []}
        refused = await come(browser, its)
        assert refused.status_code == 403
        assert "oidc.no_role" in refused.text
        assert SSO_COOKIE not in dict(browser.cookies)
        log = text_of(await browser.open("/audit"))
        assert "came grace user" in log
        assert "oidc.no_role" in log


async def test_without_rules_only_those_come_whom_somebody_assigned_and_names_alone_prove_nothing(
    tmp_path: Path,
) -> None:
    async with plant(tmp_path) as (world, its, browser):
        accounts = world.app.accounts
        assert "oidc.no_role" in (await come(browser, its)).text
        invited, _link = await accounts.invite(OWNER, "grace@plant.example", "builder")
        its.claims |= {"preferred_username": "grace@plant.example", "email": "grace@plant.example"}
        assert "oidc.taken" in (await come(browser, its)).text
        its.claims["email_verified"] = True
        assert (await come(browser, its)).status_code == 303
        assert accounts.get(OWNER, invited.user_id).subject == f"{its.issuer} 4711"
        # Her address is another one's now: the account stays hers.
        its.claims["sub"] = "4712"
        assert "oidc.taken" in (await come(browser, its)).text
        its.claims["sub"] = "4711"
        await accounts.change(OWNER, invited.user_id, is_disabled=True)
        assert (await come(browser, its)).status_code == 401


async def test_tokens_that_are_wrong_open_nothing(tmp_path: Path) -> None:
    async with plant(tmp_path, oidc_roles=("sub:*=operator",)) as (world, its, browser):
        hour = 3600
        lies: dict[str, dict[str, Any]] = {
            "another issuer": {"iss": "https://evil.example"},
            "another client": {"aud": "somebody-else"},
            "many audiences without azp": {"aud": [CLIENT, "other"], "azp": "other"},
            "another sign-in's nonce": {"nonce": "x" * 43},
            "past its end": {"exp": int(certs.NOW.timestamp()) - hour},
            "not yet": {"nbf": int(certs.NOW.timestamp()) + hour},
            "nobody": {"sub": ""},
            "not a text": {"sub": 5},
        }
        for what, lie in lies.items():
            its.lies = lambda token, lie=lie: {**token, **lie}  # type: ignore[misc]  # mypy takes the default for a type
            refused = await come(browser, its)
            assert (refused.status_code, "oidc.token" in refused.text) == (401, True), what
        its.lies = lambda token: token

        # Signed by a key that the provider does not publish, and with its public key as a password.
        its.key = signing_key("stranger")
        assert "oidc.token" in (await come(browser, its)).text
        its.key, its.forge = signing_key(), with_public_key_as_password
        assert "oidc.token" in (await come(browser, its)).text
        assert world.app.accounts.users() == []
        # A new key is asked for, though not at every turn.
        its.key, its.forge, its.published = signing_key("second"), None, [signing_key("second")]
        world.clock.advance(61)
        assert (await come(browser, its)).status_code == 303


async def test_an_answer_fits_the_browser_that_began_and_once(tmp_path: Path) -> None:
    async with plant(tmp_path, oidc_roles=("sub:*=operator",)) as (world, its, browser):
        begun = await browser.get("/sign-in/sso")
        back = its.sign_in(begun.headers["location"])
        kept = browser.cookies[SSO_COOKIE]
        browser.cookies.clear()
        assert "oidc.state" in (await browser.get(back)).text
        begun = await browser.get("/sign-in/sso")
        assert "oidc.state" in (await browser.get(back)).text
        assert "secure" in begun.headers["set-cookie"].lower()
        browser.cookies.set(SSO_COOKIE, kept)
        assert (await browser.get(back)).status_code == 303
        browser.cookies.set(SSO_COOKIE, kept)
        again = await browser.get(back)
        assert (again.status_code, "oidc.denied" in again.text) == (401, True)

        browser.cookies.clear()
        begun = await browser.get("/sign-in/sso?next=//evil.example/")
        url = begun.headers["location"]
        state = httpx.URL(url).params["state"]
        denied = await browser.get(f"/sign-in/sso/back?state={state}&error=access_denied<script>")
        assert "oidc.denied" in denied.text
        assert "<script>" not in denied.text.split("<main")[1]
        begun = await browser.get("/sign-in/sso?next=//evil.example/")
        assert (await browser.get(its.sign_in(begun.headers["location"]))).headers["location"] == "/devices"


async def test_a_provider_that_cannot_be_asked_leaves_the_password_form(tmp_path: Path) -> None:
    async with plant(tmp_path) as (world, its, browser):
        its.is_down = True
        refused = await browser.get("/sign-in/sso?next=/attempts")
        assert refused.status_code == 503
        assert "oidc.provider" in refused.text
        assert 'name="password"' in refused.text
        assert 'value="/attempts"' in refused.text
        # Left alone for some seconds, however many want to come in.
        asked = len(its.callee.received)
        its.is_down, its.name = False, "another"
        assert (await browser.get("/sign-in/sso")).status_code == 503
        assert len(its.callee.received) == asked
        world.clock.advance(6)
        assert "it calls itself" in (await browser.get("/sign-in/sso")).text
        its.name = "plant"
        world.clock.advance(6)
        assert (await browser.get("/sign-in/sso")).status_code == 303


async def test_without_a_provider_nothing_leads_there(world: World, stranger: Browser) -> None:
    assert "Sign in with" not in text_of(await stranger.open("/sign-in"))
    refused = await stranger.get("/sign-in/sso?here=1")
    assert refused.status_code == 404
    back = await stranger.get("/sign-in/sso/back?code=x&state=y")
    assert back.status_code == 404


def test_rules_say_claim_value_role_and_the_first_that_fits_holds() -> None:
    rules = parse_rules(["roles:a b=builder", "roles:c=org-viewer@line-1", "email:*=operator"])
    assert grant_of({"roles": ["x", "c", "a b"]}, rules) == rules[0]
    assert grant_of({"roles": "c"}, rules) == rules[1]
    assert grant_of({"email": "x@y"}, rules) == rules[2]
    assert grant_of({"roles": {"c": 1}, "email": []}, rules) is None
    for wrong in ("", "roles", "roles:a", "=x", "roles:a=b c", "roles:a=b@X"):
        with pytest.raises(Invalid):
            parse_rules([wrong])
