"""The posts of the simulated website: what is kept of them, where, and who may see it when."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any

from app.demo.site_habits import Habits
from app.demo.site_indieauth import Refused

Properties = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Post:
    """A post as it was created, or last updated.

    ``number`` counts the posts as they came, from 1. ``properties`` are those received, commands
    such as ``mp-slug`` included, less those that the website does not keep; ``headers`` (names in
    lower case) and ``body`` are those of the request that created it.
    """

    url: str
    number: int
    type: list[str]
    properties: Properties
    created_at: datetime
    headers: Mapping[str, str]
    body: bytes
    deleted: bool = False

    @property
    def published(self) -> datetime:
        """Return the time the post gives as its own, else the time it came; always aware."""
        return instant(self.properties.get("published", []), self.created_at)

    @property
    def is_public(self) -> bool:
        """Tell whether visitors may see it."""
        return not self.deleted and self.properties.get("post-status") != ["draft"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A post on its way onto the website, as its author's program sent it at a time."""

    type: list[str]
    properties: Properties
    at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_draft: bool = False


class Shelf:
    """All posts of one website, also drafts and deleted ones, in the order they came."""

    def __init__(self, origin: str, *, now: Callable[[], datetime], habits: Habits) -> None:
        self.origin = origin
        self.now = now
        self.habits = habits
        self.by_url: dict[str, Post] = {}
        # Reading thousands of dates takes a while, so the order is kept until a post changes.
        self.in_order: list[Post] | None = None

    def put(self, post: Post) -> Post:
        """Put ``post`` where its URL says, in the place of what is there, and return it."""
        self.by_url[post.url] = post
        self.in_order = None
        return post

    def add(self, sent: Sent, url: str | None = None) -> Post:
        """Keep and return a new post, at ``url`` or where its slug says.

        Raises:
            Refused: nothing of it would be left.

        """
        properties = kept(sent.properties, self.habits)
        if sent.is_draft:
            properties["post-status"] = ["draft"]
        url = url or self.url(sent.properties)
        before = self.by_url.get(url)
        return self.put(
            Post(
                url=url,
                number=before.number if before else len(self.by_url) + 1,
                type=sent.type,
                properties=properties,
                created_at=before.created_at if before else sent.at,
                headers=sent.headers,
                body=sent.body,
            )
        )

    def url(self, sent: Properties) -> str:
        """Return where a new post goes; a slug already taken gets "-2", as WordPress does."""
        asked = "".join(str(value) for value in sent.get("mp-slug", []))
        slug = re.sub(r"[^a-z0-9]+", "-", asked.lower()).strip("-")
        if not slug or self.habits.ignores_slug or self.habits.content_only:
            slug = str(len(self.by_url) + 1)
        elif self.habits.slug_replaces:
            return f"{self.origin}/posts/{slug}"
        slugs = chain([slug], (f"{slug}-{number}" for number in count(2)))
        urls = (f"{self.origin}/posts/{slug}" for slug in slugs)
        return next(url for url in urls if url not in self.by_url)

    def existing(self, url: object) -> Post:
        """Return the post at ``url``, also a deleted one.

        Raises:
            Refused: there never was one.

        """
        post = self.by_url.get(url) if isinstance(url, str) else None
        if post is None:
            raise Refused("invalid_request", "There is no post at this url.")
        return post

    def shown(self, url: str) -> Post | None:
        """Return the post at ``url``, also a deleted one, unless the website is not that far."""
        post = self.by_url.get(url)
        return post if post and self.is_shown(post) else None

    def is_shown(self, post: Post) -> bool:
        """Tell whether ``post`` has come through to lists and pages."""
        return self.now() >= post.created_at + self.habits.shown_after

    def newest_first(self) -> Iterator[Post]:
        """Yield the posts that are shown and not deleted, by their own date, drafts included."""
        if self.in_order is None:
            self.in_order = sorted(
                self.by_url.values(), key=lambda post: post.published, reverse=True
            )
        return (post for post in self.in_order if not post.deleted and self.is_shown(post))

    def last_come_first(self) -> Iterator[Post]:
        """Yield the posts that are shown and not deleted as they came, drafts included."""
        last_first = sorted(self.by_url.values(), key=lambda post: -post.number)
        return (post for post in last_first if not post.deleted and self.is_shown(post))

    def delete(self, url: object) -> None:
        """Take the post at ``url`` off the website. Raises `Refused` when there never was one."""
        self.put(replace(self.existing(url), deleted=True))


def kept(sent: Properties, habits: Habits) -> Properties:
    """Return what a website with ``habits`` keeps of a post.

    Raises:
        Refused: it cannot keep the post without a text.

    """
    if habits.content_only:
        return {"content": [plain_text(sent)]}
    if habits.kept_properties is None:
        return dict(sent)
    return {name: values for name, values in sent.items() if name in habits.kept_properties}


def plain_text(properties: Properties) -> str:
    """Return the text of a post.

    Raises:
        Refused: with 500, as microblog.pub does when the content is missing or no plain text.

    """
    match properties.get("content"):
        case [str(text), *_]:
            return text
    raise Refused("server_error", "KeyError", 500)


def instant(values: list[Any], default: datetime) -> datetime:
    """Return the time that ``values`` give, read as UTC where it names no offset.

    Raises:
        Refused: it is no time.

    """
    if not values:
        return default
    try:
        time = datetime.fromisoformat(values[0])
    except (TypeError, ValueError) as error:
        raise Refused("invalid_request", f"published: {values[0]!r} is no time.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
