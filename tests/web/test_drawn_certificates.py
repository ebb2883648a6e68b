"""Trees, curves and months as the server draws them: what stands where, whatever the certificates are."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from moorage.fleet.forecast import Authority, Outlook, remaining
from moorage.fleet.sightings import NO_PATH, Ending, IssuerPath, PathId, PathTally
from moorage.fleet.supply_chain import SupplyChain, supply_chain
from moorage.pki.certificates import Certificate
from moorage.web.curve import curve_of
from moorage.web.forecast import months_of
from moorage.web.tree import draw_tree
from tests import certs
from tests.certs import NOW

DAY = timedelta(days=1)
COMPANY = certs.root("Company-X")
FACTORY = certs.intermediate(COMPANY, "Factory-Y")
FIRST, SECOND = (certs.intermediate(FACTORY, name) for name in ("Technician-1", "Technician-2"))


def chain_of(*paths: tuple[int, list[certs.Issued]], trust: list[tuple[Certificate, str]] | None = None) -> SupplyChain:
    """Of paths, each with how many devices are below it."""
    found = [
        IssuerPath(PathId(str(number)), tuple(each.certificate for each in path), (b"sample",))
        for number, (_, path) in enumerate(paths)
    ]
    tallies = [PathTally(PathId(str(number)), devices) for number, (devices, _) in enumerate(paths)]
    return supply_chain(found, [*tallies, PathTally(NO_PATH, 7)], trust or [])


def test_paths_that_meet_become_one_tree() -> None:
    chain = chain_of((120, [FIRST, FACTORY, COMPANY]), (30, [SECOND, FACTORY, COMPANY]), (8, [FACTORY, COMPANY]))
    (company,) = chain.roots
    (factory,) = company.children
    assert (company.total, factory.devices, chain.alone) == (158, 8, 7)
    assert sorted(child.devices for child in factory.children) == [30, 120]


def test_what_is_trusted_and_was_not_seen_stands_below_its_issuer() -> None:
    other = certs.root("Company-W")
    trust = [(FACTORY.certificate, "line-7, primary"), (other.certificate, "line-8, primary")]
    chain = chain_of((5, [COMPANY]), trust=trust)
    assert [root.name for root in chain.roots] == ["Company-X", "Company-W"]
    assert [(child.name, child.trusted_by) for child in chain.roots[0].children] == [
        ("Factory-Y", ("line-7, primary",))
    ]


def test_boxes_do_not_stand_on_each_other_and_links_join_them() -> None:
    chain = chain_of((120, [FIRST, FACTORY, COMPANY]), (30, [SECOND, FACTORY, COMPANY]), (8, [FACTORY, COMPANY]))
    drawing = draw_tree(chain, NOW, (FIRST.certificate, FACTORY.certificate, COMPANY.certificate))
    columns: dict[float, list[float]] = {}
    for box in drawing.boxes:
        columns.setdefault(box.x, []).append(box.y)
    for heights in columns.values():
        assert all(lower - upper >= drawing.box_height for upper, lower in pairwise(sorted(heights)))
    assert {box.name for box in drawing.boxes if box.fits} == {"Technician-1", "Factory-Y", "Company-X"}
    assert len(drawing.links) == len(drawing.boxes) - 1 + len(drawing.ends)
    assert sum(link.fits for link in drawing.links) == 2
    assert all(box.x + drawing.box_width <= drawing.width for box in drawing.boxes)


def test_authorities_that_signed_each_other_end_nobodys_drawing() -> None:
    one, two = certs.root("One"), certs.root("Two")
    crossed = [
        certs.odd(certs.common_name(name), issuer=issuer, public_key=key.public_key())
        for name, issuer, key in (("One", two, one.key), ("Two", one, two.key))
    ]
    first, second = (certs.Issued(each, one.key) for each in crossed)
    chain = chain_of((1, [first, second]), (1, [second, first]), (3, [COMPANY]))
    assert {box.name for box in draw_tree(chain, NOW).boxes} == {"Company-X", "One", "Two"}
    assert sum(root.total for root in chain.roots) == 5


def test_more_than_anybody_can_look_at_is_cut_and_says_so() -> None:
    many = [(1, [certs.Issued(certs.odd(f"CA {number}"), COMPANY.key)]) for number in range(301)]
    chain = chain_of(*many)
    assert (len(chain.roots), chain.is_cut) == (300, True)


def test_the_curve_falls_and_ends_that_fall_together_have_one_label() -> None:
    authorities = tuple(
        Authority("CA", "", certs.root(f"CA {days}", now=NOW - certs.LIFETIME + days * DAY).certificate)
        for days in (10, 12, 200, 400)
    )
    endings = (Ending(NOW - 5 * DAY, 2), Ending(NOW + 20 * DAY, 5), Ending(NOW + 300 * DAY, 3))
    points = remaining(Outlook(authorities, endings, NOW), 5 * DAY, 73)
    assert [points[0].devices, points[-1].devices] == [8, 0]
    assert all(before.devices >= after.devices for before, after in pairwise(points))
    curve = curve_of(points, authorities)
    assert [mark.label for mark in curve.marks] == ["1, 2", "3"]
    assert curve.left <= curve.marks[0].at < curve.marks[1].at <= curve.right


def test_months_hold_what_ends_in_them_and_the_past_is_no_month() -> None:
    endings = (Ending(NOW - 40 * DAY, 9), Ending(NOW + 70 * DAY, 5), Ending(NOW + 900 * DAY, 3))
    months = months_of(Outlook((), endings, NOW))
    assert len(months) == 13
    assert [(month.devices, month.level) for month in months if month.devices] == [(5, 4)]
    assert months[0].name == f"{NOW:%Y-%m}"
