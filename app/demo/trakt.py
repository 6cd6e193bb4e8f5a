"""A Trakt that lives in memory: for `make demo`, where a person clicks in it, and for all tests.

It is honest about Trakt's bad days too, and checked against Trakt's own published contract. Serve
`SimulatedTrakt.api` and `SimulatedTrakt.auth` on origins of their own, with uvicorn's
``date_header=False``: the ``Date`` of an answer comes from the clock that was handed in.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response

from app.demo.catalogue import CATALOGUE, Work
from app.demo.trakt_api import Gate, Person, history_routes, reading_routes
from app.demo.trakt_door import Door, Fault, Host, Record, Seen
from app.demo.trakt_history import BadDays, History, Play
from app.demo.trakt_images import image_routes
from app.demo.trakt_oauth import App, Tokens, token_routes
from app.demo.trakt_opinions import Opinions, opinion_routes
from app.demo.trakt_pages import Consent, consent_routes, person_routes, rating_routes
from app.demo.trakt_writes import writing_routes

WEEK = timedelta(days=7)
GOOD_DAY = BadDays()


class SimulatedTrakt:
    """Trakt with one person and one registered app.

    ``history.bad_days``, ``person``, ``tokens.lifetime`` and ``deny_next`` may be changed at any
    time; ``opinions`` holds what the person thinks. Clock: ``now``.
    """

    def __init__(  # noqa: PLR0913 - the parameters name what differs between two Trakts
        self,
        *,
        client_id: str,
        redirect_uri: str,
        now: Callable[[], datetime],
        client_secret: str | None = None,
        bad_days: BadDays = GOOD_DAY,
        username: str = "ada",
        timezone: str = "Europe/Vienna",
        gets_per_5_min: int = 500,
    ) -> None:
        self.app = App(client_id, redirect_uri, client_secret)
        self.person = Person(username, timezone, hashlib.sha1(username.encode()).hexdigest())  # noqa: S324 - an id that looks like Trakt's
        self.history = History(now, bad_days)
        self.opinions = Opinions(now)
        self.tokens = Tokens(self.app, now, WEEK)
        self.consent = Consent(self.tokens)
        self.record = Record()
        self.now = now
        gate = Gate(self.app, self.tokens, gets_per_5_min)
        self.api = self.site(
            "api",
            gate.refusal,
            reading_routes(self.history, lambda: self.person, self.opinions.stamps),
            history_routes(self.history, lambda: self.person),
            opinion_routes(self.opinions, lambda: self.person),
            image_routes(),
            writing_routes(self.history),
        )
        self.auth = self.site(
            "auth",
            lambda _: None,
            token_routes(self.tokens),
            consent_routes(self.consent, lambda: self.person),
            person_routes(self.history, self.tokens, lambda: self.person),
            rating_routes(self.history, self.opinions),
        )

    def site(
        self, host: Host, refusal: Callable[[Request], Response | None], *routers: APIRouter
    ) -> FastAPI:
        """Return the app of one host."""
        # As they are: included, each would be made a second time.
        routes = [route for router in routers for route in router.routes]
        site = FastAPI(openapi_url=None, routes=routes)
        site.add_middleware(Door, host=host, record=self.record, now=self.now, refusal=refusal)
        return site

    # What the person does.

    def watch(self, work: Work, at: datetime | Literal["unknown"] | None = None) -> int:
        """Add a play, by default of now, and return its id. The time loses its seconds."""
        return self.history.watch(work, at)

    def remove(self, play_id: int) -> None:
        """Take one play away."""
        self.history.remove([play_id])

    def correct(self, play_id: int, at: datetime | Literal["unknown"]) -> None:
        """Give a play another time; it keeps its id. Raises `KeyError` for an unknown play."""
        self.history.correct(play_id, at)

    def redate(self, play_id: int, at: datetime | Literal["unknown"]) -> int:
        """Give a play another time as other apps do, by removing and adding; return its new id.

        Raises `KeyError` for an unknown play.
        """
        work = self.history.play(play_id).work
        self.history.remove([play_id])
        return self.history.watch(work, at)

    def revoke_everything(self) -> None:
        """Disconnect the app: the API answers 401 and a refresh 400."""
        self.tokens.revoke_everything()

    @property
    def deny_next(self) -> bool:
        """Whether the next decision on the consent page is a denial, whichever button is used."""
        return self.consent.deny_next

    @deny_next.setter
    def deny_next(self, deny: bool) -> None:
        self.consent.deny_next = deny

    # What Trakt does.

    def fill(self, count: int, works: Sequence[Work] = CATALOGUE) -> None:
        """Add ``count`` old plays of ``works`` in turn, one an hour, back from a day ago."""
        self.history.fill(count, works)

    def add_raw(self, item: Mapping[str, object]) -> None:
        """Add a history item of any shape."""
        self.history.add_raw(item)

    def hide(self, work: Work) -> None:
        """Make ``work`` unresolvable: its plays keep their place and are shown nowhere."""
        self.history.hide(work)

    def unhide(self, work: Work) -> None:
        """Let ``work`` be found again."""
        self.history.unhide(work)

    def merge(self, old: Work, new: Work) -> None:
        """Make ``old`` a part of ``new``: its plays keep their ids and belong to ``new``."""
        self.history.merge(old, new)

    def disable_app(self) -> None:
        """Refuse the app at the API with 403; its token calls still work."""
        self.app.state = "disabled"

    def delete_app(self) -> None:
        """Forget the app: 403 at the API, ``invalid_client`` at the token endpoint."""
        self.app.state = "deleted"

    def then(self, *faults: Fault, at: str = "") -> None:
        """Let the coming requests meet ``faults``, one each.

        ``at`` limits them to paths that begin so, on either host; otherwise the API is meant.
        """
        self.record.faults += [(at, fault) for fault in faults]

    # What a test looks at.

    @property
    def plays(self) -> list[Play]:
        """All plays, newest first."""
        return self.history.plays()

    @property
    def requests(self) -> list[Seen]:
        """The requests of both hosts, oldest first; of very many the last 10,000."""
        return list(self.record.seen)
