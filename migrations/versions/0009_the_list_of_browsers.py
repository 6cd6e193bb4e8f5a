"""When each browser was signed in and last used, and what it is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# How long a session lasted until now, from its sign-in on, and how long one now lasts unused.
LIFE, IDLE = timedelta(days=180), timedelta(days=30)
TIME = sa.DateTime(timezone=True)
NAMES = ("digest", "expires_at", "signed_in_at", "seen_at", "browser")
SESSION = sa.table("session", *(sa.column(n, TIME if n.endswith("_at") else None) for n in NAMES))


def upgrade() -> None:
    with op.batch_alter_table("session") as batch_op:
        batch_op.add_column(sa.Column("signed_in_at", TIME, nullable=True))
        batch_op.add_column(sa.Column("seen_at", TIME, nullable=True))
        batch_op.add_column(sa.Column("browser", sa.String(), nullable=True))
    bind, now = op.get_bind(), datetime.now(UTC)
    for digest, until in bind.execute(sa.select(SESSION.c.digest, SESSION.c.expires_at)).all():
        told = {
            "expires_at": min(until, now.replace(tzinfo=until.tzinfo) + IDLE),
            "signed_in_at": until - LIFE,
            "seen_at": now,
            "browser": "A browser",
        }
        bind.execute(sa.update(SESSION).where(SESSION.c.digest == digest).values(told))
    with op.batch_alter_table("session") as batch_op:
        batch_op.alter_column("signed_in_at", existing_type=TIME, nullable=False)
        batch_op.alter_column("seen_at", existing_type=TIME, nullable=False)
        batch_op.alter_column("browser", existing_type=sa.String(), nullable=False)
