"""When a gate was shut, so that nobody is asked before Trakt has been read since."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("site") as batch_op:
        batch_op.add_column(sa.Column("gate_shut_at", sa.DateTime(timezone=True), nullable=True))
    # Of a gate that is shut already it is known only that this was before the last heartbeat.
    op.execute(
        "UPDATE site SET gate_shut_at = (SELECT at FROM heartbeat WHERE id = 1) "
        "WHERE gate_at IS NOT NULL"
    )
