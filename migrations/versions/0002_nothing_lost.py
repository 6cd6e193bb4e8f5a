"""Nothing lost, nothing posted twice: looks at sites, the diff with Trakt, notices."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("said", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tell_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "kind", "subject"),
    )
    with op.batch_alter_table("notice") as batch_op:
        batch_op.create_index("ix_notice_tell_at", ["tell_at"])

    op.create_table(
        "found",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("marker", sa.String(), nullable=True),
        sa.Column("work_url", sa.String(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_digest", sa.String(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "place"),
    )
    with op.batch_alter_table("found") as batch_op:
        batch_op.create_index("found_by_content", ["account_id", "content_digest"])
        batch_op.create_index("found_by_marker", ["account_id", "marker"])
        batch_op.create_index("found_by_work", ["account_id", "work_url"])
        batch_op.create_index("ix_found_post_id", ["post_id"])

    with op.batch_alter_table("account") as batch_op:
        batch_op.add_column(sa.Column("sealed_notify_urls", sa.Text(), nullable=True))

    with op.batch_alter_table("connection") as batch_op:
        batch_op.add_column(sa.Column("reading_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("diff_due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("check_found", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("oddities", sa.JSON(), nullable=True))
        batch_op.add_column(
            sa.Column("believes_absences", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.drop_column("seen_stamps")

    with op.batch_alter_table("post") as batch_op:
        batch_op.add_column(sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("looks", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(
            sa.Column("is_resent", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(sa.Column("why", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("notice_id", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("second_url", sa.String(), nullable=True))
        batch_op.create_index("ix_post_notice_id", ["notice_id"])
        batch_op.create_foreign_key(
            "post_notice_id_fkey", "notice", ["notice_id"], ["id"], ondelete="SET NULL"
        )

    with op.batch_alter_table("sighting") as batch_op:
        batch_op.add_column(sa.Column("item", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("show", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("missing_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("confirm_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("sighting_by_item", ["connection_id", "item"])
        batch_op.create_index("sighting_by_show", ["connection_id", "show"])
        batch_op.create_index("sighting_by_confirm", ["connection_id", "confirm_at"])

    with op.batch_alter_table("site") as batch_op:
        batch_op.add_column(sa.Column("next_send_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("paused", sa.String(), nullable=True))
        batch_op.add_column(
            sa.Column("unsure_choice", sa.String(), nullable=False, server_default="ask")
        )
        batch_op.add_column(
            sa.Column("unsure_hours", sa.Integer(), nullable=False, server_default="24")
        )
        batch_op.add_column(sa.Column("look_due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("looking_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("look_progress", sa.JSON(), nullable=True))
        batch_op.add_column(
            sa.Column("look_failures", sa.Integer(), nullable=False, server_default="0")
        )
        batch_op.add_column(
            sa.Column("wants_all", sa.Boolean(), nullable=False, server_default=sa.true())
        )
        batch_op.add_column(sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("look_said", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("shows", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("gate_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("gate_reached", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_site_look_due_at", ["look_due_at"])

    with op.batch_alter_table("watch") as batch_op:
        batch_op.add_column(sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    fill_sightings(op.get_bind())
    look_at_all_sites(op.get_bind())


def fill_sightings(connection: sa.Connection) -> None:
    """Write beside each payload what it is of, and when, as its watch has it."""
    sighting = sa.table(
        "sighting",
        sa.column("id", sa.Integer),
        sa.column("watch_id", sa.Integer),
        sa.column("item", sa.String),
        sa.column("show", sa.String),
        sa.column("at", sa.DateTime(timezone=True)),
    )
    watch = sa.table(
        "watch",
        sa.column("id", sa.Integer),
        sa.column("work", sa.JSON),
        sa.column("watched_at", sa.DateTime(timezone=True)),
    )
    last = 0
    while rows := connection.execute(
        sa.select(sighting.c.id, watch.c.work, watch.c.watched_at)
        .join_from(sighting, watch, watch.c.id == sighting.c.watch_id)
        .where(sighting.c.id > last)
        .order_by(sighting.c.id)
        .limit(1000)
    ).all():
        for key, work, at in rows:
            found = what(work, at)
            connection.execute(sighting.update().where(sighting.c.id == key).values(found))
        last = rows[-1].id


def what(work: dict[str, Any] | None, at: datetime | None) -> dict[str, Any]:
    """Return the columns that say what a sighting is of; nothing for one that is unreadable."""
    trakt = (work or {}).get("ids", {}).get("trakt")
    if work is None or trakt is None:
        return {"item": None, "show": None, "at": None}
    show = work.get("show", {}).get("ids", {}).get("trakt")
    return {
        "item": f"{work['kind']}:{trakt}",
        "show": str(show) if show else None,
        "at": at.replace(second=0, microsecond=0) if at else None,
    }


def look_at_all_sites(connection: sa.Connection) -> None:
    """Let every site be read once, soon; posts nobody knows about were sent when they stopped."""
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    due = sa.column("look_due_at", sa.DateTime(timezone=True))
    connection.execute(sa.update(sa.table("site", due)).values(look_due_at=long_ago))
    connection.execute(sa.text("UPDATE post SET sent_at = due_at WHERE state = 'unsure'"))
