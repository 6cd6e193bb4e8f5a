"""Rules at work: what reaches the site, what does not, and what the page of a watch says of it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.abilities import Ability, overruled, to_json
from app.demo import catalogue
from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL, EpisodeOf
from app.hentry import properties_of
from app.rules import Rule, Rules, Then
from app.store import abilities, rules
from app.tables import PostRow, SiteRow, WatchRow
from tests.world import World

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SKIP_FILMS = Rule(Then.SKIP, "movie")


async def with_rules(
    world: World,
    *listed: Rule,
    tags: tuple[str, ...] = (),
    targets: tuple[str, ...] | None = None,
) -> None:
    async with world.bridge.database.writing() as session:
        account = await rules.hold(session, 1)
        assert account is not None
        rules.put(account, Rules(listed, tags, targets))


async def watched(world: World, *works: catalogue.Work) -> None:
    for work in works:
        world.trakt.watch(work)
    world.clock.passes(minutes=10)
    await world.check_now()


async def its(world: World, title: str) -> tuple[WatchRow, PostRow]:
    """The watch of this title with its post, and the browser at its page."""
    found = [(row, post) for row, post in await world.watches() if title in row.title]
    ((row, post),) = found
    assert post is not None
    await world.browser.visit(f"/watches/{row.id}")
    return row, post


def sent(world: World) -> list[dict[str, Any]]:
    return [post.properties for post in world.site.posts]


async def test_what_a_rule_skips_is_not_sent_and_its_page_says_why(world: World) -> None:
    await world.ready()
    await with_rules(world, Rule(text="nothing"), Rule(Then.SKIP, "movie", genre="adventure"))

    await watched(world, DUNE, LIES)

    assert [post["summary"] for post in sent(world)] == [["Watched Dark S01E02 “Lies”"]]
    assert await world.states() == {"skipped": 1, "published": 1}
    await its(world, "Dune")
    words = "Rule 2: films of the genre Adventure → skip"
    assert f"{words}. So it is not posted." in world.browser.text
    assert "One of your rules says that it is not posted." in world.browser.text
    await with_rules(world)
    await its(world, "Dune")
    assert words in world.browser.text
    await its(world, "Dark")
    assert "No rule of yours applies, so it is published." in world.browser.text


@pytest.mark.parametrize(
    "damaged",
    [
        "[]",
        "7",
        '{"then": "burn"}',
        '{"then": []}',
        '{"notes": 7}',
        '{"tags": [{}]}',
        '{"number": "two"}',
        '{"words": 3}',
    ],
)
async def test_a_decision_that_is_damaged_costs_its_watch_one_sentence_and_no_page(
    world: World, damaged: str
) -> None:
    await world.ready()
    await watched(world, DUNE)
    async with world.bridge.database.writing() as session:
        await session.execute(text("UPDATE post SET decision = :damaged"), {"damaged": damaged})

    await its(world, "Dune")

    assert world.browser.page.status_code == 200
    assert "What your rules decided then cannot be read any more." in world.browser.text


async def test_a_rule_sends_drafts_private_and_unlisted_posts(world: World) -> None:
    await world.ready()
    kinds: dict[catalogue.Work, Then] = {
        DUNE: Then.PUBLISH,
        SPECIAL: Then.DRAFT,
        LIES: Then.PRIVATE,
        SECRETS: Then.UNLISTED,
    }
    await with_rules(world, *(Rule(then, text=work.title or "") for work, then in kinds.items()))

    await watched(world, *kinds)

    assert await world.states() == {"published": 4}
    told = {}
    for row, post in await world.watches():
        assert post is not None
        properties = body_of(post)
        told[row.title] = [properties.get(name) for name in ("post-status", "visibility")]
    assert told == {
        "Dune (2021)": [None, None],
        "Doctor Who S00E01 “The Christmas Invasion”": [["draft"], None],
        "Dark S01E02 “Lies”": [None, ["private"]],
        "Dark S01E01 “Secrets”": [None, ["unlisted"]],
    }


async def test_what_a_site_would_show_to_more_people_than_a_rule_says_is_not_sent(
    world: World,
) -> None:
    await world.ready()
    await with_rules(world, Rule(Then.DRAFT, "movie"), Rule(Then.UNLISTED, text="Lies"))
    cannot = {Ability.DRAFTS: False, Ability.VISIBILITY: False}
    async with world.bridge.database.writing() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        site.abilities = to_json(overruled(abilities.of(site), cannot, world.clock()))

    await watched(world, DUNE, LIES, SECRETS)

    assert await world.states() == {"refused": 2, "published": 1}
    await its(world, "Dune")
    assert "your site is known not to do that" in world.browser.text


def body_of(post: PostRow) -> dict[str, Any]:
    return properties_of(post.body or "")


async def test_tags_and_targets_reach_the_site(world: World) -> None:
    await world.ready()
    await with_rules(
        world,
        Rule(kind="movie", tags=("cinema",), targets=()),
        tags=("seen",),
        targets=("https://mastodon.example/@ada",),
    )

    await watched(world, DUNE, LIES)

    film, episode = [body_of((await its(world, title))[1]) for title in ("Dune", "Dark")]
    assert film["category"] == ["watch", "movie", "seen", "cinema"]
    assert "mp-syndicate-to" not in film
    assert episode["category"] == ["watch", "tv", "seen"]
    assert episode["mp-syndicate-to"] == ["https://mastodon.example/@ada"]


async def test_the_persons_word_beats_a_rule(world: World) -> None:
    await world.ready()
    await with_rules(world, SKIP_FILMS, tags=("seen",))
    await watched(world, DUNE)
    await its(world, "Dune")

    await world.browser.press("Post it after all")
    assert "You asked for it" in world.browser.text
    await world.work()

    _, post = await its(world, "Dune")
    assert post.state == "published"
    assert "seen" in body_of(post)["category"]
    assert "You asked for it to be posted." in world.browser.text
    assert "Rule 1 skips it, but you asked for it. No other rule applies" in world.browser.text


async def test_an_archived_watch_that_the_person_posts_is_posted_whatever_the_rules_say(
    world: World,
) -> None:
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=90))
    await world.ready()
    await with_rules(world, SKIP_FILMS)
    ((row, _),) = await world.watches()
    await world.browser.visit(f"/watches/{row.id}")
    assert "; this one is older." in world.browser.text

    await world.browser.press("Post it now")
    await world.work()

    assert await world.states() == {"published": 1}


async def test_a_changed_rule_counts_for_what_waits_and_not_for_what_was_decided(
    world: World,
) -> None:
    await world.ready()
    await with_rules(world, SKIP_FILMS)
    await watched(world, DUNE)
    world.trakt.watch(LIES, at=world.clock() + timedelta(days=2))
    world.clock.passes(minutes=10)
    await world.check_now()
    assert await world.states() == {"skipped": 1, "held": 1}

    await with_rules(world, Rule(Then.SKIP, "episode"))
    await its(world, "Dark")
    assert "When its turn comes: Rule 1: episodes → skip." in world.browser.text
    world.clock.passes(days=3)
    await world.work()

    assert await world.states() == {"skipped": 2}
    assert sent(world) == []


async def test_what_was_sent_stays_as_it_was_sent(world: World) -> None:
    await world.ready()
    await watched(world, DUNE)
    _, before = await its(world, "Dune")

    await with_rules(world, Rule(Then.SKIP), tags=("seen",))
    await world.work()

    _, after = await its(world, "Dune")
    assert (after.state, after.body) == ("published", before.body)


async def test_a_rewatch_can_be_skipped(world: World) -> None:
    await world.ready()
    await with_rules(world, Rule(Then.SKIP, again=True))
    await watched(world, DUNE)

    await watched(world, DUNE)

    assert await world.states() == {"published": 1, "skipped": 1}


async def test_a_corrected_date_lets_a_rule_for_hours_think_again(world: World) -> None:
    await world.ready()
    # The clock of the tests stands at noon in UTC, which is 13:00 for the person.
    await with_rules(world, Rule(Then.SKIP, hours=(13, 14)))
    play = world.trakt.watch(DUNE)
    world.clock.passes(minutes=10)
    await world.check_now()
    assert await world.states() == {"skipped": 1}

    world.clock.passes(hours=4)
    world.trakt.history.correct(play, world.clock() - timedelta(hours=1))
    world.clock.passes(minutes=10)
    await world.check_now()

    assert await world.states() == {"published": 1}


async def test_what_nobody_knew_yet_is_told_on_the_page(world: World) -> None:
    await world.ready()
    await with_rules(world, Rule(Then.SKIP, genre="adventure"))
    world.trakt.watch(DUNE, at=world.clock() + timedelta(days=2))
    world.clock.passes(minutes=10)
    await world.check_now()
    ((row, _),) = await world.watches()
    async with world.bridge.database.writing() as session:
        session.add(row)
        row.about = None
    world.clock.passes(days=3)
    await world.work()

    _, post = await its(world, "Dune")

    assert post.state == "published"
    assert "Rule 1 did not apply: Trakt’s genre was not known yet." in world.browser.text


async def test_plays_that_a_rule_skips_raise_no_question(world: World) -> None:
    await world.ready()
    await with_rules(world, Rule(Then.SKIP, work="Dark"))

    await watched(world, *(EpisodeOf(catalogue.DARK, 3, n, None, 9000 + n) for n in range(1, 32)))

    assert await world.states() == {"skipped": 31}


async def damaged(world: World, data: dict[str, Any]) -> None:
    async with world.bridge.database.writing() as session:
        account = await rules.hold(session, 1)
        assert account is not None
        account.rules = data


async def test_one_rule_that_cannot_be_read_stops_neither_posts_nor_other_rules(
    world: World,
) -> None:
    await world.ready()
    await damaged(world, {"rules": [{"then": "burn"}, 7, {"then": "skip", "kind": "movie"}]})

    await watched(world, DUNE, LIES)

    assert await world.states() == {"skipped": 1, "published": 1}
    await its(world, "Dune")
    assert "One of your rules cannot be read and is passed over (what to do:" in world.browser.text
    assert "Rule 1: films → skip." in world.browser.text


async def test_rules_of_which_none_can_be_read_publish_nothing_until_they_are_replaced(
    world: World,
) -> None:
    await world.ready()
    await damaged(world, {"version": 99})
    await watched(world, SECRETS)
    assert await world.states() == {"refused": 1}
    assert sent(world) == []

    await world.browser.visit("/settings/rules")
    assert "nothing is posted" in world.browser.text
    assert "A newer version of the bridge wrote them." in world.browser.text
    await world.browser.press("Save", tags="seen")
    assert "nothing is posted" not in world.browser.text
    await its(world, "Dark")
    await world.browser.press("Send it again")
    await world.work()

    assert await world.states() == {"published": 1}
