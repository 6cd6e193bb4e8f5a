"""A thousand people at Trakt, and the website of each, as fast as Python allows.

The simulators of `app.demo` know all bad days and cost several milliseconds a request; here the
crowd's own cost would drown what is measured. So these apps are bare: only the routes that a round
needs, every answer in the shape of the honest ones, and an account of who was sent what.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

JOINED = datetime(2020, 1, 1, tzinfo=UTC)
PAGE = 250
SITES = ".site.test"
Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Any, Headers]


class Crowd:
    """Everybody. ``latency``, in seconds, is how long each answer takes."""

    def __init__(self, size: int, latency: float) -> None:
        self.latency = latency
        self.asked = 0
        self.polls = 0
        # When each person's Trakt was first asked since `forget`, by the clock of all processes.
        self.seen: dict[int, datetime] = {}
        self.ids = count(3_400_000_001)
        self.plays: list[list[dict[str, Any]]] = [[] for _ in range(size)]
        self.changed = [JOINED] * size
        # The bodies that each website was sent.
        self.posts: list[list[bytes]] = [[] for _ in range(size)]

    def watch(self, who: int, at: datetime) -> None:
        """Let one person watch a film that nobody has seen before."""
        number = next(self.ids)
        ids = {"trakt": number, "slug": f"film-{number}", "imdb": None, "tmdb": number}
        play = {
            "id": number,
            "watched_at": stamp(at.replace(second=0, microsecond=0)),
            "action": "watch",
            "type": "movie",
            "movie": {"title": f"Film {number}", "year": 2026, "ids": ids},
        }
        self.plays[who].insert(0, play)
        self.changed[who] = max(self.changed[who], at)

    async def trakt(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be Trakt's API."""
        now, body = datetime.now(UTC), await whole(receive)
        await asyncio.sleep(self.latency)
        self.asked += 1
        if scope["path"] == "/oauth/token":
            # Whoever is given a code here has their number for a code.
            who = int(parse_qs(body.decode())["code"][0])
            await answered(send, 200, {"access_token": token(who), "expires_in": 7_776_000}, [])
            return
        query = {name: texts[0] for name, texts in parse_qs(scope["query_string"].decode()).items()}
        who = person(scope)
        self.seen.setdefault(who, now)
        await answered(send, *self.told(scope["path"], who, query))

    def told(self, path: str, who: int, query: dict[str, str]) -> Answer:
        """Return what Trakt tells a person."""
        match path:
            case "/sync/last_activities":
                self.polls += 1
                episodes = {"watched_at": stamp(JOINED)}
                movies = {"watched_at": stamp(self.changed[who])}
                return 200, {"movies": movies, "episodes": episodes}, []
            case "/sync/history":
                return self.history(who, query)
            case "/sync/watched/movies":
                plays = self.plays[who] if query.get("page", "1") == "1" else []
                return 200, {str(p["movie"]["ids"]["trakt"]): [p["watched_at"]] for p in plays}, []
            case "/sync/watched/shows":
                return 200, {}, []
            case "/users/me/stats":
                plays = self.plays[who]
                return 200, {"movies": {"plays": len(plays)}, "episodes": {"plays": 0}}, []
            case _:
                return 404, {}, []

    def history(self, who: int, query: dict[str, str]) -> Answer:
        """Return one page of a person's history; equal texts of times are equal times."""
        since, until = query.get("start_at", ""), query.get("end_at", "9")
        found = [play for play in self.plays[who] if since <= play["watched_at"] <= until]
        page = int(query.get("page", "1"))
        headers = {
            "x-pagination-page": page,
            "x-pagination-limit": PAGE,
            "x-pagination-page-count": -(-len(found) // PAGE),
            "x-pagination-item-count": len(found),
        }
        shown = found[(page - 1) * PAGE : page * PAGE]
        return 200, shown, [(name.encode(), b"%d" % value) for name, value in headers.items()]

    async def sites(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be all websites: ``/17/micropub`` is the endpoint of the person 17.

        So is ``/micropub`` at ``17.site.test``, for a program that must have a host for each.
        """
        body = await whole(receive)
        await asyncio.sleep(self.latency)
        self.asked += 1
        host = dict(scope["headers"])[b"host"].decode()
        name, path = host.partition(".")[0], scope["path"]
        number = name if host.endswith(SITES) else path.split("/")[1]
        if not number.isdecimal():
            await answered(send, 200, b"A page of somebody who has no IndieAuth.", [])
        elif scope["method"] != "POST":
            await answered(send, 200, home(host) if host.endswith(SITES) else {"items": []}, [])
        elif path.endswith("/token"):
            key = {"access_token": "key", "token_type": "Bearer", "scope": "create update"}
            await answered(send, 200, {**key, "me": f"http://{host}/"}, [])
        else:
            posts = self.posts[int(number)]
            posts.append(body)
            location = f"http://{host}/{number}/posts/{len(posts)}"
            await answered(send, 201, b"", [(b"location", location.encode())])


def make(size: int, latency: float, _origins: Sequence[str]) -> tuple[Crowd, list[Any]]:
    """Return a crowd with its two apps: Trakt, and all websites."""
    crowd = Crowd(size, latency)
    return crowd, [crowd.trakt, crowd.sites]


# What is asked of the crowd over the line.


def asked(crowd: Crowd) -> int:
    """Return how many requests there were."""
    return crowd.asked


def polls(crowd: Crowd) -> int:
    """Return how many polls there were."""
    return crowd.polls


def forget(crowd: Crowd) -> None:
    """Count nobody as asked for."""
    crowd.seen.clear()


def seen(crowd: Crowd) -> dict[int, datetime]:
    """Return when each person's Trakt was first asked."""
    return crowd.seen


def take_time(latency: float, crowd: Crowd) -> None:
    """Let every answer take so many seconds from now on."""
    crowd.latency = latency


def everybody_watches(number: int, at: datetime, crowd: Crowd) -> None:
    """Let each person watch ``number`` films, from ``at`` on, a minute between them."""
    for who in range(len(crowd.plays)):
        for minute in range(number):
            crowd.watch(who, at + timedelta(minutes=minute))


def unposted(crowd: Crowd) -> int:
    """Return of how many people the website holds fewer posts than they have plays."""
    return sum(
        len(posts) < len(plays) for plays, posts in zip(crowd.plays, crowd.posts, strict=True)
    )


def wrongs(crowd: Crowd) -> int:
    """Return how many plays are not on their person's website exactly once.

    To be asked where nothing is archived: every play is to be a post.
    """
    return sum(map(wrong, crowd.plays, crowd.posts))


def wrong(plays: list[dict[str, Any]], posts: list[bytes]) -> int:
    """Return how many of one person's plays are not posted exactly once."""
    sent = [
        json.loads(post)["properties"]["watch-of"][0]["properties"]["trakt-watch-id"][0]
        for post in posts
    ]
    return sum(sent.count(str(play["id"])) != 1 for play in plays)


# How answers are made.


def person(scope: Scope) -> int:
    """Return whose token a request bears; see `token`."""
    return int(dict(scope["headers"])[b"authorization"].decode().rpartition("-")[2])


def token(who: int) -> str:
    """Return the token of a person."""
    return f"token-{who}"


def home(host: str) -> bytes:
    """Return the first page of a website, which names its endpoints."""
    rels = {"authorization_endpoint": "auth", "token_endpoint": "token", "micropub": "micropub"}
    links = [f'<link rel="{rel}" href="http://{host}/{page}">' for rel, page in rels.items()]
    return "".join(links).encode()


async def answered(send: Send, status: int, body: object, headers: Headers) -> None:
    """Send an answer, a page or JSON, with what all answers of Trakt carry."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = b"text/html" if isinstance(body, bytes) else b"application/json"
    common = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(content)),
        (b"x-request-id", b"1"),
        (b"date", format_datetime(datetime.now(UTC), usegmt=True).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": common + headers})
    await send({"type": "http.response.body", "body": content})


async def whole(receive: Receive) -> bytes:
    """Return the body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def stamp(at: datetime) -> str:
    """Return an instant as Trakt writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
