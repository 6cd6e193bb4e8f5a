"""The rows. Times are aware and in UTC; tokens are sealed; a digest stands for each secret."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, ForeignKey, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

# SQLAlchemy writes None as the JSON value ``null`` otherwise, which is not NULL in a query.
JSON_OR_NULL = JSON(none_as_null=True)


def belongs_to(table: str, *, primary_key: bool = False, index: bool = False) -> Any:  # noqa: ANN401 - Field's own type
    """Return a column that points to ``table`` and goes with its row."""
    target = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Field(sa_column_args=[target], primary_key=primary_key, index=index)


class AccountRow(SQLModel, table=True):
    """One person, known by the ``me`` their own site confirmed."""

    __tablename__ = "account"

    id: int | None = Field(default=None, primary_key=True)
    me: str = Field(unique=True)
    name: str | None = None
    photo: str | None = None
    # As Trakt or the person gave it; shown, and read as UTC where nobody knows the name.
    timezone: str = "UTC"
    created_at: datetime
    # Where this person wants to be told (Apprise URLs), sealed like tokens.
    sealed_notify_urls: str | None = Field(default=None, sa_type=Text)
    # How this person's posts look, see `app.style`; None: as at first.
    style: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # What becomes of each watch, see `app.rules`; None: no rules yet.
    rules: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # Silences that ended before this need not be shown any more.
    silence_seen_at: datetime | None = None


class Granted(SQLModel):
    """What a neighbour granted us: the tokens as one sealed text, so that a pair is never torn."""

    sealed_tokens: str | None = Field(default=None, sa_type=Text)
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    # Set before a refresh token is used and cleared when its fate is known: a time that has
    # passed tells of an answer that was lost.
    refreshing_until: datetime | None = None
    # Not before this time, when the neighbour asked us to wait.
    resume_at: datetime | None = None
    # Why nothing is asked of this neighbour until the person acts; None when all is well.
    locked: str | None = None
    # The last thing that went wrong, in a sentence; None when the last attempt went well.
    trouble: str | None = None


class SiteRow(Granted, table=True):
    """An account's website: where its endpoints are and what our token may do."""

    __tablename__ = "site"

    account_id: int = belongs_to("account", primary_key=True)
    micropub: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None = None
    issuer: str | None = None
    scope: str = ""
    # Posts leave at a gentle rate: the next one not before this time.
    next_send_at: datetime | None = None
    # Posts that failed in a row; why the site is paused because of that, None when it is not.
    failures: int = 0
    paused: str | None = None
    # What becomes of a post of which nobody can tell whether it arrived, see `outbox.Unsure`.
    unsure_choice: str = "ask"
    unsure_hours: int = 24
    # When to read next what the site holds, and whose turn it is.
    look_due_at: datetime | None = Field(default=None, index=True)
    looking_until: datetime | None = None
    # How far a look that takes several turns has come; None when none is under way.
    look_progress: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    look_failures: int = 0
    # Whether the next look reads all the site holds, and when that was last done.
    wants_all: bool = True
    adopted_at: datetime | None = None
    # When the last look ended, and what it found, in a sentence.
    looked_at: datetime | None = None
    look_said: str | None = None
    # How the site shows its posts, see `lookup.Way`; None while nobody knows.
    shows: str | None = None
    # This database may be an old copy, as of then: what it does not know may be on the site.
    gate_at: datetime | None = None
    # Watches after this may be posted all the same; None: none may.
    gate_reached: datetime | None = None
    # When it was shut: what Trakt tells is to be read since then before anybody is asked.
    gate_shut_at: datetime | None = None
    # What its endpoint can do and how that is known, see `app.abilities`.
    abilities: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # The last test post and what became of it, see `app.trial`.
    trial: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)


class ConnectionRow(Granted, table=True):
    """An account's link to one user of one source. Without tokens it is disconnected."""

    __tablename__ = "connection"
    __table_args__ = (UniqueConstraint("account_id", "source", "source_user"),)

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    source: str
    source_user: str
    source_name: str
    # Watches from here on become posts; older ones are archived.
    start_at: datetime
    # The newest minute known, and the stamps of `last_activities` that were final.
    cursor: datetime | None = None
    movies_stamp: str | None = None
    episodes_stamp: str | None = None
    looked_at: datetime | None = None
    # When the first turn began that has not ended well yet: what became known since then became
    # known together.
    reading_since: datetime | None = None
    # When to compare everything with Trakt, whatever the stamps say.
    diff_due_at: datetime | None = None
    # When that was last done, what it found, and what Trakt itself counts.
    checked_at: datetime | None = None
    check_found: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # What Trakt's maps say otherwise than its history, by item: not asked for again and again.
    oddities: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # The person said that what Trakt no longer shows is gone indeed.
    believes_absences: bool = False
    next_poll_at: datetime | None = Field(default=None, index=True)
    polling_until: datetime | None = None
    polled_at: datetime | None = None
    failures: int = 0
    # The next page of the history before ``archive_end_at``; None when all of it is read.
    archive_page: int | None = None
    archive_end_at: datetime | None = None
    archive_total: int | None = None
    archive_due_at: datetime | None = Field(default=None, index=True)
    archive_failures: int = 0
    # The stamps at which ratings and the like were last read, by kind, see `app.opinion`.
    opinion_stamps: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)


class PostRow(SQLModel, table=True):
    """What the site shows, or shall show; see `app.outbox` for its life."""

    __tablename__ = "post"
    __table_args__ = (
        Index("post_by_account", "account_id", "state"),
        Index("post_by_state", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    state: str
    due_at: datetime
    attempts: int = 0
    rediscovered: bool = False
    url: str | None = None
    trouble: str | None = None
    # The exact bytes that every attempt sends, rendered once.
    body: str | None = Field(default=None, sa_type=Text)
    slug: str | None = None
    # Posts leave in the order of what they tell.
    watched_at: datetime | None = None
    published_at: datetime | None = None
    # When the last attempt began, and how often the site was looked at since.
    sent_at: datetime | None = None
    looks: int = 0
    # Whether it was sent once more without a person's word.
    is_resent: bool = False
    # Why it is held or skipped, where not a person or the calendar decided, see `outbox.Why`.
    why: str | None = None
    # What the person's rules decided when its turn came, see `rules.Decision`.
    decision: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # The question that decides over it together with others.
    notice_id: int | None = Field(
        default=None, sa_column_args=[ForeignKey("notice.id", ondelete="SET NULL")], index=True
    )
    # A second post of the same watch: an earlier attempt had arrived after all.
    second_url: str | None = None


class WatchRow(SQLModel, table=True):
    """One viewing of one work by one account."""

    __tablename__ = "watch"
    __table_args__ = (
        Index("watch_by_time", "account_id", "watched_at"),
        Index("watch_by_work", "account_id", "work_key"),
        Index("watch_by_standing", "account_id", "standing"),
        Index("watch_by_removal", "account_id", "removed_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    post_id: int | None = Field(
        default=None, sa_column_args=[ForeignKey("post.id", ondelete="SET NULL")], index=True
    )
    standing: str
    # The caption of the work, for lists and for searching.
    title: str
    work_key: str | None = None
    work: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    # Genres, rating and the like, see `watch.About`; None: not known when it became known.
    about: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)
    source: str
    key: str
    watched_at: datetime | None = None
    # When the source told, twice, that this viewing is no more.
    removed_at: datetime | None = None


class SightingRow(SQLModel, table=True):
    """What one source said about one viewing, without its long texts where it could be read."""

    __tablename__ = "sighting"
    __table_args__ = (
        UniqueConstraint("connection_id", "key"),
        Index("sighting_by_item", "connection_id", "item"),
        Index("sighting_by_show", "connection_id", "show"),
        Index("sighting_by_confirm", "connection_id", "confirm_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    connection_id: int = belongs_to("connection")
    watch_id: int = belongs_to("watch", index=True)
    key: str
    seen_at: datetime
    payload: Any = Field(sa_column=Column(JSON))
    # Why the payload could not be read; None when it could.
    trouble: str | None = None
    # What the source said it is of, and when, for comparing with what the source says today:
    # ``movie:481`` or ``episode:62085``, with the show's id.
    item: str | None = None
    show: str | None = None
    at: datetime | None = None
    # When the source first did not show it any more, when to ask again, and since when it is
    # believed to be gone.
    missing_at: datetime | None = None
    confirm_at: datetime | None = None
    gone_at: datetime | None = None


class OpinionRow(SQLModel, table=True):
    """What a source's user said of a work or of one viewing, see `app.opinion.Opinion`."""

    __tablename__ = "opinion"
    __table_args__ = (UniqueConstraint("connection_id", "item", "kind"),)

    id: int | None = Field(default=None, primary_key=True)
    connection_id: int = belongs_to("connection")
    kind: str
    item: str
    rating: int | None = None
    words: str | None = Field(default=None, sa_type=Text)
    is_spoiler: bool = False
    at: datetime | None = None


class PosterRow(SQLModel, table=True):
    """A poster that an account's posts show, or shall show, and where it may be shown."""

    __tablename__ = "poster"
    __table_args__ = (UniqueConstraint("account_id", "source"),)

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    # Where Trakt keeps it, which no website may show.
    source: str
    # By which posts link to it; given once.
    key: str = Field(unique=True)
    # What it is, once it has been fetched; where the site keeps it, once it has been left there.
    media_type: str | None = None
    site_url: str | None = None
    failures: int = 0
    retry_at: datetime | None = None
    # Why it could not be had the last time.
    trouble: str | None = None


class PictureRow(SQLModel, table=True):
    """The picture of a poster that is linked: a cache, which fills again by itself."""

    __tablename__ = "picture"

    poster_id: int = belongs_to("poster", primary_key=True)
    account_id: int = belongs_to("account", index=True)
    kept_at: datetime
    size: int
    data: bytes


class EventRow(SQLModel, table=True):
    """One line of a watch's timeline, with the request and answer where there was one."""

    __tablename__ = "event"

    id: int | None = Field(default=None, primary_key=True)
    watch_id: int = belongs_to("watch", index=True)
    at: datetime
    said: str
    exchange: dict[str, Any] | None = Field(default=None, sa_type=JSON_OR_NULL)


class FoundRow(SQLModel, table=True):
    """A post that a site holds, as far as it may tell of a watch."""

    __tablename__ = "found"
    __table_args__ = (
        UniqueConstraint("account_id", "place"),
        Index("found_by_marker", "account_id", "marker"),
        Index("found_by_work", "account_id", "work_url"),
        Index("found_by_content", "account_id", "content_digest"),
    )

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    # Its URL or, where the site names none, a digest of what it says.
    place: str
    url: str | None = None
    # The id of the viewing it tells of, and the page of the work, as far as it names them.
    marker: str | None = None
    work_url: str | None = None
    published_at: datetime | None = None
    content_digest: str | None = None
    read_at: datetime
    # Our post that this is; None: not known to be one.
    post_id: int | None = Field(
        default=None, sa_column_args=[ForeignKey("post.id", ondelete="SET NULL")], index=True
    )


class NoticeRow(SQLModel, table=True):
    """Something a person is told or asked, once; see `app.notices`."""

    __tablename__ = "notice"
    __table_args__ = (UniqueConstraint("account_id", "kind", "subject"),)

    id: int | None = Field(default=None, primary_key=True)
    account_id: int = belongs_to("account")
    kind: str
    # What sets it apart from others of its kind, such as the id of a show.
    subject: str = ""
    said: str
    opened_at: datetime
    # When it ended, by an answer or by itself.
    closed_at: datetime | None = None
    # When it is to be sent to where the person wants to be told; None: it was, or need not be.
    tell_at: datetime | None = Field(default=None, index=True)
    tries: int = 0


class HeartbeatRow(SQLModel, table=True):
    """When the scheduler last worked on this database, and its last long silence: one row."""

    __tablename__ = "heartbeat"

    id: int = Field(default=1, primary_key=True)
    at: datetime
    # Which key it seals with, see `app.vault`; what an older version left does not say.
    key_name: str | None = None
    # The last time that nobody worked for much too long.
    silent_from: datetime | None = None
    silent_until: datetime | None = None
    # Seconds between two polls of one connection, where it is longer than wished.
    stretched: int | None = None


class WorkerRow(SQLModel, table=True):
    """A process that works beside others, and until when it need not say so again."""

    __tablename__ = "worker"

    name: str = Field(primary_key=True)
    until: datetime


class LeaseRow(SQLModel, table=True):
    """Which process is the scheduler, and until when it need not say so again: at most one row."""

    __tablename__ = "lease"

    id: int = Field(default=1, primary_key=True)
    # For people to read as well, e.g. ``process 4711 on web-1 (k3fa9x)``.
    owner: str
    until: datetime


class SessionRow(SQLModel, table=True):
    """One signed-in browser."""

    __tablename__ = "session"

    digest: str = Field(primary_key=True)
    account_id: int = belongs_to("account", index=True)
    expires_at: datetime
    signed_in_at: datetime
    # To the hour: each use is not a write.
    seen_at: datetime
    # In our words, see `app.web.browsers`.
    browser: str


class SpentRow(SQLModel, table=True):
    """A state of a sign-in or connect flow that has been used once and so never again."""

    __tablename__ = "spent"

    digest: str = Field(primary_key=True)
    expires_at: datetime


class ClaimRow(SQLModel, table=True):
    """Whose instance this is, when no setting names who may come in. At most one row."""

    __tablename__ = "claim"

    id: int = Field(default=1, primary_key=True)
    me: str | None = None
    # Of the one-time code in the log that a claim must present; None where none is needed.
    code_digest: str | None = None
