"""Addresses that the URL fetcher may connect to, and name resolution."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

__all__ = ["Address", "Resolver", "is_public", "resolve"]

Address: TypeAlias = IPv4Address | IPv6Address
Resolver: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]

# Not public, but `is_global` in some versions of Python.
_REFUSED_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "192.0.0.0/24",  # protocol assignments, such as Oracle's metadata service
            "192.88.99.0/24",  # 6to4 relays
            "168.63.129.16/32",  # Azure's service in every virtual machine
        ),
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")  # all allocated unicast addresses
_REFUSED_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, such as Teredo, which contains an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which contains an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

# A lookup cannot be cancelled: slow name servers must not occupy the threads of the rest of the server.
_RESOLVERS: Final = ThreadPoolExecutor(8, thread_name_prefix="automask-dns")


def is_public(address: Address) -> bool:
    """Return whether an address is public.

    Parameters
    ----------
    address
        Address; of an IPv6 address that contains an IPv4 one (mapped or NAT64), the IPv4 address counts.

    Examples
    --------
    >>> from ipaddress import ip_address
    >>> is_public(ip_address("1.1.1.1")), is_public(ip_address("::ffff:10.0.0.1"))
    (True, False)
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        return address in _PUBLIC_V6 and address.is_global and not any(address in net for net in _REFUSED_V6)
    return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED_V4)


async def resolve(host: str) -> Sequence[str]:
    """Return the addresses of a host from the system's resolver, which also accepts ``127.1`` and ``0x7f000001``.

    Raises
    ------
    OSError
        The host is unknown.
    """
    entries = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, _look_up, host)
    return [str(address[0]) for *_, address in entries]


def _look_up(host: str) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return [*socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
