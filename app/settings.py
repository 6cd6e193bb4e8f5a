"""Settings, read once from the environment or ``.env``, checked, and then never changed."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.waits import Waits

Network = IPv4Network | IPv6Network

DEFAULT_DATABASE = "sqlite:///./data/ownyourtrakt.db"
SHORTEST_KEY = 32
SHORTEST_TOKEN = 16
NEW_KEY = (
    "set it to any text of 32 characters or more, for example the output of "
    "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
)


class SettingsError(Exception):
    """A setting is wrong or missing; the message is one line that names it and the way out."""


def origin(value: str) -> str:
    """Return ``value`` as an origin, e.g. ``https://watch.example``, without a final slash."""
    parts = urlsplit(value.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("must end after the host name (and port); a path is not supported")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def comma_separated(value: object) -> object:
    """Return the parts of a comma-separated text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def apprise_urls(value: object) -> object:
    """Return the URLs in a text, which commas or spaces set apart; a comma may be in one, too."""
    if isinstance(value, str):
        parts = re.split(r"[,\s]+(?=[\w+.-]+://)", value.strip(", \t\r\n"))
        return tuple(part for part in parts if part)
    return value


def networks(value: object) -> object:
    """Return the networks of a comma-separated list of CIDRs or addresses."""
    parts = comma_separated(value)
    if not isinstance(parts, Iterable):
        return parts
    return tuple(ip_network(part) if isinstance(part, str) else part for part in parts)


def long_enough(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``keys`` if each is long enough to derive other keys from."""
    if not keys or any(len(key) < SHORTEST_KEY for key in keys):
        raise ValueError(f"must be any text of {SHORTEST_KEY} characters or more")
    return keys


def a_token(token: str) -> str:
    """Return ``token`` if it is one that a program can send in a header, and nobody guesses."""
    if token and (len(token) < SHORTEST_TOKEN or not re.fullmatch(r"[!-~]+", token)):
        raise ValueError(
            f"must be {SHORTEST_TOKEN} characters or more, without spaces or accents, for example "
            "the output of python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return token


def database(url: str) -> str:
    """Return ``url`` with the driver that we use for its kind of database."""
    scheme, found, rest = url.strip().partition("://")
    drivers = {
        "sqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
    }
    if not found or scheme not in drivers:
        raise ValueError("must start with sqlite:/// or postgres://")
    try:
        made = make_url(f"{drivers[scheme]}://{rest}")
    except (ArgumentError, ValueError):
        # Its own message would repeat the password.
        raise ValueError("is not the URL of a database: user:password@host:port/name") from None
    # In memory, each connection would have a database of its own.
    is_file = made.database and not made.database.startswith((":memory:", "file:"))
    if scheme == "sqlite" and (made.host or not is_file):
        raise ValueError(
            "must name a file: sqlite:///./data/ownyourtrakt.db, or from the root, with four "
            "slashes, sqlite:////var/lib/ownyourtrakt/bridge.db"
        )
    return f"{drivers[scheme]}://{rest}"


def own_address(checked: dict[str, Any]) -> str:
    """Return the address of a bridge that nobody gave one: reachable from this machine only."""
    return f"http://localhost:{checked.get('port', 8000)}"


def web_address(value: str) -> str:
    """Return ``value`` if it can be fetched; it may hold a key, so no complaint repeats it."""
    parts = urlsplit(value.strip())
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username):
        raise ValueError("must start with http:// or https:// and name a host, without a user name")
    return value.strip()


Origin = Annotated[str, AfterValidator(origin)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_separated)]


class Settings(BaseSettings):
    """What the operator decides. The names, in capitals, are a public contract."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        validate_default=True,
        env_nested_delimiter="__",
    )

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    base_url: Annotated[Origin, Field(default_factory=own_address)]
    secret_key: Annotated[Words, AfterValidator(long_enough)] = Field(repr=False)
    database_url: Annotated[str, AfterValidator(database), Field(repr=False)] = DEFAULT_DATABASE
    trakt_client_id: str = ""
    trakt_client_secret: Annotated[str, Field(repr=False)] = ""
    trakt_api_url: Origin = "https://api.trakt.tv"
    trakt_auth_url: Origin = "https://auth.trakt.tv"
    trakt_gets_per_5_min: Annotated[int, Field(ge=10)] = 500
    poll_interval: Annotated[int, Field(ge=1)] = 1800
    allowed_sites: Words = ()
    allow_private_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)] = ()
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    log_format: Literal["text", "json"] = "text"
    sentry_dsn: Annotated[str, Field(repr=False)] = ""
    metrics_token: Annotated[str, AfterValidator(a_token), Field(repr=False)] = ""
    notify_urls: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(apprise_urls), Field(repr=False)
    ] = ()
    heartbeat_url: Annotated[str, AfterValidator(web_address), Field(repr=False)] = ""
    waits: Waits = Waits()
    # Set by `demo` alone: the simulated website to suggest on the first page.
    demo_site: str = ""

    @property
    def secure(self) -> bool:
        """Whether people reach us by https, so that cookies may insist on it."""
        return self.base_url.startswith("https://")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach us."""
        return is_loopback_host(urlsplit(self.base_url).hostname or "")

    @property
    def redirect_uri(self) -> str:
        """Return where Trakt sends people back to; it must be pasted into the Trakt app."""
        return f"{self.base_url}/trakt/callback"


def load(**overrides: object) -> Settings:
    """Return the settings of this process; ``overrides`` win over the environment.

    Raises:
        SettingsError: naming each wrong or missing setting, one line for all of them.

    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type] # checked right here, at run time
    except ValidationError as error:
        # BASE_URL's default depends on PORT; when that is wrong, it alone is worth a complaint.
        wrong = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        raise SettingsError("; ".join(complaint(one) for one in wrong)) from None


def complaint(error: ErrorDetails) -> str:
    """Return what is wrong with one setting and how to mend it; never its value."""
    name = str(error["loc"][0]).upper()
    if name == "SECRET_KEY" and error["type"] == "missing":
        return f"SECRET_KEY is missing: {NEW_KEY}"
    if name == "SECRET_KEY":
        return f"SECRET_KEY is too short: {NEW_KEY}"
    reason = error["msg"].removeprefix("Value error, ")
    if say := WORDS.get(error["type"]):
        reason = f"is {error['input']!r}; it must be {say.format(**error.get('ctx', {}))}"
    return f"{name} {reason[:1].lower()}{reason[1:]} (see .env.example)"


# How pydantic's complaints are said to an operator.
WORDS = {
    "int_parsing": "a whole number",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
}


def is_loopback_host(host: str) -> bool:
    """Tell whether ``host`` can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
