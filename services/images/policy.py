"""Which URLs are fetched: the public internet on the ports of the web, and what the owner opens."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.errors import UrlNotAllowed
from services.images import addresses as tables
from services.images.addresses import IPAddress, IPNetwork, ipv4_inside, is_own, is_public, is_within
from services.images.urls import Target


@dataclass(frozen=True)
class UrlPolicy:
    """ports: the only ones, on every host. hosts: names (lower case) that may lead to private addresses too.
    networks: opened under any name, and as addresses. Nothing opens the clouds' metadata.
    """

    ports: Collection[int] = (80, 443)
    hosts: Collection[str] = ()
    networks: Collection[IPNetwork] = ()

    def check_target(self, target: Target) -> None:
        """Raises UrlNotAllowed for what can be told without looking up the name."""
        # A name without a dot is one of the own network, or means this machine.
        is_outside_name = target.address or "." in target.host or target.host in self.hosts
        if target.port not in self.ports or not is_outside_name:
            raise UrlNotAllowed
        if target.address:
            self.check_addresses(target.host, [target.address])

    def check_addresses(self, host: str, addresses: Iterable[IPAddress]) -> None:
        """Raises UrlNotAllowed unless all pass: which of a name's addresses is connected to is chance."""
        if not all(self._allows(host, ipv4_inside(address) or address) for address in addresses):
            raise UrlNotAllowed

    def _allows(self, host: str, address: IPAddress) -> bool:
        if is_within(address, tables.METADATA):
            return False
        if is_within(address, self.networks):
            return True
        if host in self.hosts:
            return is_public(address) or is_within(address, tables.HOME)
        return is_public(address) and not is_own(address)
