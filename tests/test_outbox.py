from dataclasses import replace
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
    Action,
    Evidence,
    Post,
    Standing,
    State,
    Why,
    abandoned,
    acted,
    actions,
    backoff,
    begun,
    failed,
    found,
    jittered,
    next_look,
    not_found,
    planned,
    published,
    released,
)
from app.waits import USUAL
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
    assert SENDING.due_at == NOON + USUAL.sending_lease
    assert USUAL.sending_lease > USUAL.send_deadline


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


def test_what_the_person_asked_for_stays_so_until_it_is_sent() -> None:
    wanted = acted(None, Action.PUBLISH, NOON)
    again = acted(failed(wanted, SiteRefused("no"), NOON), Action.RETRY, NOON)

    assert (wanted.why, again.why, begun(again, NOON).why) == (Why.WANTED, Why.WANTED, None)
    assert acted(failed(SENDING, SiteRefused("no"), NOON), Action.RETRY, NOON).why is None


def test_a_person_may_leave_a_post_unsent() -> None:
    assert acted(QUEUED, Action.SKIP, NOON).state is State.SKIPPED
    assert acted(None, Action.SKIP, NOON).state is State.SKIPPED


def unsure(looks: int = 0) -> Post:
    return Post(State.UNSURE, NOON, attempts=1, sent_at=NOON, looks=looks)


PROOF = Evidence(
    is_list=True,
    shows_ours=True,
    reached=NOON - timedelta(days=1),
    may_see_all=True,
    began_at=NOON,
    said="",
)


def after_look(post: Post, minutes: float, evidence: Evidence = PROOF) -> Post:
    return not_found(post, NOON, evidence, NOON + timedelta(minutes=minutes))


def test_looks_made_early_because_of_another_post_do_not_count() -> None:
    once = after_look(unsure(), 1)

    assert once.looks == 0
    assert next_look(once) == NOON + timedelta(minutes=2)


def test_a_post_is_absent_after_two_looks_and_half_an_hour() -> None:
    first = after_look(unsure(), 2)

    assert first.state is State.UNSURE
    assert after_look(first, 20).state is State.UNSURE
    assert after_look(first, 32).state is State.QUEUED


def test_one_late_look_is_not_two() -> None:
    assert after_look(unsure(), 600).state is State.UNSURE


@pytest.mark.parametrize(
    "evidence",
    [
        replace(PROOF, is_list=False),
        replace(PROOF, shows_ours=False),
        replace(PROOF, reached=None),
        replace(PROOF, reached=NOON),
        replace(PROOF, may_see_all=False),
    ],
    ids=["a feed", "none of ours", "unsorted", "not deep enough", "drafts only"],
)
def test_what_proves_no_absence_leaves_a_post_undecided(evidence: Evidence) -> None:
    assert after_look(unsure(looks=1), 60, evidence).state is State.UNSURE


def test_a_post_is_sent_again_by_itself_once_only() -> None:
    again = replace(unsure(looks=1), is_resent=True)

    assert after_look(again, 60).state is State.UNSURE


def test_a_published_post_is_never_queued_by_a_look() -> None:
    published_somewhere = replace(unsure(looks=1), state=State.PUBLISHED)

    assert after_look(published_somewhere, 60).state is State.PUBLISHED


def test_nothing_is_looked_for_for_ever() -> None:
    assert next_look(unsure(looks=len(USUAL.looks))) is None
    assert next_look(replace(unsure(), state=State.PUBLISHED, url="https://a.b/1")) is None


def test_what_a_site_shows_outweighs_what_was_thought() -> None:
    for state in State:
        assert found(replace(unsure(), state=state), "https://a.b/1", NOON).url == "https://a.b/1"
