"""Genres, rating and the like of what was watched."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("watch") as batch_op:
        batch_op.add_column(sa.Column("about", sa.JSON(none_as_null=True), nullable=True))
