"""What machines ask: health for platforms, figures for Prometheus."""

import re
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import event, text
from structlog.testing import capture_logs

from app.demo.catalogue import DUNE
from app.demo.site import Answer
from app.store import gates
from app.tables import AccountRow
from tests.conftest import NOON
from tests.world import BRIDGE, Clock, World, running_world

ROOT = Path(__file__).parents[1]
LONG = "a-token-for-prometheus"


async def health(world: World) -> httpx2.Response:
    return await world.browser.client.get(f"{BRIDGE}/healthz")


async def figures(world: World) -> str:
    answer = await world.browser.client.get(f"{BRIDGE}/metrics")
    assert answer.status_code == 200
    return answer.text


def value(told: str, name: str) -> float:
    """The value of one series, written as Prometheus writes it."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", told, re.MULTILINE)
    assert found, f"no {name} in\n{told}"
    return float(found[1])


# --- /healthz ---


async def test_a_bridge_that_works_is_healthy(world: World) -> None:
    await world.work()
    world.clock.passes(seconds=40)

    answer = await health(world)

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "reason": None,
        "database_answers": True,
        "migrated": True,
        "scheduler_beat_seconds_ago": 40,
        "poll_interval_seconds": 1800,
        "oldest_overdue_poll_seconds": 0,
    }


async def test_a_process_that_has_just_started_is_healthy_before_its_first_beat(
    world: World,
) -> None:
    assert (await health(world)).json()["scheduler_beat_seconds_ago"] is None
    assert (await health(world)).status_code == 200


async def test_a_scheduler_that_stands_still_is_told_in_words(world: World) -> None:
    await world.work()
    world.clock.passes(minutes=6)

    answer = await health(world)

    assert answer.status_code == 503
    assert "scheduler" in answer.json()["reason"]


async def test_a_scheduler_that_never_began_is_told_in_words(world: World) -> None:
    world.clock.passes(minutes=6)

    assert (await health(world)).status_code == 503


async def test_the_beat_of_another_process_counts(world: World) -> None:
    world.clock.passes(minutes=30)
    await beat(world)

    assert (await health(world)).status_code == 200


async def beat(world: World) -> None:
    async with world.bridge.database.writing() as session:
        await gates.beat(session, "a key", world.clock(), timedelta(hours=1))


async def test_a_database_that_is_out_of_date_is_told_in_words(world: World) -> None:
    await world.work()
    await set_revision(world, "0001")

    answer = await health(world)

    assert answer.status_code == 503
    assert answer.json()["migrated"] is False
    assert "ownyourtrakt migrate" in answer.json()["reason"]


async def test_while_a_newer_process_takes_over_the_older_one_stays_healthy(world: World) -> None:
    await world.work()
    await set_revision(world, "9999")

    assert (await health(world)).status_code == 200


async def set_revision(world: World, revision: str) -> None:
    async with world.bridge.database.writing() as session:
        await session.execute(
            text("UPDATE alembic_version SET version_num = :to"), {"to": revision}
        )


async def test_a_database_that_does_not_answer_is_told_without_its_address(world: World) -> None:
    async with world.bridge.database.writing() as session:
        await session.execute(text("ALTER TABLE heartbeat RENAME TO elsewhere"))

    answer = await health(world)

    assert answer.status_code == 503
    assert answer.json()["reason"] == "The database does not answer."
    assert str(world.settings.database_url) not in answer.text


async def test_an_overdue_poll_is_told_and_is_no_reason_to_start_again(world: World) -> None:
    await world.ready()
    world.clock.passes(hours=3)
    await beat(world)

    answer = await health(world)

    assert answer.status_code == 200
    assert answer.json()["oldest_overdue_poll_seconds"] > 2 * 3600


async def test_health_costs_one_statement_and_names_nobody(world: World) -> None:
    await world.ready()
    statements: list[str] = []

    def count(*seen: object) -> None:
        statements.append(str(seen[2]))

    event.listen(world.bridge.database.engine.sync_engine, "before_cursor_execute", count)
    answer = await health(world)

    assert len([one for one in statements if not one.startswith("BEGIN")]) == 1
    assert world.me not in answer.text
    assert world.settings.base_url not in answer.text


async def test_a_platform_may_ask_without_wanting_the_answer_s_text(world: World) -> None:
    assert (await world.browser.client.head(f"{BRIDGE}/healthz")).status_code == 200


# --- /metrics: who may ask ---


async def test_without_a_token_only_this_machine_is_told(world: World) -> None:
    near = httpx2.ASGITransport(app=world.app, client=("127.0.0.1", 4711))
    far = httpx2.ASGITransport(app=world.app, client=("192.0.2.7", 4711))

    assert (await asked(near)).status_code == 200
    assert (await asked(far)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Real-IP": "192.0.2.7"},
        {"Via": "1.1 proxy"},
        {"Host": "watch.example"},
    ],
)
async def test_who_comes_through_a_proxy_on_this_machine_is_not_told(
    world: World, headers: dict[str, str]
) -> None:
    near = httpx2.ASGITransport(app=world.app, client=("127.0.0.1", 4711))

    assert (await asked(near, **headers)).status_code == 404


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Bearer {LONG}", 200),
        (f"bearer {LONG}", 200),
        (f"Basic {LONG}", 401),
        (f"Bearer {LONG}x", 401),
        ("Bearer", 401),
        ("Bearer tökèn-of-somebody", 401),
        (None, 401),
    ],
)
async def test_with_a_token_whoever_holds_it_is_told_and_nobody_else(
    tmp_path: Path, clock: Clock, sent: str | None, status: int
) -> None:
    async with running_world(tmp_path, clock, metrics_token=LONG) as world:
        near = httpx2.ASGITransport(app=world.app, client=("127.0.0.1", 4711))
        headers = {b"Authorization": sent.encode("latin-1")} if sent else {}
        with capture_logs() as log:
            async with httpx2.AsyncClient(transport=near, trust_env=False) as client:
                answer = await client.get(f"{BRIDGE}/metrics", headers=headers)

    assert answer.status_code == status
    if status == 401:
        assert [line["code"] for line in log] == ["wrong_token"]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "ownyourtrakt_" not in answer.text


async def asked(transport: httpx2.ASGITransport, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.get(f"{BRIDGE}/metrics", headers=headers)


# --- /metrics: what is told ---


async def test_a_watch_that_was_posted_is_counted_all_the_way(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()

    told = await figures(world)

    assert value(told, 'ownyourtrakt_jobs_total{job="post",outcome="done"}') == 1
    assert value(told, 'ownyourtrakt_jobs_total{job="poll",outcome="done"}') >= 2
    assert value(told, 'ownyourtrakt_jobs_total{job="look",outcome="done"}') >= 1
    assert value(told, 'ownyourtrakt_job_duration_seconds_count{job="post"}') == 1
    assert value(told, 'ownyourtrakt_posts{state="published"}') == 1
    assert value(told, 'ownyourtrakt_posts{state="unsure"}') == 0
    assert value(told, "ownyourtrakt_accounts") == 1
    assert value(told, 'ownyourtrakt_connections{health="well"}') == 1
    assert value(told, 'ownyourtrakt_sites{health="well"}') == 1
    assert value(told, 'ownyourtrakt_requests_total{neighbour="trakt",status="2xx"}') >= 4
    assert value(told, 'ownyourtrakt_requests_total{neighbour="trakt-auth",status="2xx"}') == 1
    assert value(told, 'ownyourtrakt_requests_total{neighbour="site",status="2xx"}') >= 3
    assert value(told, 'ownyourtrakt_request_duration_seconds_count{neighbour="trakt-auth"}') == 1
    assert value(told, 'ownyourtrakt_page_duration_seconds_count{status="3xx"}') >= 4
    assert value(told, "ownyourtrakt_trakt_budget_limit") == 500
    assert value(told, "ownyourtrakt_trakt_budget_left") < 500


async def test_what_goes_wrong_is_counted_by_its_kind(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.site.then(Answer(400))
    world.trakt.watch(DUNE)
    await world.check_now()
    world.trakt.tokens.revoke_everything()
    world.clock.passes(hours=1)
    await world.work()

    told = await figures(world)

    assert value(told, 'ownyourtrakt_jobs_total{job="post",outcome="refused"}') == 1
    assert value(told, 'ownyourtrakt_requests_total{neighbour="site",status="4xx"}') == 1
    assert value(told, 'ownyourtrakt_posts{state="refused"}') == 1
    assert value(told, 'ownyourtrakt_jobs_total{job="poll",outcome="locked"}') == 1
    assert value(told, 'ownyourtrakt_refreshes_total{neighbour="trakt",outcome="locked"}') == 1
    assert value(told, 'ownyourtrakt_connections{health="locked"}') == 1
    assert value(told, 'ownyourtrakt_open_notices{kind="trakt"}') == 1


async def test_what_waits_is_told_by_its_age(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    world.site.then(Answer(429))
    await world.check_now()
    world.clock.passes(hours=2)

    told = await figures(world)

    assert value(told, "ownyourtrakt_overdue_polls") == 1
    assert value(told, "ownyourtrakt_oldest_overdue_poll_seconds") > 3600
    assert value(told, "ownyourtrakt_oldest_due_post_seconds") > 3600
    assert value(told, "ownyourtrakt_scheduler_beat_age_seconds") == 7200


async def test_a_bug_is_counted_and_its_place_remembered_without_its_words(world: World) -> None:
    async def broken() -> None:
        raise ValueError("the token is HUSH")

    await world.scheduler.guarded("poll", broken())

    told = await figures(world)
    (bug,) = world.bridge.metrics.bugs
    assert value(told, 'ownyourtrakt_bugs_total{job="poll"}') == 1
    assert value(told, 'ownyourtrakt_jobs_total{job="poll",outcome="bug"}') == 1
    assert (bug.at, bug.job, bug.kind) == (NOON, "poll", "ValueError")
    assert re.fullmatch(r"scheduler\.py:\d+", bug.place)
    assert "HUSH" not in repr(bug)


async def test_figures_that_cost_a_look_at_the_database_are_kept_for_some_seconds(
    world: World,
) -> None:
    assert value(await figures(world), "ownyourtrakt_accounts") == 0
    async with world.bridge.database.writing() as session:
        session.add(AccountRow(me="https://bob.example/", created_at=NOON))
    world.clock.passes(seconds=14)
    assert value(await figures(world), "ownyourtrakt_accounts") == 0

    world.clock.passes(seconds=2)

    assert value(await figures(world), "ownyourtrakt_accounts") == 1


async def test_two_apps_in_one_process_count_for_themselves(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with (
        running_world(tmp_path / "one", clock) as one,
        running_world(tmp_path / "two", clock) as two,
    ):
        await one.ready()

        assert 'neighbour="trakt"' in await figures(one)
        assert 'neighbour="trakt"' not in await figures(two)


async def test_no_label_names_a_site_an_account_or_a_page(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()
    await world.browser.visit("/watches/1")
    told = await figures(world)

    labels = dict(re.findall(r'(\w+)="([^"]*)"', told))
    words = set(re.findall(r'="([^"]*)"', told))

    assert labels.keys() <= {
        "health", "job", "kind", "le", "neighbour", "outcome", "state", "status", "version",
    }  # fmt: skip
    assert all(re.fullmatch(r"[a-z0-9_.+-]+|\+Inf|[1-5]xx|\d+\.\d+.*", word) for word in words)
    for secret in (world.me, world.me.split("/")[2], "ada", "watches", "Dune"):
        assert not any(secret in word for word in words)


async def test_each_metric_is_explained_and_each_that_is_explained_is_told(world: World) -> None:
    told = await figures(world)
    explained = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    exported = set(re.findall(r"^# TYPE (ownyourtrakt_\w+) ", told, re.MULTILINE))
    named = set(re.findall(r"^\| `(ownyourtrakt_\w+)`", explained, re.MULTILINE))

    assert named == exported


def test_the_sample_alerts_ask_for_metrics_that_exist() -> None:
    explained = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rules = (ROOT / "docs" / "alerts.yml").read_text(encoding="utf-8")

    asked_for = set(re.findall(r"\bownyourtrakt_\w+", rules))

    assert asked_for
    for name in asked_for:
        assert f"`{re.sub('_(count|sum|bucket)$', '', name)}`" in explained
