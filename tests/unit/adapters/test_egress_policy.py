"""Which addresses the hub may call: every special range, and the ways to spell one as another."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.egress_policy import AllowList, is_public, plain_address

# First and last of each range that is not the Internet's, and its neighbours on both sides that are.
RANGES = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
    ("::", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("64:ff9b:1::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_a_range_that_is_not_the_internets_is_refused_from_end_to_end(first: str, last: str) -> None:
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    middle = type(low)((int(low) + int(high)) // 2)
    assert [is_public(each) for each in (low, middle, high)] == [False] * 3


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
        "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
        "203.0.112.255", "203.0.114.0", "223.255.255.255", "2001:200::", "2001:db7::1", "2001:db9::1", "2003::",
        "2606:4700:4700::1111", "2a00:1450::1", "3ffe:ffff::1",
    ],
)  # fmt: skip
def test_the_neighbours_of_a_range_are_the_internets(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("spelling", ["::ffff:{}", "64:ff9b::{}"])
@pytest.mark.parametrize(
    ("address", "public"), [("127.0.0.1", False), ("169.254.169.254", False), ("10.1.2.3", False), ("8.8.8.8", True)]
)
def test_ipv4_inside_ipv6_is_judged_by_what_it_carries(spelling: str, address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(spelling.format(address))) is public


@pytest.mark.parametrize(
    "address",
    ["::1", "::127.0.0.1", "::8.8.8.8", "2002:0808:0808::1", "2001:0:0808:0808::1", "fe80::1", "fc00::1", "fd12::1",
     "ff02::1", "fec0::1", "100::1", "5f00::1", "64:ff9b:1::808:808"],
)  # fmt: skip
def test_ipv6_that_leads_elsewhere_or_nowhere_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_what_is_called_public_python_calls_global_too(address: ipaddress.IPv4Address) -> None:
    plain = plain_address(address)
    # The library calls NAT64 global whatever it leads to.
    if is_public(address):
        assert plain.is_global and not plain.is_multicast


def test_nothing_is_allowed_beside_the_internet_unless_it_is_named() -> None:
    home, world = ipaddress.ip_address("192.168.1.7"), ipaddress.ip_address("8.8.8.8")
    assert AllowList().permitted("h", [home, world], with_tls=True) == [world]
    assert AllowList().permitted("h", [home, world], with_tls=False) == []
    assert AllowList.of(["192.168.0.0/16"]).permitted("h", [home, world], with_tls=True) == [home, world]
    assert AllowList.of(["192.168.0.0/16"]).permitted("h", [home, world], with_tls=False) == [home]
    assert AllowList.of(["192.168.1.7"]).permitted("h", [home], with_tls=False) == [home]
    assert AllowList.of(["192.168.1.8"]).permitted("h", [home], with_tls=False) == []


def test_a_host_is_allowed_by_its_whole_name_whatever_its_case() -> None:
    home = ipaddress.ip_address("192.168.1.7")
    allowed = AllowList.of(["Hooks.example."])
    assert allowed.permitted("hooks.EXAMPLE", [home], with_tls=False) == [home]
    for other in ("evil-hooks.example", "hooks.example.evil", "a.hooks.example", "example"):
        assert allowed.permitted(other, [home], with_tls=True) == []


def test_an_allowed_network_is_found_under_the_other_spelling_of_its_addresses() -> None:
    mapped = ipaddress.ip_address("::ffff:10.0.0.1")
    assert AllowList.of(["10.0.0.0/8"]).permitted("h", [mapped], with_tls=True) == [mapped]
    assert AllowList.of(["::/0"]).permitted("h", [mapped], with_tls=True) == []
