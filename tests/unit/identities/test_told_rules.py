"""What is told of tokens, policies and tags that are refused, word for word; and where exactly their limits are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.bus import LocalBus
from moorage.certificates.service import HubAnchors
from moorage.errors import Unauthenticated
from moorage.events import Event
from moorage.identities.model import Right, SharedAccessPolicy
from moorage.identities.policy_rules import (
    MAX_POLICIES,
    OWNERS,
    RIGHTS,
    PolicyDraft,
    check_key,
    check_stays,
    decide_all,
    decide_create,
    decide_roll,
    decide_update,
    get_among,
    make_key,
    parse_right,
)
from moorage.identities.resources import MAX_TAGS, ResourceChange, Resources, check_tags
from moorage.identities.sas import (
    CLOCK_SKEW,
    MAX_TOKEN_CHARS,
    SCHEME,
    check_policy_audience,
    check_signature,
    identity_path,
    key_bytes,
    make_token,
    parse_audience,
    parse_token,
    session_end,
    sign,
)
from moorage.identities.trust import TrustCache
from moorage.ids import DEFAULT_HUB, CAName, ETag, HubId, Secret
from moorage.pki.waivers import Waivers
from tests.unit.identities.world import HOST, NOW, Groups, World, make_ca, named
from tests.unit.told import compare, refusal_lines

HERE = Path(__file__).parent
READ = frozenset[Right]({"RegistryRead"})
WRITE = frozenset[Right]({"RegistryWrite"})
KEY = Secret("AAECAwQFBgcICQoLDA0ODw==")
OTHER = Secret("EBESExQVFhcYGRobHB0eHw==")


def policy(name: str = "reader", rights: frozenset[Right] = READ) -> SharedAccessPolicy:
    return SharedAccessPolicy(DEFAULT_HUB, "hub", name, KEY, OTHER, rights)


def test_what_is_told_of_policies_tokens_and_tags() -> None:
    lines: list[str] = []

    def told(title: str, refused: Callable[..., Any], *arguments: Any, **more: Any) -> None:
        lines.extend(refusal_lines(title, lambda: refused(*arguments, **more)))

    owner = policy(OWNERS["hub"], frozenset(RIGHTS["hub"]))
    told("a name that is none", decide_create, DEFAULT_HUB, "hub", PolicyDraft("x" * 90, READ), [])
    told("a name that is taken", decide_create, DEFAULT_HUB, "hub", PolicyDraft("READER", READ), [policy()])
    told("no rights", decide_create, DEFAULT_HUB, "hub", PolicyDraft("x"), [])
    told("an empty list of rights", decide_create, DEFAULT_HUB, "hub", PolicyDraft("x", frozenset()), [])
    many = [policy(f"p{number}") for number in range(MAX_POLICIES)]
    told("too many", decide_create, DEFAULT_HUB, "hub", PolicyDraft("x", READ), many)
    told("too many at provisioning", decide_create, DEFAULT_HUB, "dps", PolicyDraft("x", READ), many)
    told("one that keeps its rights", decide_update, owner, PolicyDraft(owner.name, READ))
    told("one that stays", check_stays, owner)
    told("both keys alike", decide_roll, policy(), "primary", OTHER)
    told("a key that is short", check_key, Secret("c2hvcnQ="))
    told("a key that is no base64", check_key, Secret("no base64"))
    told("one twice", decide_all, DEFAULT_HUB, "hub", [PolicyDraft("x" * 64, READ)] * 2, [])
    told("one that there is, twice", decide_all, DEFAULT_HUB, "hub", [PolicyDraft("reader")] * 2, [policy()])
    told("one that there is not", get_among, [policy(), owner], "hub", "y" * 70)
    told("one that there is not at provisioning", get_among, [], "dps", "y")
    told("a right that there is not", parse_right, "hub", " " + "z" * 70)
    told("a right of the other service", parse_right, "dps", "RegistryRead")

    resource = f"{SCHEME} sr=x&sig=y"
    for title, text in (
        ("a long token", "x" * (MAX_TOKEN_CHARS + 1)),
        ("another scheme", "Bearer x"),
        ("a part without =", f"{resource}&se"),
        ("a field twice", f"{resource}&{'s' * 30}=1&{'s' * 30}=2"),
        ("no end", resource),
        ("no resource", f"{SCHEME} sig=y&se=1"),
        ("no signature", f"{SCHEME} sr=x&sig=&se=1"),
        ("an end that is none", f"{resource}&se={'z' * 50}"),
    ):
        told(title, parse_token, text)
    token = parse_token(make_token(f"{HOST}/devices/" + "z" * 300, KEY, NOW).reveal())
    told("no host at all", check_policy_audience, token, frozenset(), ("devices",))
    told("signed by nobody", check_signature, token, [b"x"], "policy 'p'")

    told("too many tags", check_tags, {str(number): "" for number in range(MAX_TAGS + 1)})
    told("a tag without a name", check_tags, {"": ""})
    told("a long name of a tag", check_tags, {"n" * 513: ""})
    told("a long value of a tag", check_tags, {"n" * 60: "v" * 257})
    compare(HERE / "rules_told.txt", lines)


def test_what_is_exactly_at_a_limit_is_within_it() -> None:
    check_tags({str(number): "" for number in range(MAX_TAGS)})
    check_tags({"n" * 512: "v" * 256})
    decide_create(DEFAULT_HUB, "hub", PolicyDraft("x", READ), [policy(f"p{each}") for each in range(MAX_POLICIES - 1)])
    longest = f"{SCHEME} sr=x&sig=y&se=1&x="
    assert parse_token(longest + "x" * (MAX_TOKEN_CHARS - len(longest))).resource == "x"
    assert len(make_key().reveal()) == 44


class TestTokens:
    def test_values_may_hold_what_separates_names_from_them(self) -> None:
        token = parse_token(f"  {SCHEME.lower()}   sr=a=b&sig=c=&se=1 ")
        assert (token.resource, token.signature, token.expiry) == ("a=b", "c=", "1")

    def test_everything_in_one_is_quoted_whole(self) -> None:
        # A key whose signature has both characters of base64 that mean something else in a token.
        for number in range(200):
            key = Secret("AAECAwQFBgcICQoLDA0O" + "ABCDEFGHIJ"[number % 10] + "A==")
            expires = NOW + timedelta(seconds=number)
            made = sign("a/b X", str(int(expires.timestamp())), key_bytes(key))
            if "/" in made and "+" in made:
                break
        else:
            raise AssertionError("no signature has a slash and a plus")
        text = make_token("a/b X", key, expires, "p/q X").reveal()
        assert "sr=a%2Fb%20X&" in text and text.endswith("&skn=p%2Fq%20X")
        assert not set("/+") & set(text.partition("sig=")[2].partition("&")[0])
        assert parse_token(text).policy == "p/q X"

    def test_lone_surrogates_are_signed_and_compared_as_anything_else(self) -> None:
        token = parse_token(f"{SCHEME} sr=\ud800&sig=\udfff&se=1")
        with pytest.raises(Unauthenticated):
            check_signature(token, [b"k"], "nobody")
        assert sign("\ud800", "1", b"k") != sign("\ud801", "1", b"k")

    def test_a_session_ends_at_the_end_and_one_that_began_there_after_the_skew(self) -> None:
        token = parse_token(make_token(HOST, KEY, NOW).reveal())
        assert session_end(token, NOW - timedelta(microseconds=1)) == NOW
        assert session_end(token, NOW) == NOW + CLOCK_SKEW

    def test_hosts_in_brackets_and_paths(self) -> None:
        assert parse_audience("[::1]:8443/devices/a]b").host == parse_audience("[::1]]/devices/a").host == "::1"
        assert identity_path(named("d/m")) == ("devices", "d", "modules", "m")
        assert identity_path(named("d")) == ("devices", "d")


class TestCalls:
    async def test_the_right_to_write_reads_and_no_other_does(self, world: World) -> None:
        writer = await world.policies.create(DEFAULT_HUB, "hub", PolicyDraft("writer", WRITE))
        header = make_token(HOST, writer.primary, NOW + timedelta(hours=1), "writer").reveal()
        principal = world.access.authorize(header, "hub", "devices/d", READ, NOW)
        assert (principal.kind, principal.name, principal.expires) == ("policy", "writer", NOW + timedelta(hours=1))
        bearer = world.owner.mint("api", timedelta(hours=1), NOW).reveal()
        owner = world.access.authorize(f"Bearer {bearer}", "hub", "devices/d", frozenset(), NOW)
        assert (owner.kind, owner.name, str(owner)) == ("owner", "owner", "owner")
        assert str(principal) == "policy:writer"

    async def test_the_text_of_a_key_signs_over_amqp_alone(self, world: World) -> None:
        made = await world.policies.create(DEFAULT_HUB, "hub", PolicyDraft("reader", READ))
        expiry = str(int((NOW + timedelta(hours=1)).timestamp()))
        for key, over_https in ((key_bytes(made.secondary), True), (made.secondary.reveal().encode(), False)):
            from urllib.parse import quote

            signature = quote(sign(HOST, expiry, key), safe="")
            header = f"{SCHEME} sr={HOST}&sig={signature}&se={expiry}&skn=reader"
            world.access.authorize(header, "hub", "devices/d", READ, NOW, is_amqp=True)
            if over_https:
                world.access.authorize(header, "hub", "devices/d", READ, NOW)
            else:
                with pytest.raises(Unauthenticated) as caught:
                    world.access.authorize(header, "hub", "devices/d", READ, NOW)
                assert caught.value.reason == "token.signature"

    async def test_what_is_looked_at_of_a_token_before_it_is_used(self, world: World) -> None:
        await world.policies.ensure_defaults(DEFAULT_HUB)
        until = NOW + timedelta(hours=1)
        dps = world.policies.get(DEFAULT_HUB, "dps", OWNERS["dps"])
        world.access.look_at(make_token(HOST, dps.primary, until, dps.name).reveal(), NOW)
        # A registration names a policy of no service, and is judged where it registers.
        world.access.look_at(make_token("0ne1/registrations/d", KEY, until, "registration").reveal(), NOW)
        for resource in ("0ne1/Registrations/d", "0ne1/x/registrations", "0ne1/registration/d"):
            with pytest.raises(Unauthenticated) as caught:
                world.access.look_at(make_token(resource, KEY, until, "r" * 70).reveal(), NOW)
            assert caught.value.reason == "token.policy_unknown"
            assert f"the policy '{'r' * 64}', which neither" in caught.value.message


class TestTrust:
    async def test_events_about_what_nobody_asked_for_yet_do_no_harm(self, world: World) -> None:
        cache = TrustCache(HubAnchors(world.store), Groups(), LocalBus())
        for kind, subject in (("waivers.changed", "hub"), ("anchors.replaced", "enrollment:x")):
            cache._heard(Event(kind, HubId("nobody's"), subject))
        cache.close()

    async def test_waivers_are_read_once_until_they_change(self, world: World) -> None:
        class Counting(HubAnchors):
            reads = 0

            def waivers(self, hub: HubId) -> Waivers:
                self.reads += 1
                return super().waivers(hub)

        source = Counting(world.store)
        cache = TrustCache(source, Groups(), world.bus)
        for _ in range(2):
            cache.waivers(DEFAULT_HUB)
        assert source.reads == 1
        world.bus.publish(Event("waivers.changed", DEFAULT_HUB, DEFAULT_HUB))
        await world.store.write(lambda tables: None)
        cache.waivers(DEFAULT_HUB)
        assert source.reads == 2

    async def test_unproven_cas_are_those_of_the_hub_alone(self, world: World) -> None:
        ca = make_ca("root")
        await world.certificates.upload(DEFAULT_HUB, "hub", CAName("c"), ca.certificate.pem, NOW, by="tests")
        assert [known for known, _ in world.trust.unproven(DEFAULT_HUB, "hub")] == ["c"]
        assert list(world.trust.unproven(DEFAULT_HUB, "enrollment:c")) == []


class TestResources:
    async def test_what_else_can_be_changed_counts_for_the_etag(self, world: World) -> None:
        await world.policies.ensure_defaults(DEFAULT_HUB)
        more: dict[HubId, Any] = {DEFAULT_HUB: {"b": 1, "a": 2}}
        resources = Resources(world.store, "dps", more=lambda tables, hub: (tables.settings.get("x"), more[hub])[1])
        first = resources.state(DEFAULT_HUB).etag
        more[DEFAULT_HUB] = {"a": 2, "b": 1}
        assert resources.state(DEFAULT_HUB).etag == first
        more[DEFAULT_HUB] = {"a": 2, "b": 3}
        assert resources.state(DEFAULT_HUB).etag != first
        assert Resources(world.store, "dps").state(DEFAULT_HUB).etag != first

    async def test_switches_are_the_hubs(self, world: World) -> None:
        await world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
        assert Resources(world.store, "hub").state(DEFAULT_HUB).switches.disable_device_sas
        assert not Resources(world.store, "dps").state(DEFAULT_HUB).switches.disable_device_sas

    async def test_each_change_is_audited_with_whose_it_is(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "moorage.audit")
        hub = Resources(world.store, "hub")
        await hub.change(DEFAULT_HUB, ResourceChange(tags={"b": "1", "a": "2"}))
        drafts = [PolicyDraft("reader", READ, KEY, OTHER)]
        await hub.change(DEFAULT_HUB, ResourceChange(policies=drafts, switches={"disable_device_sas": True}), by="me")
        assert [record.getMessage() for record in caplog.records] == [
            "resource.tagged hub=hub scope=hub tags='a,b' by=",
            "policy.created hub=hub scope=hub policy=reader changed=rights,primaryKey,secondaryKey by=me",
            "sas.switched hub=hub disableLocalAuth=False disableDeviceSAS=True disableModuleSAS=False by=me",
        ]
        tagged = caplog.records[0]
        assert (tagged.__dict__["event"], tagged.__dict__["facts"]) == (
            "resource.tagged",
            {"hub": "hub", "scope": "hub", "tags": "a,b", "by": ""},
        )

    async def test_a_stale_etag_is_told_with_the_one_that_holds(self, world: World) -> None:
        hub = Resources(world.store, "hub")
        holds = hub.state(DEFAULT_HUB).etag
        with pytest.raises(Exception, match="etag.stale") as caught:
            await hub.change(DEFAULT_HUB, ResourceChange(), if_match=ETag("e" * 70))
        assert str(caught.value).endswith(
            f"the resource was changed since it was read (you hold '{'e' * 64}', it is at {holds!r}); read it again"
        )
