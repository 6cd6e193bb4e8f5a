"""Posters: got before a post is sent, and nothing that happens to one stops or doubles the post."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL
from app.demo.site import Answer, Dropped
from app.demo.trakt_door import EMPTY_500
from app.demo.trakt_images import webp
from app.errors import PictureError
from app.indieweb.media import upload
from app.picture import LARGEST, Picture, media_type, picture_in
from app.posters import Fetching, address, fetched
from app.publish import Sending
from app.store import accounts, posters
from app.store.connections import claim_polls
from app.style import Posters, Style, to_json
from app.tables import AccountRow, PictureRow, PosterRow
from app.waits import Waits
from tests.conftest import NOON
from tests.polling import asked, poll, settled
from tests.test_sightings import store
from tests.world import BRIDGE, World

__all__ = ["store"]

Stored = Any
USUAL = Waits()
WEBP = Picture(webp(1, 2, 3), "image/webp")


async def styled(world: World, way: Posters) -> None:
    async with world.bridge.database.writing() as session:
        await accounts.set_style(session, 1, to_json(Style(posters=way)))


def shown(world: World) -> list[list[Any]]:
    """The photos in the h-cite of each post."""
    posts = [post.properties["watch-of"][0]["properties"] for post in world.site.posts]
    return [cite.get("photo", []) for cite in posts]


def fetches(world: World) -> list[str]:
    return [path for path in asked(world) if path.startswith("/images/")]


async def timeline(world: World) -> str:
    """What the page of the newest watch says."""
    (key, *_) = [row.id for row, _ in await world.watches()]
    await world.browser.visit(f"/watches/{key}")
    return world.browser.text


async def test_a_poster_is_fetched_once_and_left_at_the_site_before_the_post(world: World) -> None:
    await settled(world)
    world.trakt.watch(SECRETS)
    await poll(world)
    assert fetches(world) == []
    await styled(world, Posters.UPLOAD)

    for _ in range(2):
        world.trakt.watch(DUNE)
        await poll(world)

    (file,) = world.site.media.files.values()
    assert (file.media_type, media_type(file.data)) == ("image/webp", "image/webp")
    photo = {"value": file.url, "alt": "Poster of Dune (2021)"}
    assert shown(world) == [[], [photo], [photo]]
    assert len(fetches(world)) == 1
    async with world.bridge.database.reading() as session:
        assert await session.get(PictureRow, 1) is None


async def test_a_linked_poster_is_shown_from_here_and_comes_back_when_it_was_evicted(
    world: World,
) -> None:
    await settled(world)
    await styled(world, Posters.LINK)

    world.trakt.watch(LIES)
    await poll(world)

    (((photo,)),) = shown(world)
    assert photo["value"].startswith(f"{BRIDGE}/posters/")
    assert photo["alt"] == "Poster of Dark"
    assert not world.site.media.files
    reader = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=world.app))
    for is_kept in (True, False):
        if not is_kept:
            async with world.bridge.database.writing() as session:
                await session.delete(await session.get(PictureRow, 1))
        answer = await reader.get(photo["value"])
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
        assert media_type(answer.content) == "image/webp"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert len(fetches(world)) == 2

    # Within the hour nobody makes us ask Trakt for it once more.
    async with world.bridge.database.writing() as session:
        await session.delete(await session.get(PictureRow, 1))
    assert (await reader.get(photo["value"])).status_code == 404
    assert len(fetches(world)) == 2
    await world.browser.visit("/settings/delete")
    await world.browser.press("Delete my account")
    assert (await reader.get(photo["value"])).status_code == 404


async def test_a_poster_that_cannot_be_had_neither_stops_nor_doubles_its_post(
    world: World,
) -> None:
    await settled(world)
    await styled(world, Posters.UPLOAD)

    for work, why in (
        (DUNE, "Trakt answered 500"),
        (SECRETS, "names no media endpoint"),
        (SPECIAL, "broke off the connection"),
    ):
        if work is DUNE:
            world.trakt.then(EMPTY_500, at="/images/")
        elif work is SECRETS:
            world.site.then(Answer(200, {}, "{}"), at="GET /micropub?q=config")
        else:
            world.site.then(Dropped(), at="POST /media")
        world.trakt.watch(work)
        await poll(world)
        said = await timeline(world)
        assert "Told without its poster: " in said
        assert why in said

    assert shown(world) == [[], [], []]
    assert await world.states() == {"archived": 1, "published": 3}
    world.trakt.watch(SPECIAL)
    await poll(world, minutes=70)
    assert [len(photos) for photos in shown(world)] == [0, 0, 0, 1]


async def test_whoever_dies_over_a_poster_delays_its_post_and_does_nothing_else(
    world: World,
) -> None:
    await settled(world)
    await styled(world, Posters.LINK)
    world.trakt.watch(DUNE)
    world.clock.passes(minutes=34)
    publisher = world.scheduler.publisher
    for turn in await world.scheduler.claimed(claim_polls, 1):
        await world.scheduler.poller.poll(turn)

    (died,) = await publisher.claim()

    assert isinstance(died, Fetching)
    assert await world.states() == {"archived": 1, "queued": 1}
    world.clock.passes(seconds=(USUAL.poster_lease - timedelta(seconds=1)).total_seconds())
    assert await publisher.claim() == []
    world.clock.passes(seconds=1)
    (attempt,) = await publisher.claim()
    assert isinstance(attempt, Sending)
    # It was not dead after all; what is being sent is not touched.
    await publisher.deliver(died)
    assert await publisher.claim() == []
    await publisher.deliver(attempt)
    assert shown(world) == [[]]
    world.trakt.watch(DUNE)
    await poll(world)
    assert [len(photos) for photos in shown(world)] == [0, 1]


# --- What counts as a picture, and how many are kept ---


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (WEBP.data, "image/webp"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", None),
        (b"GIF89a", None),
        (b"RIFF1234WAVE", None),
        (b"", None),
        (WEBP.data + bytes(LARGEST), None),
    ],
)
def test_only_pictures_that_every_browser_shows_count(data: bytes, kind: str | None) -> None:
    found = picture_in(data)

    assert (found.media_type if found else None) == kind


def test_a_picture_is_asked_for_without_tls_only_where_the_api_is() -> None:
    theirs = "https://media.trakt.tv/images/1.webp"

    assert address(theirs, "http://127.0.0.1:8001") == theirs
    assert address("https://127.0.0.1:8001/1", "http://127.0.0.1:8001") == "http://127.0.0.1:8001/1"


async def test_no_picture_is_fetched_from_inside_our_network(world: World) -> None:
    with pytest.raises(PictureError, match="not public"):
        await fetched(world.bridge.http, "https://192.168.0.1/poster.webp", "https://api.trakt.tv")


async def test_no_picture_goes_inside_our_network_and_no_key_gets_into_a_post(
    world: World,
) -> None:
    world.site.then(Answer(201, {"Location": "/media/k%65y"}, ""), at="POST /media")

    for endpoint, why in (
        ("http://192.168.0.1/media", "not public"),
        (f"{world.me}media", "answered 201"),
    ):
        with pytest.raises(PictureError, match=why):
            await upload(world.bridge.http, endpoint, "key", WEBP, "poster", timedelta(seconds=5))

    assert not world.site.media.files


async def test_the_pictures_kept_for_one_person_are_bounded_and_the_oldest_go(
    store: Stored,
) -> None:
    room = 2 * len(WEBP.data)
    async with store.writing() as session:
        session.add(AccountRow(me="https://bob.example/", created_at=NOON))
        await session.flush()
        for account, number in ((2, 0), (1, 1), (1, 2), (1, 3)):
            row = PosterRow(account_id=account, source=f"{number}", key=f"{number}")
            session.add(row)
            await session.flush()
            await posters.keep(session, row, WEBP, NOON + timedelta(hours=number), room)

    async with store.reading() as session:
        left = [await session.get(PictureRow, key) for key in (1, 2, 3, 4)]
    assert [row is not None for row in left] == [True, False, True, True]
