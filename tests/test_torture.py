"""The short form of the torture, and that it would notice what it is there to notice."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, create_engine
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app import database, migrate
from app.demo.catalogue import DUNE
from app.demo.site import SimulatedSite
from app.demo.site_posts import Sent
from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_door import Answer
from app.tables import AccountRow, ConnectionRow, SightingRow, WatchRow
from tests.torture.diary import Diary
from tests.torture.fates import Where
from tests.torture.keys import Keys
from tests.torture.person import a_client
from tests.torture.plans import BRIEF, LONG, SHORT, birth, life
from tests.torture.verdict import Verdict, judged, stories
from tests.world import Clock, listening, origin, serving

ROOT = Path(__file__).parents[1]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALWAYS_THE_SAME = "1"
LAST_LINES = re.compile(
    r"seconds=\d+ of_workers=(?P<of_workers>\d+)\n"
    r"torture: seed=(?P<seed>\S+) kills=(?P<kills>\d+) faults=(?P<faults>\d+) "
    r"plays=(?P<plays>\d+) posts=(?P<posts>\d+) reconnects=\d+ asked=\d+ "
    r"lost=(?P<lost>\d+) doubled=(?P<doubled>\d+)"
)


def test_after_a_storm_of_kills_and_faults_each_watch_is_on_its_site_exactly_once() -> None:
    told = last_lines_of_a_storm()

    assert int(told["kills"]) >= 25
    assert int(told["posts"]) >= SHORT.posts


def test_after_a_storm_that_kills_workers_each_watch_is_on_its_site_exactly_once() -> None:
    told = last_lines_of_a_storm("--brief", "--database", "postgresql", "--workers", "3")

    assert int(told["of_workers"]) >= 15
    assert int(told["posts"]) >= BRIEF.posts


def last_lines_of_a_storm(*words: str) -> re.Match[str]:
    """Return what a storm came to in which something went wrong and nothing was lost or doubled."""
    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "tests.torture", "--seed", ALWAYS_THE_SAME, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )

    told = f"{ended.stdout[-6000:]}\n{ended.stderr[-2000:]}"
    found = LAST_LINES.fullmatch("\n".join(ended.stdout.splitlines()[-2:]))
    assert ended.returncode == 0, told
    assert found, told
    assert found["seed"] == ALWAYS_THE_SAME
    assert int(found["faults"]) > 0
    assert (found["lost"], found["doubled"]) == ("0", "0")
    return found


async def test_the_person_waits_as_long_as_a_page_asks() -> None:
    answers = [PlainTextResponse("", 429, {"Retry-After": "7"}), PlainTextResponse("in")]
    waited: list[timedelta] = []

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        await answers.pop(0)(scope, receive, send)

    async with serving(door, [listener := listening()]), a_client(waited.append) as client:
        page = await client.post(origin(listener), data={"me": "ada"})

    assert page.text == "in"
    assert waited == [timedelta(seconds=7)]


def test_a_life_is_drawn_from_its_seed_and_number_alone() -> None:
    assert life("7", 3, SHORT) == life("7", 3, SHORT)
    assert birth("7", 3) == birth("7", 3)


def test_lives_differ_by_seed_and_by_number() -> None:
    drawn = [life("7", 3, SHORT), life("8", 3, SHORT), life("7", 4, SHORT)]

    assert len({str((one.beats, one.meetings, one.death)) for one in drawn}) == 3


def test_the_long_form_is_as_long_as_promised() -> None:
    assert LONG.kills >= 1000
    assert LONG.posts >= 5000
    assert sum(LONG.old_plays) + LONG.posts >= 100_000


class Small:
    """One person who watched one film after connecting, and the bridge's database."""

    def __init__(self, folder: Path) -> None:
        clock = Clock(NOON)
        trakt = SimulatedTrakt(client_id="client", redirect_uri="http://x.test/", now=clock)
        self.diary = Diary(trakt, start=NOON - timedelta(hours=1))
        self.diary.watch(DUNE, NOON)
        self.site = SimulatedSite("http://site.test", now=clock)
        self.url = f"sqlite:///{folder / 'bridge.db'}"
        database.prepare(self.url)
        migrate.upgrade(self.url)

    @property
    def play(self) -> str:
        return str(self.diary.viewings[0].ids[-1])

    def posted(self, play: str = "") -> None:
        """Put a post of a play on the site."""
        cite = {"type": ["h-cite"], "properties": {"trakt-watch-id": [play or self.play]}}
        body = json.dumps({"properties": {"watch-of": [cite]}}).encode()
        self.site.shelf.add(Sent(["h-entry"], {"content": ["Watched"]}, at=NOON, body=body))

    def archived(self, *, at: datetime = NOON) -> None:
        """Put the play into the archive."""
        engine = create_engine(self.url)
        with Session(engine) as session:
            for row in (
                AccountRow(id=1, me=self.site.me, created_at=NOON),
                ConnectionRow(
                    id=1,
                    account_id=1,
                    source="trakt",
                    source_user="x",
                    source_name="Ada",
                    start_at=NOON,
                ),
                WatchRow(
                    id=1,
                    account_id=1,
                    standing="posted",
                    title="Dune",
                    source="trakt",
                    key=self.play,
                    watched_at=at,
                ),
                SightingRow(connection_id=1, watch_id=1, key=self.play, seen_at=NOON, payload={}),
            ):
                session.add(row)
                session.flush()
            session.commit()
        engine.dispose()

    def verdict(self) -> Verdict:
        return judged(self.url, [(self.diary, self.site)])


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_one_post_and_one_row_are_as_it_must_be(small: Small) -> None:
    small.posted()
    small.archived()

    assert small.verdict() == Verdict(posts=1, offences=())


def test_a_missing_post_is_lost(small: Small) -> None:
    small.archived()

    assert (small.verdict().lost, small.verdict().doubled) == (1, 0)


def test_a_second_post_is_doubled(small: Small) -> None:
    small.archived()
    small.posted()
    small.posted()

    assert (small.verdict().lost, small.verdict().doubled) == (0, 1)


def test_a_post_of_a_play_that_never_was_is_one_too_many(small: Small) -> None:
    small.archived()
    small.posted()
    small.posted("404")

    assert small.verdict().doubled == 1


def test_a_second_post_under_another_id_of_the_same_viewing_is_doubled(small: Small) -> None:
    small.posted()
    small.diary.redate(small.diary.viewings[0], NOON + timedelta(minutes=5))
    small.posted()

    assert small.verdict().doubled == 1


def test_what_is_older_than_the_start_must_not_be_posted(small: Small) -> None:
    small.diary.start = NOON + timedelta(minutes=1)
    small.archived()
    small.posted()

    assert small.verdict().doubled == 1


def test_a_viewing_that_was_taken_away_may_be_posted_or_not(small: Small) -> None:
    small.diary.viewings[0].is_removed = True

    assert not small.verdict().offences
    small.posted()
    assert not small.verdict().offences


@pytest.mark.parametrize("minutes", [1, -1])
def test_another_minute_in_the_archive_is_told(small: Small, minutes: int) -> None:
    small.archived(at=NOON + timedelta(minutes=minutes))
    small.posted()

    (offence,) = small.verdict().offences
    assert "instead of" in offence.said


def test_what_the_archive_lacks_is_told(small: Small) -> None:
    small.posted()

    (offence,) = small.verdict().offences
    assert offence.said == "not in the archive"


def test_what_the_archive_still_holds_is_told(small: Small) -> None:
    small.archived()
    small.posted()
    small.diary.viewings[0].is_removed = True

    (offence,) = small.verdict().offences
    assert offence.said == "in the archive and no longer on Trakt"


def test_the_story_of_an_offender_names_its_play_and_where_it_stands(small: Small) -> None:
    small.archived()

    told = "\n".join(stories(small.url, small.verdict()))

    assert small.play in told
    assert "posted" in told


def test_a_key_is_excused_only_while_its_fate_is_unknown() -> None:
    keys, holder = Keys(), (Where.TRAKT_TOKEN, "ada")
    answer = Answer(200, (), b'{"access_token": "new"}')

    keys.given(holder, answer, arrives=True)
    keys.used("Bearer new")
    keys.died()
    assert not keys.excused(*holder)
    keys.given(holder, answer, arrives=True)
    keys.died()
    assert keys.excused(*holder)
    assert not keys.excused(*holder)
