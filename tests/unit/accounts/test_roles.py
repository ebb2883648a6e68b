"""Roles as values: the ids that clients know, what comes with a permission, and who may give what."""

from __future__ import annotations

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, PERMISSIONS, Actor, OrganizationId, RoleId
from moorage.accounts.organizations import Organization, Tree, parse_organization_id
from moorage.accounts.roles import (
    ADMINISTRATOR,
    BUILT_IN,
    FOR_ORGANIZATIONS,
    RoleDefinition,
    check_grant,
    parse_permissions,
    parse_role_name,
    with_dependencies,
)
from moorage.errors import Refusal
from moorage.ids import DEFAULT_HUB

ROOT, NORTH, SOUTH = OrganizationId(""), OrganizationId("north"), OrganizationId("south")
BY_SHORT = {role.short: role for role in BUILT_IN.values()}


def test_the_built_in_roles_have_the_ids_of_the_product() -> None:
    assert {BY_SHORT[short].role_id for short in ("administrator", "builder", "operator")} == {
        "ca310b8d-2f4a-44e0-a36e-957c202cd8d4",
        "344138e9-8de4-4497-8c54-5237e96d6aaf",
        "ae2c9854-393b-4f97-8c42-479d70ce626e",
    }
    assert ADMINISTRATOR == BY_SHORT["administrator"].role_id


def test_every_built_in_role_holds_what_its_permissions_depend_on_and_no_more_than_its_kind() -> None:
    for role in BUILT_IN.values():
        assert with_dependencies(role.permissions) == role.permissions, role.display_name
        if role.kind == "organization":
            assert role.permissions <= FOR_ORGANIZATIONS
    assert with_dependencies(FOR_ORGANIZATIONS) == FOR_ORGANIZATIONS
    assert PERMISSIONS["administrator"] == frozenset(ALL_PERMISSIONS)


def test_ticking_one_pulls_in_what_it_depends_on_all_the_way() -> None:
    assert parse_permissions(["devices.delete"], "application") == {"devices.delete", "devices.manage", "devices.view"}


@pytest.mark.parametrize(
    ("names", "kind", "reason"),
    [
        (["devices.fly"], "application", "role.permission"),
        (["settings.manage"], "organization", "role.permission"),
        (["attempts.view"], "organization", "role.permission"),
        ([], "application", "role.empty"),
    ],
)
def test_what_no_role_can_hold_is_refused(names: list[str], kind: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_permissions(names, "organization" if kind == "organization" else "application")
    assert caught.value.reason == reason


def test_a_name_is_one_line_of_words() -> None:
    assert parse_role_name("  Night \t watch ") == "Night watch"
    for wrong in ("", " ", "x" * 101, "a\u202eb"):
        with pytest.raises(Refusal):
            parse_role_name(wrong)


@pytest.mark.parametrize(
    ("actor", "role", "where", "reason"),
    [
        (OWNER, "administrator", ROOT, ""),
        (OWNER, "administrator", NORTH, "account.role_kind"),
        (OWNER, "org-viewer", ROOT, "account.role_kind"),
        (OWNER, "org-viewer", NORTH, ""),
        ("north", "org-administrator", NORTH, ""),
        ("north", "org-viewer", SOUTH, "account.beyond"),
        ("north", "operator", ROOT, "account.beyond"),
        ("viewer", "org-operator", NORTH, "account.beyond"),
        ("viewer", "org-viewer", NORTH, ""),
    ],
)
def test_nobody_gives_away_what_they_do_not_have(
    actor: Actor | str, role: str, where: OrganizationId, reason: str
) -> None:
    if isinstance(actor, str):
        permissions = BY_SHORT["org-viewer" if actor == "viewer" else "org-administrator"].permissions
        actor = Actor(f"user:{actor}", permissions, NORTH, frozenset({NORTH}))
    try:
        check_grant(actor, BY_SHORT[role], where)
    except Refusal as refusal:
        assert refusal.reason == reason
    else:
        assert reason == ""


def test_a_role_of_the_wrong_kind_is_refused_with_those_of_the_right_one() -> None:
    with pytest.raises(Refusal) as caught:
        check_grant(OWNER, BY_SHORT["operator"], NORTH)
    assert "Org Administrator, Org Operator, Org Viewer" in caught.value.fix


def test_a_role_of_ones_own_is_no_built_in_one() -> None:
    made = RoleDefinition(RoleId("4711"), "Night watch", "application", frozenset({"devices.view"}))
    assert not made.is_built_in
    assert BY_SHORT["builder"].is_built_in


def tree(*pairs: tuple[str, str]) -> Tree:
    return Tree(Organization(DEFAULT_HUB, OrganizationId(name), name, OrganizationId(parent)) for name, parent in pairs)


def test_a_tree_knows_what_is_below_and_above_and_how_deep() -> None:
    found = tree(("a", ""), ("b", "a"), ("c", "b"), ("d", "a"), ("e", ""))
    assert found.subtree(OrganizationId("a")) == {"a", "b", "c", "d"}
    assert [node.organization_id for node in found.path(OrganizationId("c"))] == ["a", "b", "c"]
    assert (found.depth(OrganizationId("c")), found.height(OrganizationId("a")), found.depth(ROOT)) == (3, 3, 0)
    assert [(depth, node.organization_id) for depth, node in found.in_order()] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
        (2, "d"),
        (1, "e"),
    ]


def test_a_tree_whose_rows_make_no_sense_neither_hangs_nor_shows_more() -> None:
    found = tree(("a", "b"), ("b", "a"), ("c", "gone"))
    assert found.subtree(OrganizationId("a")) == {"a", "b"}
    assert len(found.path(OrganizationId("a"))) == 2
    assert [node.organization_id for _depth, node in found.in_order()] == ["c"]


@pytest.mark.parametrize("text", ["", "a", "-a", "a-", "A1", "a_b", "a" * 49, "a b", "a\n"])
def test_an_id_is_what_the_product_takes(text: str) -> None:
    with pytest.raises(Refusal):
        parse_organization_id(text)


def test_an_id_of_forty_eight_is_taken() -> None:
    assert parse_organization_id("a" * 48) == "a" * 48
