"""What the simulated websites truly hold."""

import json
from collections import Counter
from dataclasses import dataclass

from app.demo.site import SimulatedSite


@dataclass(frozen=True, slots=True)
class OnSite:
    """A post that is there, and the play it was sent for, whatever the site kept of that."""

    play: str
    url: str


def live_posts(site: SimulatedSite) -> list[OnSite]:
    """Return the posts that exist, by what the requests that made them said."""
    return [OnSite(play_of(post.body), post.url) for post in site.posts if not post.deleted]


def play_of(body: bytes) -> str:
    """Return the play that a create tells of."""
    cite = json.loads(body)["properties"]["watch-of"][0]
    return str(cite["properties"]["trakt-watch-id"][0])


def count(site: SimulatedSite) -> Counter[str]:
    """Return how many posts there are of each play."""
    return Counter(post.play for post in live_posts(site))
