"""What a shared access policy may be, decided over values."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from moorage.errors import Conflict, Invalid, NotFound, Refusal, TooLarge
from moorage.identities.model import PolicyScope, Right, SharedAccessPolicy
from moorage.identities.policy_rules import (
    DEFAULT_POLICIES,
    MAX_POLICIES,
    OWNERS,
    RIGHTS,
    PolicyDraft,
    check_stays,
    decide_all,
    decide_create,
    decide_roll,
    decide_swap,
    decide_update,
    get_among,
    make_key,
    ordered,
    parse_right,
)
from moorage.ids import DEFAULT_HUB, Secret

READ = frozenset[Right]({"RegistryRead"})
SERVE = frozenset[Right]({"ServiceConnect"})


def policy(name: str = "reader", rights: frozenset[Right] = READ, scope: PolicyScope = "hub") -> SharedAccessPolicy:
    return SharedAccessPolicy(DEFAULT_HUB, scope, name, make_key(), make_key(), rights)


OWNER = policy(OWNERS["hub"], frozenset(RIGHTS["hub"]))


def of_size(count: int) -> Secret:
    return Secret(base64.b64encode(bytes(range(count))).decode())


def test_a_new_policy_gets_keys_of_its_own() -> None:
    made = decide_create(DEFAULT_HUB, "hub", PolicyDraft("dash", READ), [OWNER])
    assert (made.name, made.rights) == ("dash", READ)
    keys = [base64.b64decode(key.reveal()) for key in (made.primary, made.secondary)]
    assert [len(key) for key in keys] == [32, 32] and keys[0] != keys[1]
    given = decide_create(DEFAULT_HUB, "hub", PolicyDraft("dash", READ, of_size(16), of_size(64)), [])
    assert (given.primary, given.secondary) == (of_size(16), of_size(64))


@pytest.mark.parametrize(
    ("draft", "kind", "reason"),
    [
        (PolicyDraft("", READ), Invalid, "policy.name"),
        (PolicyDraft("a/b", READ), Invalid, "policy.name"),
        (PolicyDraft("x" * 65, READ), Invalid, "policy.name"),
        (PolicyDraft("é", READ), Invalid, "policy.name"),
        (PolicyDraft("dash"), Invalid, "policy.rights"),
        (PolicyDraft("dash", frozenset()), Invalid, "policy.rights"),
        (PolicyDraft("IotHubOwner", READ), Conflict, "policy.exists"),
        (PolicyDraft("dash", READ, of_size(15)), Invalid, "key.length"),
        (PolicyDraft("dash", READ, of_size(65)), Invalid, "key.length"),
        (PolicyDraft("dash", READ, Secret("no base64")), Invalid, "key.base64"),
        (PolicyDraft("dash", READ, of_size(32), of_size(32)), Conflict, "policy.same_key"),
    ],
)
def test_what_cannot_be_a_policy_is_refused_by_name(draft: PolicyDraft, kind: type[Refusal], reason: str) -> None:
    with pytest.raises(kind) as caught:
        decide_create(DEFAULT_HUB, "hub", draft, [OWNER])
    assert caught.value.reason == reason
    assert "no base64" not in str(caught.value)


def test_there_are_so_many_policies_and_no_more() -> None:
    full = [policy(f"p{number}") for number in range(MAX_POLICIES)]
    with pytest.raises(TooLarge) as caught:
        decide_create(DEFAULT_HUB, "hub", PolicyDraft("one-more", READ), full)
    assert caught.value.reason == "policy.too_many"
    assert decide_create(DEFAULT_HUB, "hub", PolicyDraft("last", READ), full[1:]).name == "last"


def test_a_whole_list_has_no_more_either_whatever_its_order() -> None:
    present = [OWNER, *(policy(f"p{number}") for number in range(MAX_POLICIES - 1))]
    drafts = [PolicyDraft("new", READ), *(PolicyDraft(each.name) for each in present)]
    for order in (drafts, drafts[::-1]):
        with pytest.raises(TooLarge) as caught:
            decide_all(DEFAULT_HUB, "hub", order, present)
        assert caught.value.reason == "policy.too_many"
    plan = decide_all(DEFAULT_HUB, "hub", drafts[:-1], present)
    assert ([each.name for each in plan.created], plan.deleted) == (["new"], [present[-1]])


def test_an_update_changes_what_it_says_and_keeps_the_rest() -> None:
    present = policy()
    assert decide_update(present, PolicyDraft("reader")) is present
    changed = decide_update(present, PolicyDraft("READER", SERVE, secondary=of_size(20)))
    assert changed == replace(present, rights=SERVE, secondary=of_size(20))
    with pytest.raises(Conflict):
        decide_update(present, PolicyDraft("reader", primary=present.secondary))
    with pytest.raises(Invalid):
        decide_update(present, PolicyDraft("reader", rights=frozenset()))


def test_a_roll_replaces_one_key_and_a_swap_none() -> None:
    present = policy()
    rolled = decide_roll(present, "secondary", None)
    assert rolled.primary == present.primary and rolled.secondary not in (present.primary, present.secondary)
    assert decide_roll(present, "primary", of_size(30)).primary == of_size(30)
    with pytest.raises(Conflict):
        decide_roll(present, "primary", present.secondary)
    assert decide_swap(present) == replace(present, primary=present.secondary, secondary=present.primary)


@pytest.mark.parametrize("scope", ["hub", "dps"])
def test_the_policy_that_env_hands_out_stays_with_its_rights(scope: PolicyScope) -> None:
    owner = policy(OWNERS[scope], frozenset(RIGHTS[scope]), scope)
    with pytest.raises(Conflict) as caught:
        check_stays(owner)
    assert caught.value.reason == "policy.fixed"
    with pytest.raises(Conflict):
        decide_update(owner, PolicyDraft(owner.name, frozenset(RIGHTS[scope][:1])))
    assert decide_update(owner, PolicyDraft(owner.name, frozenset(RIGHTS[scope]), of_size(32))).primary == of_size(32)
    with pytest.raises(Conflict):
        decide_all(DEFAULT_HUB, scope, [], [owner])
    check_stays(policy("other", frozenset(RIGHTS[scope][:1]), scope))


def test_a_whole_list_says_what_is_made_what_changes_and_what_goes() -> None:
    kept, changed, gone = policy("kept"), policy("changed"), policy("gone")
    present = [OWNER, kept, changed, gone]
    drafts = [PolicyDraft(OWNER.name), PolicyDraft("Kept"), PolicyDraft("changed", SERVE), PolicyDraft("new", READ)]
    plan = decide_all(DEFAULT_HUB, "hub", drafts, present)
    assert [each.name for each in plan.created] == ["new"]
    assert plan.updated == [(changed, replace(changed, rights=SERVE))]
    assert plan.deleted == [gone]
    assert not decide_all(DEFAULT_HUB, "hub", [PolicyDraft(each.name) for each in present], present)
    with pytest.raises(Invalid) as caught:
        decide_all(DEFAULT_HUB, "hub", [*drafts, PolicyDraft("NEW", READ)], present)
    assert caught.value.reason == "policy.twice"


def test_rights_are_those_of_the_service_in_any_case_and_azures_order() -> None:
    assert parse_right("hub", " registrywrite ") == "RegistryWrite"
    with pytest.raises(Invalid, match="EnrollmentRead"):
        parse_right("hub", "EnrollmentRead")
    assert parse_right("dps", "EnrollmentRead") == "EnrollmentRead"
    assert ordered("hub", DEFAULT_POLICIES["hub"]["iothubowner"]) == list(RIGHTS["hub"])


def test_a_policy_is_found_in_any_case_or_those_there_are_are_named() -> None:
    assert get_among([OWNER], "hub", "IOTHUBOWNER") is OWNER
    with pytest.raises(NotFound, match="iothubowner"):
        get_among([OWNER], "hub", "nobody")
