"""Notifications: told once, to real listeners on loopback, and never to a stranger's host."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from apprise import Apprise
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from app import database, migrate
from app import settings as config
from app.database import Database
from app.main import create_app
from app.metrics import Metrics
from app.notices import Kind, message
from app.notify import MOST_TRIES, SERVICES, Notifier, NotOffered, Service, asset, chosen, label
from app.settings import Settings, SettingsError
from app.store import agenda, notices
from app.store.notices import Claim
from app.tables import AccountRow, NoticeRow
from app.vault import Vault
from app.waits import Waits
from tests.conftest import NOON
from tests.world import BRIDGE, SECRET_KEY, Clock, listening, origin, serving

# One of Apprise's plugins, which are all loaded at the first use, imports an old module.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[1]
# Seconds after which what should have come will not come.
PATIENCE = 30
LOOPBACK = config.load(
    _env_file=None, secret_key=SECRET_KEY, allow_private_networks="127.0.0.0/8"
).allow_private_networks
BOT = "123456:AAbbccddeeffgghhiijjkkllmmnnooppqq"
# One address of each service, and the only host that it may lead to.
EXAMPLES = {
    f"tgram://{BOT}/-100200": "api.telegram.org",
    "https://discord.com/api/webhooks/1234567/aB_c-dEfGhIjKlMnOpQrSt": "discord.com",
    "discord://1234567/aB_c-dEfGhIjKlMnOpQrSt": "discord.com",
    "https://hooks.slack.com/services/T1A2B3C4D/B1A2B3C4D/aBcDeFgHiJkLmNoP": "hooks.slack.com",
    f"pover://{'u' * 30}@{'T' * 30}": "api.pushover.net",
    f"pbul://o.{'aB' * 16}": "api.pushbullet.com",
    f"prowl://{'f0' * 20}": "api.prowlapp.com",
    "spush://HuxgBB": "api.simplepu.sh",
    "https://ntfy.sh/my-own_topic": "ntfy.sh",
    "ntfy://my-own_topic": "ntfy.sh",
    "ntfy://tk_AbC123@ntfy.sh/my-own_topic": "ntfy.sh",
}


class Inbox:
    """A service on loopback that keeps what it is sent, and answers when its gate is open."""

    def __init__(self) -> None:
        self.listener = listening()
        self.status = 200
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def message(self) -> None:
        """Wait for the first message, or the first after `arrived` was cleared."""
        async with asyncio.timeout(PATIENCE):
            await self.arrived.wait()

    @property
    def place(self) -> str:
        return origin(self.listener).removeprefix("http://")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        self.got.append(json.loads(body))
        self.paths.append(scope["path"])
        self.arrived.set()
        await self.gate.wait()
        elsewhere = [(b"location", b"/elsewhere")] if self.status == 307 else []
        await send({"type": "http.response.start", "status": self.status, "headers": elsewhere})
        await send({"type": "http.response.body", "body": b"{}"})


@asynccontextmanager
async def an_inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    async with serving(inbox, [inbox.listener]):
        try:
            yield inbox
        finally:
            inbox.gate.set()


@dataclass
class Desk:
    """A database with one account, whose operator is told in ``inbox``."""

    url: str
    clock: Clock
    inbox: Inbox
    vault: Vault = field(default_factory=lambda: Vault([SECRET_KEY]))
    database: Database = field(init=False)
    notifier: Notifier = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database(self.settings().database_url)
        self.notifier = self.a_notifier(self.database)

    def settings(self, **changes: object) -> Settings:
        given = {
            "secret_key": SECRET_KEY,
            "base_url": BRIDGE,
            "database_url": self.url,
            # It waits for the gate however slow this machine is.
            "notify_urls": f"json://{self.inbox.place}/operator?rto=60",
            "allow_private_networks": "127.0.0.0/8",
            **changes,
        }
        return config.load(_env_file=None, **given)

    def a_notifier(self, database: Database, **changes: object) -> Notifier:
        return Notifier(database, self.vault, self.clock, self.settings(**changes), Metrics())

    async def add_account(self, me: str) -> None:
        async with self.database.writing() as session:
            session.add(AccountRow(me=me, created_at=NOON))

    async def open(self, kind: Kind, said: str, account_id: int = 1) -> None:
        async with self.database.writing() as session:
            await notices.open_one(session, account_id, kind, said, self.clock())

    async def close(self, kind: Kind) -> None:
        async with self.database.writing() as session:
            await notices.close(session, 1, kind, self.clock())

    async def choose(self, *urls: str, account_id: int = 1) -> None:
        async with self.database.writing() as session:
            await notices.set_addresses(session, account_id, urls, self.vault)

    async def is_due(self) -> bool:
        async with self.database.reading() as session:
            return (await agenda.read(session, self.clock())).notices

    async def row(self, key: int = 1) -> NoticeRow:
        async with self.database.reading() as session:
            found = await session.get(NoticeRow, key)
            assert found is not None
            return found


@pytest.fixture
async def desk(database_url: str, clock: Clock) -> AsyncIterator[Desk]:
    async with an_inbox() as inbox:
        made = Desk(database_url, clock, inbox)
        url = made.settings().database_url
        database.prepare(url)
        migrate.upgrade(url)
        await made.add_account("https://ada.example/")
        yield made
        await made.database.close()


async def test_a_notice_is_told_once(desk: Desk) -> None:
    await desk.open(Kind.TRAKT, "Trakt no longer accepts the key. Connect Trakt again.")
    assert await desk.is_due()

    await desk.notifier.tell_due()
    desk.clock.passes(days=30)
    assert not await desk.is_due()
    await desk.notifier.tell_due()

    assert len(desk.inbox.got) == 1
    told = desk.inbox.got[0]
    assert told["title"] == "OwnYourTrakt: please connect Trakt again"
    assert "Trakt no longer accepts the key. Connect Trakt again." in told["message"]
    assert told["message"].endswith(BRIDGE)


async def test_a_notice_that_opens_again_is_told_again(desk: Desk) -> None:
    for _ in range(2):
        await desk.open(Kind.SITE, "Your site no longer takes our key.")
        await desk.notifier.tell_due()
        await desk.close(Kind.SITE)

    assert len(desk.inbox.got) == 2


async def test_notices_of_one_account_are_one_message_and_of_two_accounts_two(desk: Desk) -> None:
    await desk.add_account("https://bob.example/")
    await desk.open(Kind.TRAKT, "Ada connects Trakt.")
    await desk.open(Kind.SITE, "Ada signs in.")
    await desk.open(Kind.SITE, "Bob signs in.", account_id=2)

    await desk.notifier.tell_due()

    both, one = sorted((told["message"] for told in desk.inbox.got), key=len, reverse=True)
    assert "Ada connects Trakt." in both
    assert "Ada signs in." in both
    assert "Bob" not in both
    assert "Bob signs in." in one


async def test_of_a_refused_app_each_person_is_told_and_the_operator_once(desk: Desk) -> None:
    await desk.add_account("https://bob.example/")
    await desk.add_account("https://eve.example/")
    for number in (1, 2):
        await desk.choose(f"ntfy://{desk.inbox.place}/own-{number}", account_id=number)
    await desk.open(Kind.SITE, "Ada signs in.")
    for account_id in (1, 2, 3):
        await desk.open(Kind.CLOSED, "The app is refused.", account_id)
        desk.clock.passes(seconds=1)
    allowed = "127.0.0.0/8"
    notifier = desk.a_notifier(desk.database, allow_private_networks=allowed)

    await notifier.tell_due()
    desk.clock.passes(days=1)
    await notifier.tell_due()

    got = list(zip(desk.inbox.paths, desk.inbox.got, strict=True))
    operators = [told["message"] for path, told in got if path == "/operator"]
    assert operators == [f"The app is refused.\n\n{BRIDGE}"]
    own = [(told.get("topic"), told["title"]) for path, told in got if path != "/operator"]
    assert sorted(own) == [
        ("own-1", "OwnYourTrakt: Trakt refuses the app"),
        ("own-1", "OwnYourTrakt: please sign in again"),
        ("own-2", "OwnYourTrakt: Trakt refuses the app"),
    ]


async def test_two_processes_do_not_tell_it_twice(desk: Desk) -> None:
    await desk.open(Kind.PAUSED, "Posting is paused.")
    theirs = Database(desk.settings().database_url)
    desk.inbox.gate.clear()

    ours = asyncio.create_task(desk.notifier.tell_due())
    await desk.inbox.message()
    desk.inbox.arrived.clear()
    second = asyncio.create_task(desk.a_notifier(theirs).tell_due())
    twice = asyncio.create_task(desk.inbox.message())
    await asyncio.wait({second, twice}, return_when=asyncio.FIRST_COMPLETED)
    desk.inbox.gate.set()
    await asyncio.gather(ours, second)

    twice.cancel()
    await theirs.close()
    assert len(desk.inbox.got) == 1


async def test_two_processes_that_claim_at_one_moment_do_not_get_the_same(desk: Desk) -> None:
    await desk.open(Kind.SITE, "Sign in.")
    theirs = Database(desk.settings().database_url)

    async def claimed_by(database: Database) -> list[Claim]:
        async with database.writing() as session:
            return await notices.claim(session, NOON, NOON + timedelta(minutes=2), 9)

    async with desk.database.writing() as session:
        ours = await notices.claim(session, NOON, NOON + timedelta(minutes=2), 9)
        second = asyncio.create_task(claimed_by(theirs))
        # It comes as far as it can before we commit: SQLite has it wait, PostgreSQL does not.
        await asyncio.wait({second}, timeout=0.5)

    got = await second
    await theirs.close()
    assert (len(ours), len(got)) == (1, 0)


async def test_what_a_killed_process_did_not_tell_is_told_when_its_lease_is_over(
    desk: Desk,
) -> None:
    await desk.open(Kind.SITE, "Sign in.")
    async with desk.database.writing() as session:
        await notices.claim(session, NOON, NOON + timedelta(minutes=2), 9)
    await desk.notifier.tell_due()
    assert desk.inbox.got == []

    desk.clock.passes(minutes=2)
    await desk.notifier.tell_due()

    assert len(desk.inbox.got) == 1


async def test_what_is_closed_before_it_was_told_is_not_told(desk: Desk) -> None:
    await desk.open(Kind.SITE, "Sign in.")
    await desk.close(Kind.SITE)

    await desk.notifier.tell_due()

    assert desk.inbox.got == []


async def test_what_is_closed_after_it_was_claimed_is_not_told(desk: Desk) -> None:
    await desk.open(Kind.SITE, "Sign in.")
    async with desk.database.writing() as session:
        (claim,) = await notices.claim(session, NOON, NOON + timedelta(minutes=2), 9)
    await desk.close(Kind.SITE)

    await desk.notifier.tell(claim)

    assert desk.inbox.got == []


async def test_what_opens_again_while_it_is_told_is_told_again(desk: Desk) -> None:
    await desk.open(Kind.SITE, "Sign in.")
    desk.inbox.gate.clear()
    telling = asyncio.create_task(desk.notifier.tell_due())
    await desk.inbox.message()
    await desk.close(Kind.SITE)
    await desk.open(Kind.SITE, "Sign in, once more.")
    desk.inbox.gate.set()
    await telling

    await desk.notifier.tell_due()

    assert "once more" in desk.inbox.got[-1]["message"]
    assert len(desk.inbox.got) == 2


async def test_a_failing_service_is_tried_after_growing_waits_and_then_given_up(
    desk: Desk,
) -> None:
    desk.inbox.status = 500
    await desk.open(Kind.SITE, "Sign in.")
    waits: list[timedelta] = []
    await desk.notifier.tell_due()

    while (due := (await desk.row()).tell_at) is not None and len(waits) < 2 * MOST_TRIES:
        waits.append(due - desk.clock())
        desk.clock.moment = due - timedelta(seconds=1)
        await desk.notifier.tell_due()
        assert len(desk.inbox.got) == len(waits)
        desk.clock.moment = due
        await desk.notifier.tell_due()

    assert len(desk.inbox.got) == MOST_TRIES
    assert waits == sorted(set(waits))
    assert (await desk.row()).closed_at is None


async def test_a_service_that_comes_back_is_told(desk: Desk) -> None:
    desk.inbox.status = 500
    await desk.open(Kind.SITE, "Sign in.")
    await desk.notifier.tell_due()
    desk.inbox.status = 200
    desk.clock.passes(minutes=5)

    await desk.notifier.tell_due()

    assert (await desk.row()).tell_at is None
    assert len(desk.inbox.got) == 2


async def test_a_redirect_is_not_followed_and_does_not_count_as_told(desk: Desk) -> None:
    desk.inbox.status = 307
    await desk.open(Kind.SITE, "Sign in.")

    await desk.notifier.tell_due()

    assert desk.inbox.paths == ["/operator"]
    assert (await desk.row()).tell_at is not None


async def test_a_service_that_hangs_delays_nobody_else(desk: Desk) -> None:
    await desk.add_account("https://bob.example/")
    desk.inbox.gate.clear()
    await desk.open(Kind.SITE, "Ada signs in.")
    hanging = asyncio.create_task(desk.notifier.tell_due())
    await desk.inbox.message()

    async with an_inbox() as prompt:
        await desk.choose(f"ntfy://{prompt.place}/bob", account_id=2)
        await desk.open(Kind.SITE, "Bob signs in.", account_id=2)
        await desk.notifier.tell_due()

        assert len(prompt.got) == 1
        assert not hanging.done()
    desk.inbox.gate.set()
    await hanging


async def test_a_service_that_hangs_is_left_at_the_deadline_and_tried_again(desk: Desk) -> None:
    desk.inbox.gate.clear()
    await desk.open(Kind.SITE, "Sign in.")
    hasty = desk.a_notifier(desk.database, waits=Waits(notify_deadline=timedelta(seconds=0.1)))

    await hasty.tell_due()

    assert (await desk.row()).tell_at == NOON + timedelta(minutes=1)


async def test_a_message_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    code = (
        "import sys; from app import notify; from app.notices import Message;"
        "notify.in_a_thread(lambda: notify.sent(sys.argv[1], Message('title', 'body'), ''));"
        "sys.stdin.read()"
    )
    async with an_inbox() as inbox:
        inbox.gate.clear()
        url = f"json://{inbox.place}/?rto=600"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, url), stdin=asyncio.subprocess.PIPE, cwd=ROOT
        )
        await inbox.message()
        try:
            async with asyncio.timeout(PATIENCE):
                await process.communicate(b"")
        except TimeoutError:
            process.kill()
            await process.wait()

    assert process.returncode == 0


async def test_own_addresses_come_before_the_operator_s(desk: Desk) -> None:
    async with an_inbox() as own:
        await desk.choose(f"ntfy://{own.place}/ada")
        await desk.open(Kind.SITE, "Sign in.")

        await desk.notifier.tell_due()

        assert [told["topic"] for told in own.got] == ["ada"]
    assert desk.inbox.got == []


async def test_one_of_several_services_is_enough(desk: Desk) -> None:
    async with an_inbox() as broken:
        broken.status = 500
        await desk.choose(f"ntfy://{broken.place}/ada", f"ntfy://{desk.inbox.place}/ada")
        await desk.open(Kind.SITE, "Sign in.")

        await desk.notifier.tell_due()

        assert (len(broken.got), len(desk.inbox.got)) == (1, 1)
    assert (await desk.row()).tell_at is None


async def test_without_any_address_nobody_is_told_and_nothing_waits(desk: Desk) -> None:
    await desk.open(Kind.SITE, "Sign in.")

    await desk.a_notifier(desk.database, notify_urls="").tell_due()

    assert (await desk.row()).tell_at is None
    assert desk.inbox.got == []


async def test_addresses_that_no_key_opens_count_as_none(desk: Desk) -> None:
    async with an_inbox() as own:
        await desk.choose(f"ntfy://{own.place}/ada")
        desk.vault = Vault(["another secret key, which opens nothing here"])
        await desk.open(Kind.SITE, "Sign in.")

        await desk.a_notifier(desk.database).tell_due()

        assert own.got == []
    assert len(desk.inbox.got) == 1


async def test_an_address_that_is_no_longer_allowed_is_not_used(desk: Desk) -> None:
    async with an_inbox() as own:
        await desk.choose(f"ntfy://{own.place}/ada")
        await desk.open(Kind.SITE, "Sign in.")

        await desk.a_notifier(desk.database, allow_private_networks="10.0.0.0/8").tell_due()

        assert own.got == []
    assert len(desk.inbox.got) == 1


async def test_addresses_are_sealed_at_rest(desk: Desk) -> None:
    await desk.choose(f"tgram://{BOT}/1")

    async with desk.database.reading() as session:
        stored = await session.scalar(text("select sealed_notify_urls from account"))
        opened = await notices.addresses(session, 1, desk.vault)

    assert opened == [f"tgram://{BOT}/1"]
    assert stored
    assert BOT not in stored


async def test_no_log_holds_an_address(
    desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    await desk.choose(f"ntfy://ada:tk_secret@{desk.inbox.place}/secret")
    for status in (200, 307, 401, 500):
        desk.inbox.status = status
        await desk.open(Kind.SITE, "Sign in.")
        await desk.notifier.tell_due()
        await desk.close(Kind.SITE)

    said = caplog.text + "".join(capsys.readouterr())
    assert "was not taken" in said
    assert "secret" not in said


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The hosts that were asked for, by a proxy that lets nothing through."""
    asked = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = listening()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, origin(listener))
    async with await asyncio.start_server(refuse, sock=listener):
        yield asked


@pytest.mark.parametrize(("address", "host"), EXAMPLES.items())
async def test_each_service_is_sent_to_its_own_host_by_https(
    address: str, host: str, proxy: list[str], clock: Clock
) -> None:
    given = config.load(_env_file=None, secret_key=SECRET_KEY)
    notifier = Notifier(
        Database("sqlite+aiosqlite://"), Vault([SECRET_KEY]), clock, given, Metrics()
    )

    await notifier.test(chosen(address, ()))

    assert set(proxy) == {f"{host}:443"}


def test_every_service_has_an_example() -> None:
    tried = [service.pattern.fullmatch(address) for service in SERVICES for address in EXAMPLES]

    assert len({found.re for found in tried if found}) == len(SERVICES)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_what_a_pattern_takes_apprise_takes_too(service: Service) -> None:
    @settings(max_examples=40, database=None)
    @given(st.from_regex(service.pattern, fullmatch=True))
    def check(address: str) -> None:
        url = chosen(address, ())
        assert chosen(url, ()) == url
        assert label(url).startswith(f"{service.name} (…")
        assert Apprise.instantiate(url, asset=asset(BRIDGE)) is not None

    check()


@pytest.mark.parametrize(
    "address",
    ["ntfy://127.0.0.1:8080/topic", "ntfys://ada:pass@127.9.9.9/topic", "ntfy://tk_1@127.0.0.1/t"],
)
def test_an_ntfy_server_of_one_s_own_may_be_in_an_allowed_network(address: str) -> None:
    assert chosen(address, LOOPBACK) == address
    with pytest.raises(NotOffered, match="ALLOW_PRIVATE_NETWORKS"):
        chosen(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "hello",
        "mailto://ada:secret@example.com",
        "json://127.0.0.1/",
        "jsons://example.com/hook",
        "xml://127.0.0.1:8080/",
        "form://127.0.0.1/",
        "syslog://",
        "dbus://",
        "file:///etc/passwd",
        "https://example.com/hook",
        "http://169.254.169.254/latest",
        "apprise://example.com/token",
        "gotify://example.com/token",
        "matrix://user:pass@example.com/#room",
        "workflows://example.com/a/b/c",
        # Other hosts, in a form that looks known.
        "ntfy://example.com/topic",
        "ntfys://user:pass@example.com/topic",
        "ntfy://ntfy.sh.example.com/topic",
        "ntfy://ntfy.sh@example.com/topic",
        "ntfy://ntfy.sh:8080/topic",
        "https://ntfy.sh.example.com/topic",
        "https://topic",
        "https://discord.com.example.com/api/webhooks/1234567/aB_c-dEfGhIjKlMnOpQrSt",
        "https://example.com/api/webhooks/1234567/aB_c-dEfGhIjKlMnOpQrSt",
        "http://hooks.slack.com/services/T1A2B3C4D/B1A2B3C4D/aBcDeFgHiJkLmNoP",
        # Addresses of our own network, however they are written.
        "ntfy://10.0.0.5/topic",
        "ntfy://192.168.1.9:80/topic",
        "ntfy://169.254.169.254/topic",
        "ntfy://0.0.0.0/topic",
        "ntfy://127.0.0.1.nip.io/topic",
        "ntfy://localhost/topic",
        "ntfy://2130706433/topic",
        "ntfy://0x7f.1/topic",
        "ntfy://127.1/topic",
        "ntfy://0177.0.0.1/topic",
        "ntfy://[::1]/topic",
        "ntfy://[::ffff:10.0.0.5]/topic",
        "ntfy://127.0.0.1:0/topic",
        "ntfy://127.0.0.1:99999/topic",
        "ntfy://127.0.0.1@10.0.0.5/topic",
        "ntfy://127.0.0.1#@10.0.0.5/topic",
        "ntfy://127.0.0.1\\@10.0.0.5/topic",
        # Options of any kind, which may name files and other hosts.
        "ntfy://topic?attach=http://10.0.0.5/",
        "ntfy://topic?attach=file:///etc/passwd",
        "ntfy://topic?avatar_url=http://10.0.0.5/",
        "ntfy://topic?mode=private",
        "ntfy://topic?to=other",
        "ntfy://127.0.0.1/topic?rto=9999",
        "https://ntfy.sh/topic?auth=secret",
        f"tgram://{BOT}/1?image=yes",
        f"tgram://{BOT}/1?template=/etc/passwd",
        f"tgram://{BOT}/1?verify=no",
        "discord://1234567/aB_c-dEfGhIjKlMnOpQrSt?avatar_url=http://10.0.0.5/",
        "discord://1234567/aB_c-dEfGhIjKlMnOpQrSt?template=/etc/passwd",
        "discord://1234567/aB_c-dEfGhIjKlMnOpQrSt?cto=9999",
        "slack://T1A2B3C4D/B1A2B3C4D/aBcDeFgHiJkLmNoP?template=/etc/passwd",
        "slack://T1A2B3C4D/B1A2B3C4D/aBcDeFgHiJkLmNoP#fragment",
        f"pover://{'u' * 30}@{'T' * 30}?url=http://10.0.0.5/",
        f"prowl://{'f0' * 20}?redirect=yes",
        "spush://HuxgBB?retry=9",
        # What Apprise would decode, or take as two.
        "ntfy://topic%3Fattach=x",
        "ntfy://topic,json://10.0.0.5/",
        "ntfy://topic json://10.0.0.5/",
        "ntfy://topic\njson://10.0.0.5/",
        "ntfy://tópic",
        "ntfy://\uff11\uff12\uff17.0.0.1/topic",
        f"tgram://{BOT}/../../x",
        f"tgram://{BOT}/1/2",
        "discord://1234567/../../../x",
    ],
)
def test_any_other_address_is_refused_in_words_that_do_not_repeat_it(address: str) -> None:
    with pytest.raises(NotOffered) as caught:
        chosen(address, LOOPBACK)

    assert len(str(caught.value)) > 20
    assert not address or address not in str(caught.value)


def test_a_label_tells_two_addresses_apart_and_gives_neither_away() -> None:
    first, second = label(f"tgram://{BOT}/1"), label(f"tgram://{BOT}/2")

    assert first != second
    assert first.startswith("Telegram (…")
    assert len(first) == len("Telegram (…a1b2)")


@pytest.mark.parametrize(
    ("urls", "named"),
    [
        ("tgramm://123:secret/1", "tgramm://"),
        ("ntfy://fine, nonsense://secret@host", "nonsense://"),
        ("secret-without-a-scheme", "no scheme"),
        ("tgram://not-a-token-secret", "tgram://"),
    ],
)
def test_an_address_of_the_operator_that_apprise_cannot_use_stops_the_start(
    urls: str, named: str, tmp_path: Path
) -> None:
    given = config.load(
        _env_file=None,
        secret_key=SECRET_KEY,
        database_url=f"sqlite:///{tmp_path / 'bridge.db'}",
        notify_urls=urls,
    )

    with pytest.raises(SettingsError) as caught:
        create_app(given)

    assert str(caught.value).startswith("NOTIFY_URLS")
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("ntfy://one", ("ntfy://one",)),
        ("ntfy://one, json://two:8080/x", ("ntfy://one", "json://two:8080/x")),
        ("ntfy://one\n  ntfy://two,", ("ntfy://one", "ntfy://two")),
        ("mailto://a:b@c.de?to=d@e.fg,h@i.jk", ("mailto://a:b@c.de?to=d@e.fg,h@i.jk",)),
        ("", ()),
        (" , ", ()),
    ],
)
def test_the_operator_s_addresses_are_set_apart_by_commas_or_spaces(
    value: str, urls: tuple[str, ...]
) -> None:
    given = config.load(_env_file=None, secret_key=SECRET_KEY, notify_urls=value)

    assert given.notify_urls == urls
    assert "ntfy://" not in repr(given)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_notice_has_a_title(kind: Kind) -> None:
    known = message([(kind, "Said.")], BRIDGE).title

    assert known != message([("of a newer version", "Said.")], BRIDGE).title


def test_a_notice_of_a_newer_version_is_told_all_the_same() -> None:
    told = message([("unheard of", "Something new.")], BRIDGE)

    assert told.title == "OwnYourTrakt: something needs you"
    assert told.body == f"Something new.\n\n{BRIDGE}"


def test_many_notices_fit_into_what_every_service_takes() -> None:
    told = message([(Kind.BUNCH, "A long word and " * 99)] * 50, "https://" + "x" * 100)

    assert len(told.title) + len(told.body) < 1024
    assert "50 things" in told.title
    assert "And 47 more." in told.body
