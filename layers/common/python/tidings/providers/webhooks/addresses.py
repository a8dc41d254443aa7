"""Which addresses a webhook may go to: a URL comes from a caller, and must not reach our own network."""

import ipaddress
import socket
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from tidings.domain.errors import NotCalled, TransientError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services
        "169.254.0.0/16",  # link-local, and the metadata of AWS, Azure and Google
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]
"""https://www.iana.org/assignments/iana-ipv4-special-registry"""

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, which hides an IPv4 address, and others
        "2001:db8::/32",
        "2002::/16",  # 6to4, which hides an IPv4 address
        "3fff::/20",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""https://www.iana.org/assignments/iana-ipv6-special-registry"""

MAX_LOOKUPS = 32
"""Names that are looked up at once. `getaddrinfo` has no time-out: each runs in a thread of its own."""

_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


def is_public(address: Address) -> bool:
    """Whether it is on the public internet. An IPv4 address that stands in an IPv6 one (mapped, compatible, 6to4,
    Teredo) is none; behind NAT64, which a network may need for every call, the IPv4 address decides."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _PUBLIC_V6 and not any(address in network for network in _REFUSED_V6)


def resolved(host: str, port: int, *, within: float, allow_private: bool) -> Sequence[Address]:
    """The addresses of a host, each of which is allowed. `within`: seconds. Raise TransientError."""
    found = _looked_up(host, port, within)
    if not allow_private and (refused := [address for address in found if not is_public(address)]):
        raise TransientError("address_refused", f"the host has {len(refused)} addresses that are not public")
    return found


def _looked_up(host: str, port: int, within: float) -> Sequence[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    if not _lookups.acquire(blocking=False):
        raise NotCalled("dns_busy", f"{MAX_LOOKUPS} names are being looked up")
    answers: SimpleQueue[Sequence[Address] | Exception] = SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, answers), name="tidings-dns", daemon=True).start()
    try:
        answer = answers.get(timeout=max(within, 0.001))
    except Empty:
        raise TransientError("dns_timeout", "the host's name was not resolved in time") from None
    if isinstance(answer, Exception):
        raise TransientError("dns", f"the host's name cannot be resolved ({type(answer).__name__})")
    return answer


def _look_up(host: str, port: int, answers: "SimpleQueue[Sequence[Address] | Exception]") -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A zone (fe80::1%eth0) is of a link-local address, which is refused.
        unique = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        answers.put([ipaddress.ip_address(text) for text in unique])
    except Exception as error:
        answers.put(error)
    finally:
        _lookups.release()
