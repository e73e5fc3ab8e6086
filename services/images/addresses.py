"""Which IP addresses belong to the public internet: tables, so that a reader can compare them with the registries.

Sources: IANA's IPv4 and IPv6 Special-Purpose Address Registries, its IPv6 Global Unicast registry, and the
clouds' own documents. `ipaddress.is_global` is not enough: it follows the registries of its Python's day, takes
multicast and blocks that carry IPv4 addresses for global, and knows no cloud.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


_IPV4_SPECIAL = _networks(
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared by the customers of a provider
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT, tunnels for multicast
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
_IPV6_GLOBAL = IPv6Network("2000::/3")  # all that is assigned; everything outside is special
_IPV6_SPECIAL = _networks(
    "2001::/23",  # protocol assignments; in it Teredo (carries IPv4), ORCHID, benchmarks
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4 (carries IPv4)
    "2620:4f:8000::/48",  # AS112
    "3ffe::/16",  # the 6bone, given back; Teredo's first prefix was in it
    "3fff::/20",  # documentation
)

# Where clouds answer their machines with credentials. Only those outside of the tables above have to be listed
# for the public internet; all of them, for no setting opens them.
METADATA = _networks(
    "169.254.0.0/16",  # most clouds
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure
    "192.0.0.192/32",  # Oracle
    "fd00:ec2::/32",  # Amazon
    "fd20:ce::254/128",  # Google
    "fd00:42::42/128",  # Scaleway
)

# What a name that the owner lists may lead to, besides public addresses.
HOME = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"
)  # fmt: skip

NAT64 = IPv6Network("64:ff9b::/96")


def is_within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address in network for network in networks)


def is_public(address: IPAddress) -> bool:
    """Whether `address` is global unicast, outside of every special block, and carries no other address."""
    if is_within(address, METADATA):
        return False
    if isinstance(address, IPv4Address):
        return not is_within(address, _IPV4_SPECIAL)
    return address in _IPV6_GLOBAL and not is_within(address, _IPV6_SPECIAL) and not _is_isatap(address)


def ipv4_inside(address: IPAddress) -> IPv4Address | None:
    """The IPv4 address that a NAT64 gateway would turn `address` into (RFC 6052), if it is of that kind."""
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else None


def _is_isatap(address: IPv6Address) -> bool:
    # RFC 5214: the lower half is 0000:5efe and an IPv4 address; the two lowest bits of its first byte may be set.
    return (int(address) >> 32) & 0xFCFF_FFFF == 0x0000_5EFE


def is_own(address: IPAddress) -> bool:
    """Whether `address` is one of this machine's, as far as the machine knows.

    Nothing is sent: connecting a datagram socket only asks the system which way it would go, and the way to an
    own address starts at that address.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:  # no way leads there
        return False
