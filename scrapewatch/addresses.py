"""What an address says of who is behind it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


@lru_cache(4_096)
def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or ``localhost``, is this machine and can be reached from no other."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


@lru_cache(4_096)
def network_of(host: str) -> str:
    """What is counted as one: an address, or of IPv6 its first half, since the second is the client's to choose."""
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return host if address is None else str(address)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
