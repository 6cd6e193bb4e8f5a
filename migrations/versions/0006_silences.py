"""The last long silence of the scheduler, and who has seen it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("heartbeat") as batch_op:
        batch_op.add_column(sa.Column("silent_from", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("silent_until", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("account") as batch_op:
        batch_op.add_column(sa.Column("silence_seen_at", sa.DateTime(timezone=True), nullable=True))
