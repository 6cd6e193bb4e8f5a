"""The rules of each person, and what they decided over a post."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table, name in (("account", "rules"), ("post", "decision")):
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column(name, sa.JSON(none_as_null=True), nullable=True))
