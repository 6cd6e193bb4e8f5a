"""All that a person chose, as one file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.abilities import Abilities, Ability, overruled
from app.abilities import to_json as abilities_to_json
from app.demo.catalogue import DUNE
from app.errors import ChoiceRefused
from app.outbox import Unsure
from app.rules import Rule, Rules, Then
from app.rules import to_json as rules_to_json
from app.store import accounts, choices
from app.store.choices import MARK, PARTS, VERSION, exported, read
from app.style import Shape, Style, Templates, to_json
from app.tables import AccountRow, SiteRow
from app.web.file import HERE, NAME
from tests.conftest import NOON
from tests.test_notifications_page import TELEGRAM
from tests.test_notify import BOT
from tests.world import World

OLD = Path(__file__).with_name("settings_1.json").read_text(encoding="utf-8")
DOCS = Path(__file__).parents[1] / "docs" / "settings-file.md"


def account(**values: Any) -> AccountRow:  # noqa: ANN401 - any column
    row = AccountRow(me="https://ada.example/", name="Ada", created_at=NOON)
    row.timezone = "Europe/Vienna"
    return row.model_copy(update=values)


def site(**values: Any) -> SiteRow:  # noqa: ANN401 - any column
    row = SiteRow(account_id=1, micropub="m", authorization_endpoint="a", token_endpoint="t")
    return row.model_copy(update=values)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ChoiceRefused) as refused:
        read(text)
    return refused.value.problems


def test_what_was_exported_is_read_as_the_same() -> None:
    style = Style(shape=Shape.NOTE, html=True, film=Templates("Saw {{ title }}"), tells_note=True)

    rules = Rules((Rule(Then.SKIP, genre="reality"), Rule(hours=(22, 6))), tags=("seen",))
    row = account(style=to_json(style), rules=rules_to_json(rules))

    known = abilities_to_json(overruled(Abilities("m"), {Ability.DRAFTS: False}, NOON))
    text = exported(row, site(unsure_choice="again", unsure_hours=7, abilities=known))

    assert json.loads(text)[MARK] == VERSION
    values = read(text)
    assert values.keys() == PARTS.keys()
    assert values["timezone"] == "Europe/Vienna"
    assert values["lost_answers"] == (Unsure.AGAIN, 7)
    assert values["posts"] == style
    assert values["rules"] == rules
    assert values["site_can"] == dict.fromkeys(Ability) | {Ability.DRAFTS: False}


def test_a_file_of_the_first_version_is_understood() -> None:
    assert read(OLD) == {
        "timezone": "Europe/Vienna",
        "lost_answers": (Unsure.AGAIN, 12),
        "posts": Style(
            shape=Shape.URL,
            html=True,
            film=Templates(summary="Saw {{ title }}", slug="{{ title }}"),
            quiet_shows=("dark",),
            tells_rewatch=True,
        ),
    }


def test_what_an_account_holds_that_no_file_can_is_left_out_or_as_at_first() -> None:
    row = account(timezone="Mars/Olympus", style={"shape": "round"}, rules={"version": 9})

    text = exported(row, site())

    assert not {"timezone", "rules"} & read(text).keys()
    assert read(text)["posts"] == Style()


def test_a_file_of_countless_parts_is_refused_without_naming_each() -> None:
    text = json.dumps({MARK: VERSION} | dict.fromkeys(map(str, range(1000)), 0))

    assert list(problems(text)) == [""]
    inside = json.dumps({MARK: VERSION, "rules": dict.fromkeys(map(str, range(1000)), 0)})
    assert len(problems(inside)) == 101


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("", "", "line 1, column 1"),
        ("{", "", "gave you to download"),
        ('{"ownyourtrakt": 1,\n "posts": {]}', "", "line 2, column 12"),
        ("[" * 100_000, "", "not JSON"),
        ("9" * 10_000, "", "not JSON"),
        ('{"ownyourtrakt": 1, "timezone": "\\ud800"}', "", "not JSON"),
        ("[]", "", "not a file of settings"),
        ("[]", "", "gave you to download"),
        ('{"version": 1}', "", "not a file of settings"),
        ('{"ownyourtrakt": 2}', MARK, "newer"),
        ('{"ownyourtrakt": "1"}', MARK, "whole number"),
        ('{"ownyourtrakt": 1, "post": {}}', "post", "did you mean “posts”?"),
        ('{"ownyourtrakt": 1, "tokens": {}}', "tokens", "no such part"),
        ('{"ownyourtrakt": 1, "timezone": "Mars"}', "timezone", "Europe/Vienna"),
        ('{"ownyourtrakt": 1, "timezone": ["UTC"]}', "timezone", "Europe/Vienna"),
        ('{"ownyourtrakt": 1, "lost_answers": 1}', "lost_answers", "an object"),
        ('{"ownyourtrakt": 1, "lost_answers": {"choice": []}}', "lost_answers.choice", "ask"),
        ('{"ownyourtrakt": 1, "lost_answers": {"hours": 0}}', "lost_answers.hours", "1 to 720"),
        ('{"ownyourtrakt": 1, "posts": 1}', "posts.version", "an object"),
        ('{"ownyourtrakt": 1, "posts": {"version": 9}}', "posts.version", "newer"),
        ('{"ownyourtrakt": 1, "rules": {"version": 9}}', "rules.version", "newer"),
        ('{"ownyourtrakt": 1, "rules": {"rules": [{}]}}', "rules.1.then", "publish"),
        ('{"ownyourtrakt": 1, "site_can": []}', "site_can", "an object"),
        ('{"ownyourtrakt": 1, "site_can": {"fly": true}}', "site_can.fly", "no such ability"),
        ('{"ownyourtrakt": 1, "site_can": {"slug": 1}}', "site_can.slug", "true or false"),
        ('{"ownyourtrakt": 1, "posts": {"film": {"slug": "{{ a }}"}}}', "posts.film.slug", "“a”"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_its_field(text: str, field: str, said: str) -> None:
    found = problems(text)

    assert list(found) == [field]
    assert said in found[field]


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = {MARK: 1, "timezone": 1, "posts": {"shape": 1, "content": 1}, "more": 1}

    assert problems(json.dumps(text)).keys() == {"timezone", "posts.shape", "posts.content", "more"}


texts = st.text(max_size=9)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(PARTS)), anything)
@example("posts", {"version": True})
def test_no_file_makes_the_reader_stumble(name: str, data: object) -> None:
    try:
        named = set(read(json.dumps({MARK: VERSION, name: data})))
    except ChoiceRefused as refused:
        named = {field.split(".")[0] for field in refused.problems}

    assert named == {name}


async def test_a_file_brings_all_choices_to_another_account(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)

    await world.browser.visit("/settings")
    await world.browser.visit(HERE)
    rules = {"rules": [{"then": "publish", "tags": ["best"]}]}
    more = {"rules": rules, "site_can": {"slug": False}}
    await world.browser.press("Import", file=json.dumps({**json.loads(OLD), **more}))

    assert "Imported. All that the file names is now as it says." in world.browser.text
    answer = await world.browser.visit(f"{HERE}/{NAME}")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{NAME}"'
    assert read(answer.text) == read(answer.text) | read(OLD)
    assert read(answer.text)["site_can"][Ability.SLUG] is False
    world.trakt.watch(DUNE)
    await world.check_now()
    (post,) = world.site.posts
    assert post.properties["summary"] == ["Saw Dune"]
    assert "best" in post.properties["category"]


async def test_a_file_with_a_fault_changes_nothing_and_says_where_it_is(world: World) -> None:
    await world.sign_in()
    await world.browser.visit(HERE)
    before = (await world.browser.visit(f"{HERE}/{NAME}")).text
    await world.browser.visit(HERE)
    wrong = json.dumps({MARK: 1, "timezone": "Asia/Tokyo", "posts": {"shape": "<b>"}})

    answer = await world.browser.press("Import", file=wrong)

    assert answer.status_code == 400
    assert "Nothing was imported." in world.browser.text
    assert "posts.shape : It must be one of: nested" in world.browser.text
    field = world.browser.document.select_one("#file")
    assert field is not None
    assert field.get_text().removeprefix("\n") == wrong
    assert (await world.browser.visit(f"{HERE}/{NAME}")).text == before


async def test_no_secret_of_a_person_is_in_the_file(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings/notifications")
    await world.browser.press("Add", address=TELEGRAM)
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    keys = world.bridge.vault.open(found[1].sealed_tokens)
    assert keys

    text = exported(*found)

    assert found[0].sealed_notify_urls
    for secret in (keys["access"], BOT, found[0].me):
        assert str(secret) not in text
    assert "sealed" not in text


def test_the_documentation_names_every_part_and_its_example_can_be_imported() -> None:
    text = DOCS.read_text(encoding="utf-8")
    example = text.split("```json\n")[1].split("```")[0]

    assert list(read(example)) == list(PARTS)
    assert set(json.loads(example)["posts"]) == set(to_json(Style()))
    assert choices.exported(account(), site(unsure_hours=24)) == example
    for name in PARTS:
        assert f"| `{name}` |" in text
