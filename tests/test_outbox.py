from datetime import timedelta

import pytest

from app.errors import (
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteMoved,
    SiteRefused,
    SiteSilent,
)
from app.outbox import (
    LEASE,
    SEND_DEADLINE,
    Action,
    Post,
    Standing,
    State,
    abandoned,
    acted,
    actions,
    backoff,
    begun,
    failed,
    jittered,
    planned,
    published,
    released,
)
from tests.conftest import NOON

QUEUED = Post(State.QUEUED, NOON)
SENDING = begun(QUEUED, NOON)


def test_a_watch_from_the_start_on_is_queued() -> None:
    assert planned(NOON, NOON, NOON) == (Standing.POSTED, QUEUED)


def test_a_watch_before_the_start_is_archived() -> None:
    assert planned(NOON - timedelta(minutes=1), NOON, NOON) == (Standing.ARCHIVED, None)


def test_a_watch_without_a_date_is_kept_and_not_posted() -> None:
    assert planned(None, NOON, NOON) == (Standing.UNDATED, None)


def test_a_watch_more_than_an_hour_ahead_waits_until_its_time_and_says_so() -> None:
    ahead = NOON + timedelta(hours=1, minutes=1)

    _, post = planned(ahead, NOON, NOON)

    assert post is not None
    assert (post.state, post.due_at) == (State.HELD, ahead)
    assert "still to come" in (post.trouble or "")
    assert released(post, ahead) == Post(State.QUEUED, ahead)


def test_a_clock_that_is_a_little_fast_holds_nothing_up() -> None:
    assert planned(NOON + timedelta(minutes=59), NOON, NOON)[1] == QUEUED


def test_an_attempt_is_leased_for_longer_than_a_request_can_take() -> None:
    assert SENDING.attempts == 1
    assert SENDING.due_at == NOON + LEASE
    assert LEASE > SEND_DEADLINE


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SiteBusy("busy"), State.QUEUED),
        (SiteLocked("key"), State.QUEUED),
        (SiteMoved("moved"), State.QUEUED),
        (SiteRefused("no"), State.REFUSED),
        (SiteSilent("?"), State.UNSURE),
    ],
    ids=["busy", "locked", "moved", "refused", "silent"],
)
def test_each_failure_leads_where_it_must(error: SiteError, state: State) -> None:
    after = failed(SENDING, error, NOON)

    assert after.state is state
    assert after.trouble == str(error)


def test_a_lost_answer_is_never_followed_by_a_second_post() -> None:
    assert failed(SENDING, SiteSilent("?"), NOON).state is State.UNSURE
    assert abandoned(SENDING, NOON).state is State.UNSURE


def test_a_busy_site_gets_the_post_after_the_time_it_named() -> None:
    after = failed(SENDING, SiteBusy("busy", timedelta(hours=2)), NOON)

    assert after.due_at == NOON + timedelta(hours=2)


def test_an_endpoint_that_moved_is_looked_for_once() -> None:
    once = failed(SENDING, SiteMoved("moved"), NOON)

    assert once.rediscovered
    assert failed(begun(once, NOON), SiteMoved("moved"), NOON).state is State.REFUSED


def test_a_post_without_an_address_is_published_all_the_same() -> None:
    after = published(SENDING, None, NOON)

    assert (after.state, after.url) == (State.PUBLISHED, None)
    assert "did not say where" in (after.trouble or "")


def test_success_forgets_earlier_trouble() -> None:
    again = begun(failed(SENDING, SiteBusy("busy"), NOON), NOON)

    assert published(again, "https://ada.example/1", NOON).trouble is None


def test_a_bug_of_ours_is_not_taken_for_an_answer_of_the_site() -> None:
    with pytest.raises(SiteError):
        failed(SENDING, SiteError("not a leaf"), NOON)


def test_waits_double_from_a_minute_to_six_hours() -> None:
    waits = [backoff(attempts) for attempts in (1, 2, 3, 9, 10, 5000)]

    assert waits[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert waits[3:] == [timedelta(minutes=256), timedelta(hours=6), timedelta(hours=6)]


def test_jitter_only_ever_lengthens_a_wait() -> None:
    hour = timedelta(hours=1)

    assert all(hour <= jittered(hour) <= hour * 1.1 for _ in range(100))


def test_a_person_can_act_on_every_state_but_those_that_are_done_or_under_way() -> None:
    without = {state for state in State if not actions(Standing.POSTED, state)}

    assert without == {State.SENDING, State.PUBLISHED}
    assert all(actions(standing, None) for standing in Standing if standing != Standing.POSTED)


@pytest.mark.parametrize("action", [Action.RETRY, Action.PUBLISH])
def test_a_person_may_send_a_post_again(action: Action) -> None:
    refused = failed(SENDING, SiteRefused("no"), NOON)

    after = acted(refused, action, NOON)

    assert (after.state, after.trouble, after.attempts) == (State.QUEUED, None, 1)


def test_a_person_may_leave_a_post_unsent() -> None:
    assert acted(QUEUED, Action.SKIP, NOON).state is State.SKIPPED
    assert acted(None, Action.SKIP, NOON).state is State.SKIPPED
