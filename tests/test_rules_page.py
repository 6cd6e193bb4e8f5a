"""Making rules, as a person with a browser does it."""

from dataclasses import replace

import html5lib
import pytest

from app.abilities import Target, to_json
from app.demo.catalogue import DUNE, LIES
from app.rules import Rule, Rules, Then, key_of
from app.store import abilities, rules
from app.tables import AccountRow, SiteRow
from tests.world import World

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

PAGE = "/settings/rules"
SKIP_REALITY = Rule(Then.SKIP, "episode", genre="reality")


async def stored(world: World, account_id: int = 1) -> Rules:
    async with world.bridge.database.reading() as session:
        account = await session.get(AccountRow, account_id)
        assert account is not None
        return rules.of(account)


async def store(world: World, *listed: Rule) -> None:
    async with world.bridge.database.writing() as session:
        account = await rules.hold(session, 1)
        assert account is not None
        rules.put(account, Rules(listed))


async def add(world: World, button: str = "Save", **typed: str) -> None:
    await world.browser.visit(f"{PAGE}/edit")
    await world.browser.press(button, **typed)


def is_well_formed(world: World) -> None:
    html5lib.HTMLParser(strict=True).parse(world.browser.page.text)


async def test_the_settings_lead_to_the_rules(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings")

    assert world.browser.document.select(f"a[href='{PAGE}']")
    await world.browser.visit(PAGE)
    assert "every new watch is published" in world.browser.text
    is_well_formed(world)


async def test_a_rule_is_made_and_read_in_plain_words(world: World) -> None:
    await world.sign_in()

    await add(world, kind="episode", genre="reality", then="skip")

    assert "Saved" in world.browser.text
    assert "episodes of the genre Reality → skip" in world.browser.text
    assert await stored(world) == Rules((SKIP_REALITY,))
    is_well_formed(world)


async def test_every_field_of_a_rule_can_be_filled_in_and_stays_when_it_is_changed(
    world: World,
) -> None:
    await world.sign_in()
    whole = Rule(
        Then.UNLISTED,
        "movie",
        work="Dune",
        genre="drama",
        at_least=7.5,
        at_most=9.0,
        again=True,
        hours=(22, 6),
        text="du",
        tags=("late", "best"),
    )
    await add(
        world,
        kind="movie",
        work="Dune",
        genre="drama",
        at_least="7,5",
        at_most="9",
        again="yes",
        begin="22",
        end="6",
        text=" du ",
        then="unlisted",
        tags="late, best,late, ",
    )
    assert await stored(world) == Rules((whole,))

    await world.browser.visit(f"{PAGE}/edit?rule={key_of(whole)}")
    chosen = {
        str(option.find_parent("select")["id"]): str(option["value"])  # type: ignore[index] # it has one
        for option in world.browser.document.select("option[selected]")
    }
    await world.browser.press("Save", **chosen)

    assert await stored(world) == Rules((whole,))


async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_saved(world: World) -> None:
    await world.sign_in()

    for typed, field, said in (
        ({"at_least": "eleven"}, "at_least", "from 1 to 10"),
        ({"at_least": "8", "at_most": "7"}, "at_most", "No rating"),
        ({"begin": "22"}, "hours", "two different ones"),
        ({"tags": "x" * 51}, "tags", "At most"),
        ({"then": "burn"}, "then", "Choose one of"),
        ({"then": ""}, "then", "Choose one of"),
        ({"work": "https://example.com/dune"}, "work", "Only pages at Trakt"),
        ({"genre": "Ærø"}, "genre", "genres"),
    ):
        await add(world, **{"text": "keep me", **typed})

        assert world.browser.page.status_code == 400
        problem = world.browser.document.select_one(f"#{field}-problem")
        assert problem is not None, field
        assert said in problem.get_text()
        if field not in {"then", "hours"}:
            marked = world.browser.document.select_one(f"#{field}[aria-invalid='true']")
            assert marked is not None, field
            assert f"{field}-problem" in str(marked["aria-describedby"])
        assert world.browser.document.select_one("#text[value='keep me']")
        is_well_formed(world)
    assert await stored(world) == Rules()


async def test_a_new_rule_does_nothing_before_somebody_says_what(world: World) -> None:
    await world.sign_in()

    await world.browser.visit(f"{PAGE}/edit")

    assert world.browser.document.select("input[name='then'][required]")
    assert not world.browser.document.select("input[name='then'][checked]")


async def test_a_rule_for_every_watch_says_that_those_below_it_are_never_tried(
    world: World,
) -> None:
    await world.sign_in()
    await store(world, Rule(Then.DRAFT), Rule(kind="movie"))

    await world.browser.visit(PAGE)

    assert "the rules below it are never tried" in world.browser.text
    await world.browser.press("Move down rule 1")
    assert "never tried" not in world.browser.text


async def test_rules_are_moved_and_deleted(world: World) -> None:
    await world.sign_in()
    first, second, third = Rule(text="a"), Rule(text="b"), Rule(text="c")
    await store(world, first, second, third)
    await world.browser.visit(PAGE)

    await world.browser.press("Move down rule 1")
    assert await stored(world) == Rules((second, first, third))
    await world.browser.press("Move up rule 3")
    assert await stored(world) == Rules((second, third, first))
    await world.browser.press("Delete rule 2")
    assert await stored(world) == Rules((second, first))
    is_well_formed(world)


@pytest.mark.parametrize("path", ["order", "edit"])
async def test_a_rule_that_was_changed_elsewhere_meanwhile_is_left_alone(
    world: World, path: str
) -> None:
    await world.sign_in()
    await store(world, Rule(text="a"))
    await world.browser.visit(
        PAGE if path == "order" else f"{PAGE}/edit?rule={key_of(Rule(text='a'))}"
    )
    await store(world, Rule(text="b"))

    await world.browser.press("Delete" if path == "order" else "Save", then="skip")

    assert "have just changed" in world.browser.text
    assert await stored(world) == Rules((Rule(text="b"),))


async def test_there_is_room_for_so_many_rules_and_no_more(world: World) -> None:
    await world.sign_in()
    await store(world, *(Rule(text=f"{number}") for number in range(50)))

    await world.browser.visit(PAGE)
    assert not world.browser.document.select(f"a[href='{PAGE}/edit']")
    await add(world, text="one more", then="skip")

    assert "no room for more rules" in world.browser.text
    assert len((await stored(world)).rules) == 50


async def test_the_places_that_the_site_names_can_be_chosen(world: World) -> None:
    await world.sign_in()
    places = (Target("https://m.example/@ada", "Mastodon"), Target("b", "Bluesky"))
    await world.browser.visit(PAGE)
    assert "Yours names no such place" in world.browser.text
    async with world.bridge.database.writing() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        site.abilities = to_json(replace(abilities.of(site), targets=places))

    await world.browser.visit(PAGE)
    assert "Only where I tick, or nowhere Mastodon Bluesky" in world.browser.text
    await world.browser.press("Save", has_targets="yes", targets="b")
    assert (await stored(world)).targets == ("b",)
    await add(world, kind="movie", then="publish", has_targets="yes")

    assert (await stored(world)).rules == (Rule(kind="movie", targets=()),)
    is_well_formed(world)


async def test_an_unknown_rule_is_not_found(world: World) -> None:
    await world.sign_in()

    await world.browser.visit(f"{PAGE}/edit?rule=made-up")

    assert world.browser.page.status_code == 404


async def test_tags_for_every_post_are_saved_or_told_to_be_wrong(world: World) -> None:
    await world.sign_in()
    await store(world, SKIP_REALITY)
    await world.browser.visit(PAGE)

    await world.browser.press("Save", tags="seen, tv")
    assert await stored(world) == Rules((SKIP_REALITY,), tags=("seen", "tv"))
    await world.browser.press("Save", tags="x" * 51)

    assert world.browser.page.status_code == 400
    assert world.browser.document.select_one("#tags[aria-invalid='true'][value^='xxx']")
    assert (await stored(world)).tags == ("seen", "tv")


async def test_a_rule_is_tried_on_what_was_watched_before_it_is_saved(world: World) -> None:
    for _ in range(11):
        world.trakt.watch(LIES)
    world.trakt.watch(DUNE)
    world.clock.passes(hours=1)
    await world.ready()

    await add(world, "Try it", kind="episode", then="skip")

    assert "episodes → skip" in world.browser.text
    assert "would have skipped 11 of your last 12 watches" in world.browser.text
    named = world.browser.document.select("section[aria-labelledby='tried'] li")
    assert len(named) == 10
    assert all("Lies" in one.get_text() for one in named)
    assert world.browser.document.select_one("#kind option[value='episode'][selected]")
    assert await stored(world) == Rules()
    is_well_formed(world)


async def test_a_rule_is_tried_at_its_place_among_the_others(world: World) -> None:
    world.trakt.watch(LIES)
    world.trakt.watch(DUNE)
    world.clock.passes(hours=1)
    await world.ready()
    await store(world, Rule(kind="movie"))

    await add(world, "Try it", then="draft")
    assert "would have sent as drafts 1 of your last 2 watches" in world.browser.text
    await add(world, "Try it", genre="soap", then="skip")
    assert "would have skipped 0 of your last 2 watches." in world.browser.text
    assert "Over 1 of them a rule above it decides already." in world.browser.text


async def test_a_trial_tells_of_what_is_not_known(world: World) -> None:
    world.trakt.watch(DUNE)
    world.clock.passes(hours=1)
    await world.ready()
    ((row, _),) = await world.watches()
    async with world.bridge.database.writing() as session:
        session.add(row)
        row.about = None

    await add(world, "Try it", genre="drama", then="skip")

    assert "Of 1 more it cannot be told" in world.browser.text


async def test_a_rewatch_is_known_in_a_trial(world: World) -> None:
    world.trakt.watch(DUNE)
    world.clock.passes(hours=3)
    world.trakt.watch(DUNE)
    world.clock.passes(hours=1)
    await world.ready()

    await add(world, "Try it", again="yes", then="skip")

    assert "would have skipped 1 of your last 2 watches" in world.browser.text
