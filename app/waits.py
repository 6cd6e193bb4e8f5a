"""The waits of the program in one table, but for bounds of single steps that stand beside them.

Nobody needs to change them; the environment can (``WAITS__SEND_DEADLINE=5``, in seconds), so that
a test of years needs minutes.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator


def seconds(value: object) -> object:
    """Return a number, or the text of one, as so many seconds."""
    return timedelta(seconds=float(value)) if isinstance(value, str | int | float) else value


Span = Annotated[timedelta, BeforeValidator(seconds)]


class Waits(BaseModel, frozen=True):
    """How long we wait, for whom, and between what."""

    # --- Those who ask us ---
    # A whole request, from its first letter or the end of the one before.
    receive: Span = timedelta(seconds=20)
    # Our answer, until it is taken: a sign-in reads several pages of a website that may be slow.
    answer: Span = timedelta(minutes=5)

    # --- Sending a post ---
    # The whole request may take this long: WordPress fetches pictures while it answers.
    send_deadline: Span = timedelta(seconds=90)
    # Looking for an endpoint that has moved may take as long.
    search_deadline: Span = timedelta(seconds=60)
    # Between two posts to one site: followers and small servers are spared a flood.
    between_posts: Span = timedelta(seconds=3)
    # After a post that was not taken: doubling, up to the longest.
    first_retry: Span = timedelta(minutes=1)
    longest_retry: Span = timedelta(hours=6)
    # A site that was paused is given one post to try after this, then after twice as long.
    pause: Span = timedelta(hours=6)
    longest_pause: Span = timedelta(days=2)

    # Getting a poster, before its post is sent; its site is held a little longer.
    poster_turn: Span = timedelta(minutes=2)
    poster_lease: Span = timedelta(minutes=3)

    # --- Looking at a site ---
    # After an answer was lost; a site may show a post late, so it is looked at several times.
    looks: tuple[Span, ...] = (
        timedelta(minutes=2),
        timedelta(minutes=32),
        timedelta(hours=6),
        timedelta(days=1),
    )
    # Before this nobody believes that a post is not there.
    absent_after: Span = timedelta(minutes=30)
    # One answer of a list or a page, and one turn of reading many.
    look_deadline: Span = timedelta(seconds=60)
    look_turn: Span = timedelta(minutes=10)
    # A person is told of a post that nobody can tell about when it is this old.
    unsure_told_after: Span = timedelta(days=1)

    # --- Reading Trakt ---
    trakt_deadline: Span = timedelta(seconds=60)
    # A turn ends well before its lease, so that nobody else begins while we still ask.
    poll_turn: Span = timedelta(minutes=12)
    # Once a day the stamps are not believed.
    daily: Span = timedelta(days=1)
    # What only the operator can mend is asked for no more often than this.
    closed: Span = timedelta(hours=1)
    # Between the two times that an absence must be seen, and before a strange answer is asked
    # for again.
    second_opinion: Span = timedelta(hours=1)

    # --- The process ---
    # What ends within this time of each other is saved in one transaction.
    together: Span = timedelta(milliseconds=20)
    # Other processes write beside us (a command, a second server), so look at least this often.
    longest_rest: Span = timedelta(seconds=5)
    shortest_rest: Span = timedelta(milliseconds=50)
    # A platform kills a process ten seconds after it has asked it to end.
    last_words: Span = timedelta(seconds=8)
    heartbeat: Span = timedelta(minutes=1)
    # Who schedules says so three times within this; after a crash it is how long nobody does.
    scheduler_lease: Span = timedelta(seconds=30)
    # Who stands by looks this often whether the lease is free.
    succession: Span = timedelta(seconds=1)
    # The operator's HEARTBEAT_URL.
    heartbeat_deadline: Span = timedelta(seconds=10)
    # `poll` waits for what is due so soon, such as the next post of a site, but not for ever.
    linger: Span = timedelta(seconds=15)
    longest_errand: Span = timedelta(minutes=25)
    # For so long a silence is shown, unless the person has seen it.
    silence_shown: Span = timedelta(days=7)
    # One notification, by one service.
    notify_deadline: Span = timedelta(seconds=30)

    @property
    def sending_lease(self) -> timedelta:
        """How long after it began a healthy worker has certainly given up a post.

        It may renew the token and send a second time, and look for the endpoint.
        """
        return 2 * self.send_deadline + self.search_deadline + timedelta(minutes=2)

    @property
    def poll_lease(self) -> timedelta:
        """How long after it began a healthy worker has certainly ended a turn of reading Trakt."""
        return self.poll_turn + timedelta(minutes=3)

    @property
    def look_lease(self) -> timedelta:
        """How long after it began a healthy worker has certainly ended a look at a site."""
        return self.look_turn + timedelta(minutes=2)


USUAL = Waits()
