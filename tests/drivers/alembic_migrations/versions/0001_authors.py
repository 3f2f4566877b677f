"""Two tables, and rows by a bulk insert."""

import sqlalchemy as sa
from alembic import context, op

revision = "drv1"
down_revision = None
S = context.get_x_argument(as_dictionary=True).get("schema")


def upgrade():
    author = op.create_table(
        "author",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("born", sa.DateTime(timezone=True), server_default=sa.func.now()),
        schema=S)
    op.create_table(
        "book",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("author_id", sa.ForeignKey(author.c.id), nullable=False),
        sa.Column("title", sa.Text),
        schema=S)
    op.bulk_insert(author, [{"id": i, "name": f"author {i}"} for i in range(1, 6)])


def downgrade():
    op.drop_table("book", schema=S)
    op.drop_table("author", schema=S)
