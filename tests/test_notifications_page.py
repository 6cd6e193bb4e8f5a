"""Choosing where one is told, as a person with a browser does it."""

from collections.abc import AsyncIterator
from pathlib import Path

import html5lib
import pytest
from sqlalchemy import select

from app.notices import Kind
from app.notify import MOST_ADDRESSES, SERVICES, label
from app.store import notices
from app.tables import AccountRow, ClaimRow
from app.vault import Vault
from tests.conftest import NOON
from tests.test_notify import BOT, Inbox, an_inbox
from tests.world import BRIDGE, Clock, World, running_world

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

PAGE = "/settings/notifications"
TELEGRAM = f"tgram://{BOT}/1"


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with an_inbox() as running:
        yield running


async def add(world: World, address: str) -> None:
    await world.browser.visit(PAGE)
    await world.browser.press("Add", address=address)


async def stored(world: World, account_id: int = 1) -> list[str] | None:
    async with world.bridge.database.reading() as session:
        return await notices.addresses(session, account_id, world.bridge.vault)


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("bridge.db*")]


async def test_the_settings_lead_to_the_notifications(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings")

    (link,) = world.browser.document.select(f"a[href='{PAGE}']")

    assert "told" in link.get_text()


async def test_the_page_is_for_people_who_are_signed_in(world: World) -> None:
    await world.browser.visit(PAGE)

    assert "not signed in" in world.browser.text


async def test_the_page_shows_every_service_and_how_to_get_an_address(world: World) -> None:
    await world.sign_in()

    await world.browser.visit(PAGE)

    html5lib.HTMLParser(strict=True).parse(world.browser.page.text)
    for service in SERVICES:
        assert service.form in world.browser.text
        assert service.hint in world.browser.text
    assert "ntfy://IP_ADDRESS:PORT/TOPIC" in world.browser.text
    assert "only the dashboard" in world.browser.text


async def test_an_address_is_added_shown_in_brief_and_removed(world: World) -> None:
    await world.sign_in()

    await add(world, f"  {TELEGRAM} ")
    assert "Saved" in world.browser.text
    assert label(TELEGRAM) in world.browser.text
    assert await stored(world) == [TELEGRAM]
    html5lib.HTMLParser(strict=True).parse(world.browser.page.text)

    await world.browser.press("Remove")
    assert label(TELEGRAM) not in world.browser.text
    assert await stored(world) == []


async def test_removing_one_address_leaves_the_others(world: World) -> None:
    await world.sign_in()
    for number in (1, 2, 3):
        await add(world, f"tgram://{BOT}/{number}")

    await world.browser.press(f"Remove {label(f'tgram://{BOT}/2')}")

    assert await stored(world) == [f"tgram://{BOT}/1", f"tgram://{BOT}/3"]


async def test_no_page_and_no_file_of_the_database_holds_an_address(
    world: World, tmp_path: Path
) -> None:
    await world.sign_in()
    await add(world, TELEGRAM)
    pages = [world.browser.page.text]
    await world.browser.press("Add", address=f"{TELEGRAM}?image=yes")
    pages += [world.browser.page.text, (await world.browser.visit("/settings")).text]

    files = contents(tmp_path)

    assert files
    for secret in (TELEGRAM, BOT, BOT.partition(":")[2]):
        assert not any(secret in page for page in pages)
        assert not any(secret.encode() in content for content in files)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "Paste an address first"),
        ("mailto://ada:secret@example.com", "not an address of one of the services"),
        ("tgram://wrong", "That is not how an address of Telegram looks"),
        ("ntfy://10.0.0.5/topic", "ALLOW_PRIVATE_NETWORKS"),
        (f"{TELEGRAM}?template=/etc/passwd", "with nothing after it"),
    ],
)
async def test_what_cannot_be_used_is_said_beside_the_field(
    world: World, address: str, said: str
) -> None:
    await world.sign_in()

    await add(world, address)

    assert world.browser.page.status_code == 400
    (wrong,) = world.browser.document.select("form .wrong[role=alert]")
    assert said in wrong.get_text()
    (field,) = world.browser.document.select("input[name=address][aria-invalid=true]")
    assert str(wrong["id"]) in str(field["aria-describedby"]).split()
    assert not field.get("value")
    html5lib.HTMLParser(strict=True).parse(world.browser.page.text)
    assert await stored(world) == []


async def test_the_same_address_is_added_once(world: World) -> None:
    await world.sign_in()

    await add(world, "ntfy://my-topic")
    await add(world, "https://ntfy.sh/my-topic")

    assert "already" in world.browser.text
    assert len(await stored(world) or ()) == 1


async def test_there_is_room_for_a_few_addresses_only(world: World) -> None:
    await world.sign_in()
    await world.browser.visit(PAGE)
    form, _ = world.browser.form_with("Add")
    for number in range(MOST_ADDRESSES):
        await add(world, f"ntfy://topic-{number}")
    assert "no room for more" in world.browser.text

    token = str(form.select_one("[name=csrf]")["value"])  # type: ignore[index] # it has one
    late = await world.browser.client.post(
        BRIDGE + PAGE, data={"csrf": token, "address": "ntfy://one-more"}
    )

    assert late.status_code == 400
    assert "Remove one first" in late.text
    assert len(await stored(world) or ()) == MOST_ADDRESSES


async def test_a_test_message_says_of_each_service_whether_it_took_it(
    world: World, inbox: Inbox
) -> None:
    await world.sign_in()
    async with an_inbox() as broken:
        broken.status = 403
        fine, bad = f"ntfy://{inbox.place}/fine", f"ntfy://{broken.place}/bad"
        await add(world, fine)
        await add(world, bad)

        await world.browser.press("Send a test message")

        assert f"{label(fine)} took the test message" in world.browser.text
        assert f"{label(bad)} did not take the message" in world.browser.text
        html5lib.HTMLParser(strict=True).parse(world.browser.page.text)
        assert len(broken.got) == 1
    assert inbox.got[0]["title"] == "OwnYourTrakt: a test"
    assert BRIDGE in inbox.got[0]["message"]


async def test_an_address_that_could_not_be_chosen_today_is_listed_and_not_tested(
    world: World, inbox: Inbox
) -> None:
    await world.sign_in()
    elsewhere = f"json://{inbox.place}/topic"
    async with world.bridge.database.writing() as session:
        await notices.set_addresses(session, 1, [elsewhere], world.bridge.vault)
    await world.browser.visit(PAGE)

    await world.browser.press("Send a test message")

    assert f"{label(elsewhere)} did not take the message" in world.browser.text
    assert inbox.got == []


async def test_a_page_of_an_answer_leads_back_when_it_is_reloaded(world: World) -> None:
    await world.sign_in()

    for path in (f"{PAGE}/test", f"{PAGE}/remove"):
        await world.browser.visit(path)
        assert world.browser.page.url.path == PAGE


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}/remove", f"{PAGE}/test"])
async def test_a_form_from_elsewhere_changes_nothing(world: World, inbox: Inbox, path: str) -> None:
    await world.sign_in()
    await add(world, f"ntfy://{inbox.place}/topic")
    kept = await stored(world)
    assert kept

    answer = await world.browser.client.post(
        BRIDGE + path, data={"address": label(kept[0])}, headers={"Origin": BRIDGE}
    )

    assert answer.status_code == 400
    assert await stored(world) == kept
    assert inbox.got == []


async def test_nobody_sees_or_changes_the_addresses_of_another(world: World) -> None:
    await world.sign_in()
    await add(world, TELEGRAM)
    async with world.bridge.database.writing() as session:
        session.add(AccountRow(me="https://bob.example/", created_at=NOON))
    async with world.bridge.database.writing() as session:
        await notices.set_addresses(session, 2, ["ntfys://ntfy.sh/bob"], world.bridge.vault)
    await world.browser.visit(PAGE)
    assert label("ntfys://ntfy.sh/bob") not in world.browser.text

    form, _ = world.browser.form_with("Remove")
    token = str(form.select_one("[name=csrf]")["value"])  # type: ignore[index] # it has one
    await world.browser.client.post(
        f"{BRIDGE}{PAGE}/remove",
        data={"csrf": token, "address": label("ntfys://ntfy.sh/bob")},
    )

    assert await stored(world) == [TELEGRAM]
    assert await stored(world, 2) == ["ntfys://ntfy.sh/bob"]


async def test_addresses_that_no_key_opens_are_explained_and_can_be_chosen_anew(
    world: World,
) -> None:
    await world.sign_in()
    async with world.bridge.database.writing() as session:
        other = Vault(["a key that this bridge had before it was lost"])
        await notices.set_addresses(session, 1, [TELEGRAM], other)

    await world.browser.visit(PAGE)
    assert "SECRET_KEY of this bridge has changed" in world.browser.text
    await world.browser.press("Add", address=TELEGRAM)

    assert "SECRET_KEY" not in world.browser.text
    assert await stored(world) == [TELEGRAM]


async def test_a_bridge_with_an_operator_who_is_told_says_so(
    tmp_path: Path, clock: Clock, inbox: Inbox
) -> None:
    urls = f"json://{inbox.place}/operator"
    async with running_world(tmp_path, clock, notify_urls=urls) as world:
        await world.sign_in()
        await world.browser.visit(PAGE)
        assert "whoever runs this bridge is told" in world.browser.text
        async with world.bridge.database.writing() as session:
            await notices.open_one(session, 1, Kind.TRAKT, "Connect Trakt again.", clock())

        await world.bridge.notifier.tell_due()

    assert "Connect Trakt again." in inbox.got[0]["message"]


async def test_whoever_runs_the_bridge_tries_its_addresses_and_nobody_else_does(
    tmp_path: Path, clock: Clock, inbox: Inbox
) -> None:
    urls = f"json://{inbox.place}/operator"
    async with running_world(tmp_path, clock, notify_urls=urls) as world:
        await world.sign_in()
        await world.browser.visit(PAGE)
        assert "You run this bridge" in world.browser.text

        await world.browser.press("Send a test message")

        assert "Address 1 of NOTIFY_URLS took the test message" in world.browser.text
        assert urls not in world.browser.page.text
        assert len(inbox.got) == 1

        async with world.bridge.database.writing() as session:
            (claim,) = await session.scalars(select(ClaimRow))
            claim.me = "https://bob.example/"
        await add(world, TELEGRAM)
        await world.browser.visit(PAGE)
        assert "You run this bridge" not in world.browser.text
        await world.browser.press("Remove", address=label(TELEGRAM))
        assert "Send a test message" not in world.browser.text
