"""The rows. Times are aware and in UTC; tokens are sealed; a digest stands for each secret."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, ForeignKey, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


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
    # The stamps at the last look, final or not.
    seen_stamps: str | None = None
    looked_at: datetime | None = None
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


class WatchRow(SQLModel, table=True):
    """One viewing of one work by one account."""

    __tablename__ = "watch"
    __table_args__ = (
        Index("watch_by_time", "account_id", "watched_at"),
        Index("watch_by_work", "account_id", "work_key"),
        Index("watch_by_standing", "account_id", "standing"),
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
    work: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    source: str
    key: str
    watched_at: datetime | None = None


class SightingRow(SQLModel, table=True):
    """What one source said about one viewing, word for word."""

    __tablename__ = "sighting"
    __table_args__ = (UniqueConstraint("connection_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    connection_id: int = belongs_to("connection")
    watch_id: int = belongs_to("watch", index=True)
    key: str
    seen_at: datetime
    payload: Any = Field(sa_column=Column(JSON))
    # Why the payload could not be read; None when it could.
    trouble: str | None = None


class EventRow(SQLModel, table=True):
    """One line of a watch's timeline, with the request and answer where there was one."""

    __tablename__ = "event"

    id: int | None = Field(default=None, primary_key=True)
    watch_id: int = belongs_to("watch", index=True)
    at: datetime
    said: str
    exchange: dict[str, Any] | None = Field(default=None, sa_type=JSON)


class SessionRow(SQLModel, table=True):
    """One signed-in browser."""

    __tablename__ = "session"

    digest: str = Field(primary_key=True)
    account_id: int = belongs_to("account", index=True)
    expires_at: datetime


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
