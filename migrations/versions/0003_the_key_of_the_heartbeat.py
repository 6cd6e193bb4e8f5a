"""The heartbeat says which key its scheduler seals with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("heartbeat") as batch_op:
        batch_op.add_column(sa.Column("key_name", sa.String(), nullable=True))
