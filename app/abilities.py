"""What a Micropub endpoint can do, and how we know. Values and decisions only.

What is known comes from several sides, the weakest first: what servers of its kind do, what the
endpoint says of itself (``q=config``), what was seen of posts, and what the person says. Of each
side the newest word is kept; the strongest one counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar
from urllib.parse import urlsplit

from app.lookup import instant, is_same_minute, many, web_url

# A server is asked of itself so often by itself; a person may ask at any time.
ASK_AGAIN = timedelta(days=1)
# So many of the first posts are looked at, to see what became of them.
MOST_POSTS = 3
MOST_TARGETS = 50
LONGEST_TEXT = 300


class Ability(StrEnum):
    """One thing that servers can do or not."""

    JSON = "json"
    NESTED = "nested"
    SLUG = "slug"
    DATE = "date"
    DRAFTS = "drafts"
    VISIBILITY = "visibility"
    LIST = "list"
    SOURCE = "source"
    UPDATE = "update"
    DELETE = "delete"
    MEDIA = "media"
    TARGETS = "targets"


class How(StrEnum):
    """How something is known."""

    KIND = "kind"
    CONFIG = "config"
    POST = "post"
    TEST = "test"
    PERSON = "person"


# What was seen counts alike, whether it was a real post or a test: the newer one then.
STRENGTH = {How.KIND: 1, How.CONFIG: 2, How.POST: 3, How.TEST: 3, How.PERSON: 4}


class Server(StrEnum):
    """A kind of server that is known."""

    WORDPRESS = "wordpress"
    INDIEKIT = "indiekit"
    MICRO_BLOG = "micro.blog"
    KNOWN = "known"
    DRUPAL = "drupal"
    MICROBLOG_PUB = "microblog.pub"
    DJANGO = "django-indieweb"
    UNKNOWN = "unknown"


A = Ability
# As measured, or as their code was read; what is neither is not here.
HABITS: dict[Server, dict[Ability, bool]] = {
    Server.WORDPRESS: dict.fromkeys(
        (A.JSON, A.NESTED, A.SLUG, A.DATE, A.DRAFTS, A.LIST, A.SOURCE, A.UPDATE, A.DELETE), True
    ),
    Server.INDIEKIT: dict.fromkeys((A.JSON, A.NESTED, A.SLUG, A.DATE), True),
    Server.MICRO_BLOG: dict.fromkeys((A.DATE, A.DRAFTS, A.LIST, A.TARGETS), True),
    Server.KNOWN: {
        **dict.fromkeys((A.JSON, A.DATE, A.VISIBILITY, A.DELETE), True),
        **dict.fromkeys((A.NESTED, A.SLUG, A.LIST, A.SOURCE, A.UPDATE), False),
    },
    Server.DRUPAL: {},
    Server.MICROBLOG_PUB: {
        **dict.fromkeys((A.JSON, A.SOURCE, A.DELETE), True),
        **dict.fromkeys((A.NESTED, A.SLUG, A.DATE, A.DRAFTS, A.VISIBILITY), False),
        **dict.fromkeys((A.LIST, A.UPDATE, A.MEDIA, A.TARGETS), False),
    },
    Server.DJANGO: dict.fromkeys((A.JSON, A.NESTED, A.SOURCE, A.UPDATE, A.DELETE), True),
    Server.UNKNOWN: {},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a server can do something, by whose word, and since when that is known.

    ``post`` is the address of the post in which it was seen.
    """

    ability: Ability
    can: bool
    how: How
    at: datetime
    post: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A place to which a server can pass posts on."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class Config:
    """What an endpoint says of itself; ``says`` holds only what follows from it for sure."""

    says: Mapping[Ability, bool]
    media_endpoint: str | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Abilities:
    """All that is known of one endpoint.

    ``posts``: so many of our first posts were looked at. ``asked_at``: when it was last asked of
    itself.
    """

    endpoint: str = ""
    server: Server = Server.UNKNOWN
    findings: tuple[Finding, ...] = ()
    media_endpoint: str | None = None
    targets: tuple[Target, ...] = ()
    asked_at: datetime | None = None
    posts: int = 0

    def finding(self, ability: Ability) -> Finding | None:
        """Return the word that counts: of the strongest the newest; None when nobody knows."""
        of_it = [one for one in self.findings if one.ability is ability]
        return max(of_it, key=lambda one: (STRENGTH[one.how], one.at), default=None)

    def can(self, ability: Ability) -> bool | None:
        """Tell whether the endpoint can do something; None: nobody knows."""
        finding = self.finding(ability)
        return finding.can if finding else None

    def by_person(self, ability: Ability) -> bool | None:
        """Return what the person says of an ability; None: nothing."""
        return next((one.can for one in of_person(self, ability)), None)

    def is_to_be_asked(self, now: datetime) -> bool:
        """Tell whether it is time to ask the endpoint of itself again."""
        return self.asked_at is None or not now - ASK_AGAIN < self.asked_at <= now


def learned(
    known: Abilities,
    seen: Mapping[Ability, bool],
    how: How,
    now: datetime,
    post: str | None = None,
) -> Abilities:
    """Return what is known once one side has spoken; what it said before of the same is gone."""
    kept = [one for one in known.findings if one.how is not how or one.ability not in seen]
    added = [Finding(ability, can, how, now, post) for ability, can in seen.items()]
    return replace(known, findings=(*kept, *added))


def without(known: Abilities, *hows: How) -> Abilities:
    """Return what is known without the word of some sides."""
    return replace(known, findings=tuple(one for one in known.findings if one.how not in hows))


def of_endpoint(known: Abilities, endpoint: str) -> Abilities:
    """Return what is known that holds for ``endpoint``: of another one only the person's word."""
    if known.endpoint == endpoint:
        return known
    said = tuple(one for one in known.findings if one.how is How.PERSON)
    return Abilities(endpoint, findings=said)


def met(known: Abilities, endpoint: str, server: Server, now: datetime) -> Abilities:
    """Return what is known of an endpoint that was just found, and of the server behind it."""
    known = of_endpoint(known, endpoint)
    if server is Server.UNKNOWN:
        return known
    if known.server not in {server, Server.UNKNOWN}:
        # Another program answers there now.
        known = of_endpoint(replace(known, endpoint=""), endpoint)
    known = replace(without(known, How.KIND), server=server)
    return learned(known, HABITS[server], How.KIND, now)


def told(known: Abilities, answer: object, now: datetime) -> Abilities:
    """Return what is known once an endpoint was asked of itself."""
    config = read_config(answer, known.endpoint)
    known = met(known, known.endpoint, by_config(known, answer), now)
    known = replace(
        known, media_endpoint=config.media_endpoint, targets=config.targets, asked_at=now
    )
    return learned(without(known, How.CONFIG), config.says, How.CONFIG, now)


def overruled(known: Abilities, said: Mapping[Ability, bool | None], now: datetime) -> Abilities:
    """Return what is known once the person has spoken; None: it is as it was found.

    A word that they have given before keeps its date.
    """
    words = []
    for ability, can in said.items():
        before = [one for one in of_person(known, ability) if one.can == can]
        if can is not None:
            words += before or [Finding(ability, can, How.PERSON, now)]
    rest = without(known, How.PERSON)
    return replace(rest, findings=(*rest.findings, *words))


def of_person(known: Abilities, ability: Ability) -> list[Finding]:
    """Return what the person says of an ability: one finding, or none."""
    return [one for one in known.findings if one.ability is ability and one.how is How.PERSON]


# --- What an endpoint says of itself ---


def read_config(answer: object, endpoint: str) -> Config:
    """Return what the answer to ``q=config`` says; of nonsense nothing. Never raises."""
    if not isinstance(answer, Mapping) or not answer:
        return Config({})
    media = read_media(answer.get("media-endpoint"), endpoint)
    targets = read_targets(answer.get("syndicate-to"))
    queries = texts(answer.get("q"))
    # Properties that it names as its own, wherever it does.
    named = texts(answer.get("properties")) | {f"mp-{one}" for one in texts(answer.get("mp"))}
    named |= {name for name in ("visibility", "post-status") if texts(answer.get(name))}
    says = {ability: True for name, ability in PROPERTIES.items() if name in named}
    if queries or "media-endpoint" in answer:
        says[A.MEDIA] = media is not None
    if isinstance(answer.get("syndicate-to"), list):
        says[A.TARGETS] = bool(targets)
    if queries:
        says[A.SOURCE] = "source" in queries
    if queries and "source" not in queries:
        says[A.LIST] = False
    return Config(says, media, targets)


PROPERTIES = {"mp-slug": A.SLUG, "visibility": A.VISIBILITY, "post-status": A.DRAFTS}


def read_media(url: object, endpoint: str) -> str | None:
    """Return a media endpoint that may be sent the token: never from https down to http."""
    usable = web_url(url) if isinstance(url, str) else None
    is_worse = endpoint.startswith("https:") and not (usable or "").startswith("https:")
    return None if is_worse else usable


def read_targets(listed: object) -> tuple[Target, ...]:
    """Return the places to which posts can be passed on; some servers give a bare name each."""
    found: dict[str, Target] = {}
    for item in listed if isinstance(listed, list) else ():
        one = item if isinstance(item, Mapping) else {"uid": item}
        uid, name = one.get("uid"), one.get("name")
        if is_short(uid):
            found.setdefault(uid, Target(uid, name if is_short(name) else uid))
    return tuple(found.values())[:MOST_TARGETS]


def is_short(text: object) -> TypeGuard[str]:
    """Tell whether ``text`` is one that can be kept and shown."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_TEXT and text.isprintable()


def texts(value: object) -> set[str]:
    """Return the texts of a list, or the keys of an object; nothing of anything else."""
    if not isinstance(value, list | Mapping):
        return set()
    return {one for one in value if isinstance(one, str)}


# --- Which server it is ---


def by_page(endpoint: str, named: Iterable[str], rels: Iterable[str]) -> Server:
    """Return the kind of server behind a profile page.

    ``named`` is how the page's software calls itself, in headers and as its generator. A page may
    be one program's and its endpoint another's, so an endpoint that tells comes first.
    """
    server = by_endpoint(endpoint)
    if server is not Server.UNKNOWN:
        return server
    if "https://api.w.org/" in rels:
        return Server.WORDPRESS
    words = {word.lower() for name in named for word in name.split()[:1]}
    for word, kind in NAMES.items():
        if word in words:
            return kind
    return Server.UNKNOWN


NAMES = {
    "wordpress": Server.WORDPRESS,
    "known": Server.KNOWN,
    "https://withknown.com": Server.KNOWN,
    "drupal": Server.DRUPAL,
    "microblogpub": Server.MICROBLOG_PUB,
    "indiekit": Server.INDIEKIT,
}
PATHS = {
    "/wp-json/micropub/": Server.WORDPRESS,
    "/index.php/wp-json/micropub/": Server.WORDPRESS,
    "/micropub/endpoint": Server.KNOWN,
}


def by_endpoint(endpoint: str) -> Server:
    """Return the kind of server that only an endpoint like this one belongs to."""
    parts = urlsplit(endpoint)
    if is_micro_blog(endpoint):
        return Server.MICRO_BLOG
    if "rest_route=/micropub/" in parts.query:
        return Server.WORDPRESS
    return next((kind for path, kind in PATHS.items() if path in parts.path), Server.UNKNOWN)


def is_micro_blog(endpoint: str) -> bool:
    """Tell whether an endpoint is Micro.blog's, which serves the sites of many."""
    host = urlsplit(endpoint).hostname or ""
    return host == "micro.blog" or host.endswith(".micro.blog")


def by_config(known: Abilities, answer: object) -> Server:
    """Return the kind of server that speaks like this of itself, else the one that is known."""
    if known.server is not Server.UNKNOWN or not isinstance(answer, Mapping):
        return known.server
    queries, kinds = texts(answer.get("q")), answer.get("post-types")
    path = urlsplit(known.endpoint).path.rstrip("/")
    if "slug" in texts(answer.get("mp")) and "visibility" in answer:
        return Server.WORDPRESS
    if path.endswith("/indieweb/micropub") and {"channel", "media-endpoint"} <= queries:
        return Server.DJANGO
    if path.endswith("/micropub") and {"category", "post-types", "media-endpoint"} <= queries:
        return Server.INDIEKIT if isinstance(kinds, list) else Server.UNKNOWN
    return Server.UNKNOWN


# --- What became of a post ---


@dataclass(frozen=True, slots=True)
class Sent:
    """A post as it left us: its properties, where the server put it, and whether it was JSON."""

    properties: Mapping[str, Any]
    url: str
    is_json: bool = True


def compared(sent: Sent, kept: Mapping[str, Any] | None) -> dict[Ability, bool]:
    """Return what a post shows of its server; ``kept`` is what that tells of it, if it does.

    What a server may leave out for another reason proves nothing.
    """
    if kept is None:
        return {}
    seen = {A.SOURCE: True} | ({A.JSON: True} if sent.is_json else {})
    is_draft = "draft" in many(kept.get("post-status"))
    if any(isinstance(value, Mapping) for value in many(sent.properties.get("watch-of"))):
        seen[A.NESTED] = any(is_object(value) for value in many(kept.get("watch-of")))
    slugs = [slug for slug in many(sent.properties.get("mp-slug")) if isinstance(slug, str)]
    # The address of a draft is often a passing one.
    if slugs and not is_draft:
        seen[A.SLUG] = slugs[0] in urlsplit(sent.url).path
    dates = [instant(value) for value in many(sent.properties.get("published"))]
    if dates and dates[0] is not None:
        its_dates = (instant(value) for value in many(kept.get("published")))
        seen[A.DATE] = any(is_same_minute(dates[0], when) for when in its_dates)
    if "draft" in many(sent.properties.get("post-status")) and "post-status" in kept:
        seen[A.DRAFTS] = is_draft
    for name in ("unlisted", "private"):
        if name in many(sent.properties.get("visibility")) and "visibility" in kept:
            seen[A.VISIBILITY] = name in many(kept.get("visibility"))
    return seen


def after_post(
    known: Abilities, seen: Mapping[Ability, bool], now: datetime, post: str | None = None
) -> Abilities:
    """Return what is known once one of the first posts was looked at, the one at ``post``.

    A server may need a while until it tells of a post, so only several times nothing says that it
    does not.
    """
    known = replace(learned(known, seen, How.POST, now, post), posts=known.posts + 1)
    told_of_one = any(one.ability is A.SOURCE and one.how is How.POST for one in known.findings)
    if known.posts >= MOST_POSTS and not told_of_one:
        known = learned(known, {A.SOURCE: False}, How.POST, now)
    return known


def is_object(value: object) -> bool:
    """Tell whether a value is a microformats2 object with something in it."""
    return isinstance(value, Mapping) and bool(value.get("properties"))


# --- In the database ---


def to_json(known: Abilities) -> dict[str, Any]:
    """Return what is known as plain data, which `from_json` reads."""
    return {
        "endpoint": known.endpoint,
        "server": str(known.server),
        "findings": [
            {
                "ability": str(one.ability),
                "can": one.can,
                "how": str(one.how),
                "at": one.at.isoformat(),
                "post": one.post,
            }
            for one in known.findings
        ],
        "media_endpoint": known.media_endpoint,
        "targets": [{"uid": one.uid, "name": one.name} for one in known.targets],
        "asked_at": known.asked_at and known.asked_at.isoformat(),
        "posts": known.posts,
    }


def from_json(data: object) -> Abilities:
    """Return what `to_json` wrote; what this version does not understand counts as not known."""
    if not isinstance(data, Mapping):
        return Abilities()
    endpoint, posts, media = data.get("endpoint"), data.get("posts"), data.get("media_endpoint")
    findings = (read_finding(one) for one in many(data.get("findings")))
    return Abilities(
        endpoint=endpoint if isinstance(endpoint, str) else "",
        server=word(Server, data.get("server")) or Server.UNKNOWN,
        findings=tuple(one for one in findings if one),
        media_endpoint=web_url(media) if isinstance(media, str) else None,
        targets=read_targets(data.get("targets")),
        asked_at=instant(data.get("asked_at")),
        posts=posts if isinstance(posts, int) else 0,
    )


def read_finding(data: object) -> Finding | None:
    """Return one finding of `to_json`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("can"), bool):
        return None
    ability, how = word(Ability, data.get("ability")), word(How, data.get("how"))
    at, post = instant(data.get("at")), data.get("post")
    if not ability or not how or not at:
        return None
    return Finding(ability, data["can"], how, at, web_url(post) if isinstance(post, str) else None)


Word = TypeVar("Word", bound=StrEnum)


def word(words: type[Word], value: object) -> Word | None:
    """Return the word of ``words`` that ``value`` is."""
    return next((one for one in words if one == value), None)
