"""Addresses that strangers type or publish, in the one form in which we compare them."""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

import httpx2
import idna

from app.errors import SignInError
from app.http import Address, is_inside
from app.settings import Network

LONGEST_URL = 2000
LONGEST_HOST = 253
# Underscores are no part of a host name by the book, and some sites have them all the same.
HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# WHATWG URL "ends in a number": such a host is an IPv4 address, in decimal, octal or hex.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
# A colon right before a port ("example.com:8443/") does not end a scheme.
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(?![0-9]+(?:[/?]|\Z))", re.IGNORECASE | re.ASCII)
AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?")
HOME = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
HOW = "Type it like this: https://example.com/"


def profile_url(text: str, allowed: Sequence[Network] = ()) -> str:
    """Return ``text`` as a canonical profile URL (IndieAuth 3.2, 3.4).

    A host alone gets https; see `has_scheme` for who may then try http. Addresses inside
    ``allowed`` may be named by IP or as ``localhost``, and any host may then have a port.

    Raises:
        SignInError: ``invalid_profile_url``, saying what is wrong and how to type it.

    """
    typed = text.strip()
    refuse_what_parsers_disagree_about(typed)
    scheme, rest = split_scheme(typed)
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path = rest.removeprefix(authority)
    refuse_dot_segments(path.partition("?")[0])
    netloc = host_and_port(authority, allowed)
    try:
        return web_url(f"{scheme}://{netloc}{path}")
    except ValueError as error:
        raise refusal(f"This address cannot be read ({error}).") from error


def has_scheme(text: str) -> bool:
    """Tell whether the person chose http or https, so that we must not choose for them."""
    return SCHEME.match(text.strip()) is not None


def web_url(text: str) -> str:
    """Return an absolute http(s) URL in canonical form: host and default port, path, no fragment.

    Raises ValueError for everything else, among it user names and what parsers disagree about.
    """
    if len(text) > LONGEST_URL:
        raise ValueError(f"it is longer than {LONGEST_URL} characters")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise ValueError(str(error)) from error
    if url.scheme not in {"http", "https"}:
        raise ValueError("it does not begin with http:// or https://")
    if url.userinfo or "\\" in text:
        raise ValueError("it holds a user name or a backslash")
    host = url.raw_host.decode("ascii")
    # The zone of an IPv6 address ("%eth0") names an interface of ours.
    if "%" in host or (":" not in host and not is_host_name(host.removesuffix("."))):
        raise ValueError("it names no host")
    if url.port is not None and not 0 < url.port <= 65535:
        raise ValueError("its port is not between 1 and 65535")
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii')}"


def refusal(sentence: str) -> SignInError:
    """Return the error for an address that cannot be a profile URL."""
    return SignInError("invalid_profile_url", f"{sentence} {HOW}")


def refuse_what_parsers_disagree_about(typed: str) -> None:
    """Stop at texts of which two programs may read two different addresses."""
    if not typed:
        raise refusal("The address is empty.")
    if len(typed) > LONGEST_URL:
        raise refusal(f"The address is longer than {LONGEST_URL} characters.")
    if any(sign.isspace() or not sign.isprintable() for sign in typed):
        raise refusal("The address holds a space or an invisible character; leave it out.")
    if "\\" in typed:
        raise refusal("The address holds a backslash; use / instead.")
    # urlsplit("https://x/#").fragment is empty, so look for the sign itself.
    if "#" in typed:
        raise refusal("The address holds a # and what follows; leave that part out.")


def split_scheme(typed: str) -> tuple[str, str]:
    """Return the scheme, https when there is none, and what follows the slashes."""
    if not has_scheme(typed):
        return "https", typed
    scheme, _, rest = typed.partition(":")
    if scheme.lower() not in {"http", "https"}:
        raise refusal(f"An address that begins with {scheme}: is no website.")
    if not rest.startswith("//"):
        raise refusal(f"There must be two slashes after {scheme}:")
    return scheme.lower(), rest.removeprefix("//")


def refuse_dot_segments(path: str) -> None:
    """Stop at ``.`` and ``..``, also when they are written ``%2e``."""
    if not {".", ".."}.isdisjoint(unquote(path).split("/")):
        raise refusal("The address holds /./ or /../; write the path it leads to.")


def host_and_port(authority: str, allowed: Sequence[Network]) -> str:
    """Return the canonical host, with its port where ``allowed`` makes ports possible."""
    if "@" in authority:
        raise refusal("The address holds an @; leave out user name and password, or the e-mail.")
    if not authority:
        raise refusal("The name of the website is missing.")
    parts = AUTHORITY.fullmatch(authority)
    if parts is None:
        raise refusal(f"“{authority[:60]}” is no host name.")
    name, port = parts["host"], parts["port"]
    if port is not None and not allowed:
        raise refusal("The address holds a port (:…); a profile address has none.")
    if port is not None and not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise refusal(f"“{port}” is no port.")
    return canonical_host(name, allowed) + (f":{port}" if port else "")


def canonical_host(name: str, allowed: Sequence[Network]) -> str:
    """Return ``name`` in ASCII and lower case, an IPv6 address in brackets."""
    address = literal(name)
    if address is not None:
        if not is_inside(address, allowed):
            raise refusal(f"{name} is an IP address; a profile address has a domain name.")
        return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    host = ascii_host(name)
    if NUMBER.fullmatch(host.rpartition(".")[2]):
        # Also what IDNA turns into digits, such as ①②⑦.0.0.1.
        raise refusal(f"{name} is an IP address; a profile address has a domain name.")
    if f".{host}".endswith(".localhost") and not any(is_inside(home, allowed) for home in HOME):
        raise refusal(f"{name} is this machine itself; a profile address can be reached by all.")
    return host


def literal(name: str) -> Address | None:
    """Return the IP address that ``name`` spells in full, or None."""
    try:
        if name.startswith("["):
            return IPv6Address(name[1:-1])
        return IPv4Address(name)
    except AddressValueError:
        return None


def ascii_host(name: str) -> str:
    """Return ``name`` by the rules of IDNA 2008 after the mapping of UTS 46."""
    host = name.lower()
    if not name.isascii():
        try:
            host = idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError as error:
            raise refusal(f"“{name[:60]}” is no host name.") from error
    if not is_host_name(host):
        raise refusal(f"“{name[:60]}” is no host name.")
    return host


def is_host_name(host: str) -> bool:
    """Tell whether ``host``, in lower-case ASCII, is made of labels that DNS can hold."""
    return len(host) <= LONGEST_HOST and all(
        HOST_NAME.fullmatch(label) for label in host.split(".")
    )


def is_ip(host: str) -> bool:
    """Tell whether the host of a canonical URL is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
