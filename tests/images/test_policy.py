from ipaddress import ip_address, ip_network

import pytest

from services.errors import UrlNotAllowed
from services.images.policy import UrlPolicy
from services.images.urls import parse_url

PUBLIC, HOME, THIS, METADATA = "93.184.216.34", "192.168.1.5", "127.0.0.1", "169.254.169.254"


def allows(policy: UrlPolicy, url: str, *addresses: str) -> bool:
    try:
        target = parse_url(url)
        policy.check_target(target)
        policy.check_addresses(target.host, [ip_address(address) for address in addresses])
    except UrlNotAllowed:
        return False
    return True


DEFAULT = UrlPolicy()
NAS = UrlPolicy(hosts=("nas", "photos.example.org"))
HOME_NETWORK = UrlPolicy(networks=(ip_network("192.168.1.0/24"), ip_network("fd00::/8")))
EVERYTHING = UrlPolicy(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
OTHER_PORTS = UrlPolicy(ports=(2342,))


@pytest.mark.parametrize(
    ("policy", "url", "addresses", "allowed"),
    [
        (DEFAULT, "http://a.example/", [PUBLIC], True),
        (DEFAULT, "https://a.example:80/", [PUBLIC], True),
        (DEFAULT, f"http://{PUBLIC}/", [], True),
        (DEFAULT, "http://a.example/", [PUBLIC, HOME], False),
        (DEFAULT, "http://a.example/", [HOME, PUBLIC], False),
        (DEFAULT, f"http://{HOME}/", [], False),
        (DEFAULT, "http://a.example:8080/", [PUBLIC], False),
        (DEFAULT, f"http://{PUBLIC}:22/", [], False),
        (DEFAULT, "http://nas/", [PUBLIC], False),
        (DEFAULT, "http://a.example/", ["64:ff9b::808:808"], True),  # what DNS64 answers for 8.8.8.8
        (DEFAULT, "http://a.example/", ["64:ff9b::a00:1"], False),
        (DEFAULT, "http://a.example/", ["::ffff:8.8.8.8"], False),
        (NAS, "http://nas/", [HOME], True),
        (NAS, "http://NAS/", [HOME, "fd12::5"], True),
        (NAS, "http://nas/", [THIS, "::1"], True),
        (NAS, "http://nas:8080/", [HOME], False),
        (NAS, "http://nas/", [METADATA], False),
        (NAS, "http://nas/", ["100.100.100.200"], False),
        (NAS, "http://nas/", ["fd00:ec2::254"], False),
        (NAS, "http://nas/", ["224.0.0.1"], False),
        (NAS, "http://nas/", ["::ffff:192.168.1.5"], False),
        (NAS, "http://photos.example.org/", [HOME], True),
        (NAS, "http://photos.example.org./", [HOME], True),
        (NAS, "http://a.photos.example.org/", [HOME], False),
        (NAS, "http://photos.example.org.evil.example/", [HOME], False),
        (NAS, f"http://{HOME}/", [], False),
        (NAS, "http://other/", [PUBLIC], False),
        (HOME_NETWORK, f"http://{HOME}/", [], True),
        (HOME_NETWORK, "http://any.example/", [HOME, "fd12::5"], True),
        (HOME_NETWORK, "http://any.example/", [HOME, "192.168.2.5"], False),
        (HOME_NETWORK, "http://any.example/", [HOME, PUBLIC], True),
        (HOME_NETWORK, "http://nas/", [HOME], False),  # a name without a dot has to be listed
        (HOME_NETWORK, "http://[::ffff:192.168.1.5]/", [], False),
        (HOME_NETWORK, "http://[fd00:ec2::254]/", [], False),
        (EVERYTHING, f"http://{THIS}/", [], True),
        (EVERYTHING, f"http://{METADATA}/", [], False),
        (EVERYTHING, "http://168.63.129.16/", [], False),
        (EVERYTHING, "http://any.example/", ["64:ff9b::a9fe:a9fe"], False),
        (OTHER_PORTS, "http://a.example:2342/", [PUBLIC], True),
        (OTHER_PORTS, "http://a.example/", [PUBLIC], False),
    ],
)
def test_what_is_allowed(policy: UrlPolicy, url: str, addresses: list[str], allowed: bool) -> None:
    assert allows(policy, url, *addresses) is allowed
