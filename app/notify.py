"""Telling a person, away from the dashboard, that something needs them: messages by Apprise.

Apprise waits for the network where it is called, and the services are other people's, so each
message has a thread of its own. An address can hold a key and can lead anywhere. So none is ever
logged, and people who share a bridge choose among named services, whose hosts are fixed.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.http import is_inside
from app.metrics import Metrics
from app.notices import Kind, Message, message
from app.outbox import backoff
from app.settings import Network, Settings, SettingsError
from app.store import notices
from app.store.notices import Claim
from app.vault import Vault, digest
from app.waits import Waits

log = structlog.get_logger()

# Both write addresses, and an address is a key.
for library in ("apprise", "urllib3"):
    logging.getLogger(library).setLevel(logging.CRITICAL + 1)

if TYPE_CHECKING:
    from apprise import AppriseAsset

# So many accounts at a time in one turn, and addresses for each.
ACCOUNTS = 4
MOST_ADDRESSES = 5
# With waits that double from a minute, a service has two hours to come back.
MOST_TRIES = 8
# Beyond the deadline of a message: to note what became of it.
TO_NOTE = timedelta(minutes=1)

TEST = "This is a test. Messages that something needs you will arrive here."


class NotOffered(Exception):
    """An account cannot be told at this address; the message says why, to its person."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service that people may choose, what its addresses look like and how to get one.

    Apprise is given ``url``, filled with the groups of ``pattern`` and nothing else: none of the
    options that Apprise reads from an address, which could name files and other hosts, and no
    host, since those of these services are fixed in Apprise.
    """

    name: str
    begins: tuple[str, ...]
    pattern: re.Pattern[str]
    url: str
    form: str
    hint: str

    @property
    def guide(self) -> str:
        """Return where Apprise explains this service; its folder is called like the service."""
        return f"https://appriseit.com/services/{self.name.lower()}/"


SERVICES = (
    Service(
        "Telegram",
        ("tgram://",),
        re.compile(r"tgram://(?P<bot>[0-9]{3,20}:[A-Za-z0-9_-]{20,80})/(?P<chat>-?[0-9]{1,20})/?"),
        "tgram://{bot}/{chat}",
        "tgram://BOT_TOKEN/CHAT_ID",
        "Create a bot with @BotFather, say hello to it, and ask @userinfobot for your own number.",
    ),
    Service(
        "Discord",
        ("discord://", "https://discord.com/", "https://discordapp.com/"),
        re.compile(
            r"(?:discord://|https://discord(?:app)?\.com/api/webhooks/)"
            r"(?P<webhook>[0-9]{5,25})/(?P<token>[\w-]{20,120})/?",
            re.ASCII,
        ),
        "discord://{webhook}/{token}",
        "https://discord.com/api/webhooks/ID/TOKEN",
        "In the settings of a channel: Integrations, Webhooks, Copy Webhook URL.",
    ),
    Service(
        "Slack",
        ("slack://", "https://hooks.slack.com/"),
        re.compile(
            r"(?:slack://|https://hooks\.slack\.com/services/)"
            r"(?P<team>T[A-Z0-9]{5,20})/(?P<app>B[A-Z0-9]{5,20})/(?P<token>[A-Za-z0-9]{10,60})/?"
        ),
        "slack://{team}/{app}/{token}",
        "https://hooks.slack.com/services/T…/B…/…",
        "Add “Incoming Webhooks” to your Slack and copy the webhook’s URL.",
    ),
    Service(
        "Pushover",
        ("pover://",),
        re.compile(r"pover://(?P<user>[A-Za-z0-9]{30})@(?P<token>[A-Za-z0-9]{30})/?"),
        "pover://{user}@{token}",
        "pover://USER_KEY@APP_TOKEN",
        "Your user key is on your dashboard at Pushover; create an application for the token.",
    ),
    Service(
        "Pushbullet",
        ("pbul://",),
        re.compile(r"pbul://(?P<token>[A-Za-z0-9.]{20,60})/?"),
        "pbul://{token}",
        "pbul://ACCESS_TOKEN",
        "Create an access token in your account’s settings.",
    ),
    Service(
        "Prowl",
        ("prowl://",),
        re.compile(r"prowl://(?P<key>[A-Za-z0-9]{40})/?"),
        "prowl://{key}",
        "prowl://API_KEY",
        "Create an API key on Prowl’s website.",
    ),
    Service(
        "Simplepush",
        ("spush://",),
        re.compile(r"spush://(?P<token>[A-Za-z0-9]{4,60})/?"),
        "spush://{token}",
        "spush://API_TOKEN",
        "The app shows the token.",
    ),
    Service(
        "ntfy",
        ("ntfy://", "ntfys://", "https://ntfy.sh/"),
        re.compile(
            r"(?:ntfys?://|(?=https://ntfy\.sh/)https://)"
            r"(?P<who>(?:tk_[A-Za-z0-9]{1,60}@)?)(?:ntfy\.sh/)?(?P<topic>[\w-]{1,64})/?",
            re.ASCII,
        ),
        "ntfys://{who}ntfy.sh/{topic}",
        "https://ntfy.sh/TOPIC",
        "Choose a topic that nobody guesses, and subscribe to it in the app.",
    ),
)

# A server of one's own, named by its address: a name could lead elsewhere by the time it is used.
OWN_NTFY = re.compile(
    r"(?P<scheme>ntfys?)://(?P<who>(?:[\w.~-]{1,80}(?::[\w.~-]{1,80})?@)?)"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
    r"(?P<port>(?::[0-9]{1,5})?)/(?P<topic>[\w-]{1,64})/?",
    re.ASCII,
)


def chosen(address: str, allowed: Sequence[Network]) -> str:
    """Return the Apprise URL for an address that a person typed.

    An ntfy server of their own must lie inside the ``allowed`` networks, on any port. Such a URL
    is itself an address that leads to the same URL.

    Raises:
        NotOffered: it is none of a named service.

    """
    address = address.strip()
    if own := OWN_NTFY.fullmatch(address):
        check_own_server(own["host"].strip("[]"), int(own["port"][1:] or 80), allowed)
        return "{scheme}://{who}{host}{port}/{topic}".format(**own.groupdict())
    for service in SERVICES:
        if match := service.pattern.fullmatch(address):
            return service.url.format(**match.groupdict())
    raise NotOffered(complaint(address))


def check_own_server(host: str, port: int, allowed: Sequence[Network]) -> None:
    """Raise NotOffered unless ``host`` is an IP address inside the ``allowed`` networks."""
    try:
        is_allowed = is_inside(ip_address(host), allowed)
    except ValueError:
        is_allowed = False
    if not is_allowed or not 0 < port < 65536:
        raise NotOffered(
            f"This bridge may not contact {host}. Use ntfy.sh, or ask whoever runs the bridge to "
            "allow your network with ALLOW_PRIVATE_NETWORKS."
        )


def complaint(address: str) -> str:
    """Return why an address cannot be used, without repeating it."""
    if not address:
        return "Paste an address first."
    service = service_of(address)
    if service is None:
        return "That is not an address of one of the services below."
    return (
        f"That is not how an address of {service.name} looks. It must be {service.form}, with "
        "nothing after it."
    )


def service_of(address: str) -> Service | None:
    """Return the service whose addresses begin like this one."""
    return next((one for one in SERVICES if address.startswith(one.begins)), None)


def label(url: str) -> str:
    """Return how an address is shown, ``Telegram (…a1b2)``: its service, the end of a digest."""
    service = service_of(url)
    return f"{service.name if service else 'Unknown'} (…{digest(url)[-4:]})"


def check_urls(settings: Settings) -> None:
    """Stop the start at an address of NOTIFY_URLS that Apprise cannot use.

    Raises:
        SettingsError: naming its scheme and nothing else of it.

    """
    for url in settings.notify_urls:
        if apprise().Apprise.instantiate(url, asset=asset(settings.base_url)) is not None:
            continue
        scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://", url)
        which = f"that begins with {scheme[0]}" if scheme else "that has no scheme like ntfy://"
        raise SettingsError(
            f"NOTIFY_URLS holds an address {which}, which Apprise cannot use; "
            "https://appriseit.com/services/ shows how each must look"
        )


def apprise() -> ModuleType:
    """Return Apprise, which is loaded when somebody is told for the first time."""
    import apprise as loaded  # noqa: PLC0415 - it and what it needs take 4 MB

    return loaded


def asset(about: str) -> "AppriseAsset":
    """Return how Apprise shall work for us: in our thread, without pictures and redirects."""
    made: AppriseAsset = apprise().AppriseAsset(
        app_id="OwnYourTrakt",
        app_desc="OwnYourTrakt",
        app_url=about,
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
        http_redirects=False,
        async_mode=False,
        storage_mode="memory",
        # With a time limit of its own, it would use threads that the process's end waits for.
        service_timeout=0,
    )
    return made


def sent(url: str, told: Message, about: str) -> bool:
    """Send a message by one service, and tell whether it was taken. Waits for the network."""
    how = asset(about)
    service = apprise().Apprise.instantiate(url, asset=how)
    if service is None:
        return False
    box = apprise().Apprise(service, asset=how)
    form = apprise().NotifyFormat.TEXT
    return bool(box.notify(body=told.body, title=told.title, body_format=form))


def in_a_thread(work: Callable[[], bool]) -> Future[bool]:
    """Begin ``work`` in a thread that nobody has to wait for, not even the process's end.

    asyncio's own threads would be held up: those that resolve names and parse pages.
    """
    future: Future[bool] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            taken = work()
        except Exception as error:  # noqa: BLE001 - any of Apprise's 180 plugins may fail anyhow
            # Its own words could hold the address.
            log.warning("a notification failed", error=type(error).__name__)
            taken = False
        future.set_result(taken)

    # With the caller's context, so that the log names the work that this belongs to.
    Thread(target=copy_context().run, args=(run,), name="notify", daemon=True).start()
    return future


def again(tries: int, now: datetime, waits: Waits) -> datetime | None:
    """Return when to try once more after so many tries, None to give up."""
    return now + backoff(tries, waits) if tries < MOST_TRIES else None


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells people of notices, each once, by the services they chose or by the operator's."""

    database: Database
    vault: Vault
    now: Callable[[], datetime]
    settings: Settings
    metrics: Metrics

    async def tell_due(self) -> None:
        """Tell what is due, for a few accounts at a time; what is due of one is one message.

        It takes at most ``notify_deadline``, and may be called while an earlier call still waits.
        """
        now = self.now()
        until = now + self.settings.waits.notify_deadline + TO_NOTE
        async with self.database.writing() as session:
            claims = await notices.claim(session, now, until, ACCOUNTS)
        await asyncio.gather(*(self.tell(claim) for claim in claims))

    async def tell(self, claim: Claim) -> None:
        """Send one account's notices, if they are still open, and note what became of it.

        They count as told when one of several services took them: another try would repeat them
        there. The dashboard shows in any case what is open.
        """
        async with self.database.reading() as session:
            rows = await notices.claimed(session, claim)
            is_for_operator = any(row.kind == Kind.CLOSED for row in rows)
            urls = await self.addresses(session, claim, is_for_operator=is_for_operator)
        if not rows:
            return
        told = message([(row.kind, row.said) for row in rows], self.settings.base_url)
        is_told = not urls or any(await self.send_all(urls, told))
        async with self.database.writing() as session:
            for row in await notices.claimed(session, claim, lock=True):
                waits = self.settings.waits
                row.tell_at = None if is_told else again(row.tries, self.now(), waits)

    async def addresses(
        self, session: AsyncSession, claim: Claim, *, is_for_operator: bool
    ) -> Sequence[str]:
        """Return where to tell an account: its own addresses, or else the operator's.

        What is for the operator, too, goes to both, and to the operator's once for all accounts.
        """
        found = await notices.addresses(session, claim.account_id, self.vault) or ()
        own = [url for url in found if self.may_use(url)]
        if not is_for_operator:
            return own or self.settings.notify_urls
        is_first = await notices.is_first_closed(session, claim.keys)
        return [*own, *(self.settings.notify_urls if is_first else ())]

    def may_use(self, url: str) -> bool:
        """Tell whether an address of an account is still one that it could choose today."""
        try:
            return chosen(url, self.settings.allow_private_networks) == url
        except NotOffered:
            return False

    async def test(self, url: str) -> bool:
        """Send a test message to an address of an account, and tell whether it was taken."""
        return self.may_use(url) and await self.send(url, self.trial)

    async def test_operators(self) -> list[bool]:
        """Send a test message to each address of `NOTIFY_URLS`, and tell whether it was taken."""
        return await self.send_all(self.settings.notify_urls, self.trial)

    @property
    def trial(self) -> Message:
        """Return the test message."""
        return Message("OwnYourTrakt: a test", f"{TEST}\n\n{self.settings.base_url}")

    async def send_all(self, urls: Sequence[str], told: Message) -> list[bool]:
        """Send a message by several services at once; tell of each whether it was taken."""
        return await asyncio.gather(*(self.send(url, told) for url in urls))

    async def send(self, url: str, told: Message) -> bool:
        """Send a message by one service, and tell whether it was taken in time."""
        work = in_a_thread(partial(sent, url, told, self.settings.base_url))
        taken = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.waits.notify_deadline.total_seconds()):
                taken = await asyncio.wrap_future(work)
        self.metrics.messages.labels("taken" if taken else "not_taken").inc()
        if not taken:
            log.warning("a notification was not taken", service=url.partition("://")[0])
        return taken
