import ipaddress
import random
import socket

import pytest

from services.images.addresses import IPAddress, ipv4_inside, is_own, is_public

# The special blocks, a second time and from the registries: first address, last address.
SPECIAL = [
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
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
EDGES = {ipaddress.ip_address(edge) for block in SPECIAL for edge in block}


@pytest.mark.parametrize(("first", "last"), SPECIAL)
def test_a_special_block_is_refused_from_edge_to_edge_and_no_further(first: str, last: str) -> None:
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    middle = low + (int(high) - int(low)) // 2
    assert [is_public(address) for address in (low, middle, high)] == [False, False, False]
    around = [number for number in (int(low) - 1, int(high) + 1) if 0 <= number < 2**low.max_prefixlen]
    for neighbour in (type(low)(number) for number in around):
        assert is_public(neighbour) or neighbour in EDGES


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.216.34", "168.63.129.15", "168.63.129.17", "223.255.255.255", "2000::",
     "2001:200::", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1", "3ffd::1", "3fff:1000::"],
)  # fmt: skip
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["::ffff:8.8.8.8", "::ffff:127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8",
     "64:ff9b:1::8.8.8.8", "2002:808:808::", "2001:0:808:808::", "2001::f7f7:f7f7", "2606:4700::5efe:8.8.8.8",
     "2606:4700::200:5efe:808:808", "2606:4700::100:5efe:7f00:1", "2606:4700::300:5efe:a00:1", "fe80::5efe:a00:1",
     "fd00:ec2::254", "fe80::1%eth0"],
)  # fmt: skip
def test_forms_that_carry_an_ipv4_address_are_refused_whatever_they_carry(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_nothing_is_public_that_python_knows_to_be_private() -> None:
    rng = random.Random(5)
    drawn: list[IPAddress] = [ipaddress.IPv4Address(rng.getrandbits(32)) for _ in range(4_000)]
    drawn += [ipaddress.IPv6Address(rng.getrandbits(125) | 1 << 125) for _ in range(4_000)]
    public = [address for address in drawn if is_public(address)]
    assert all(address.is_global and not address.is_multicast for address in public)
    assert len(public) > 7_200  # and the internet is still there


def test_nat64_shows_the_ipv4_address_inside() -> None:
    assert ipv4_inside(ipaddress.ip_address("64:ff9b::a9fe:a9fe")) == ipaddress.ip_address("169.254.169.254")
    for other in ("64:ff9b:1::a9fe:a9fe", "::ffff:10.0.0.1", "10.0.0.1"):
        assert ipv4_inside(ipaddress.ip_address(other)) is None


def test_own_addresses_are_known() -> None:
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: which interface would be taken
        except OSError:
            return  # a machine without a network has no other address
        assert is_own(ipaddress.ip_address(probe.getsockname()[0]))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "0.0.0.1"])
def test_addresses_of_others_are_not_own(address: str) -> None:
    assert not is_own(ipaddress.ip_address(address))
