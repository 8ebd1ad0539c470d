"""Which addresses the guarded fetcher may connect to, and how it finds the addresses of a name."""

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

# What `is_global` of one Python or another takes for public.
_REFUSED_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata among them
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16/32",  # Azure's own service inside every virtual machine
        ),
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")  # all that has ever been given out
_REFUSED_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them, which hides an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which hides an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

# A look-up cannot be stopped: slow name servers must not take the threads that the rest of the server works with.
_LOOK_UPS: Final = ThreadPoolExecutor(8, thread_name_prefix="automask-dns")


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the internet at large.

    Parameters
    ----------
    address
        An IPv4 address inside an IPv6 one (mapped, or of NAT64) is judged by itself.

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
    """Find a host's addresses as the system does, which also reads spellings like ``127.1`` and ``0x7f000001``.

    Raises
    ------
    OSError
        There is no such host.
    """
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, _look_up, host)
    return [str(place[0]) for *_, place in found]


def _look_up(host: str) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return [*socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
