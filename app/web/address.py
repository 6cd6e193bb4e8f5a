"""Who asks, as far as the network tells: the address that limits are counted by."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# What one customer of a provider is given at least; whoever has a whole one counts once.
ONE_CUSTOMER = 64


def client_address(peer: str, forwarded: Sequence[str], proxies: int) -> str:
    """Return the address of the client behind so many proxies of ours.

    ``forwarded`` are the values of ``X-Forwarded-For``. Each proxy adds at the right whom it
    heard; the outermost of ours is the last one that we believe, and what stands left of its
    word is whatever the client chose to send. A chain that is too short, or that ends in no
    address, did not come through all of them: then the peer is all that is known.
    """
    said = [part.strip() for value in forwarded for part in value.split(",")]
    if proxies < 1 or len(said) < proxies:
        return peer
    found = address(said[-proxies])
    return str(found) if found else peer


def address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a text, which some proxies write with its port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def neighbourhood(client: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    found = address(client)
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found), ONE_CUSTOMER), strict=False))
    return str(found or client)
