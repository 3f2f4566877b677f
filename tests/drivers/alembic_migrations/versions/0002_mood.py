"""An enum, a column with a default, a data migration and a constraint."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "drv2"
down_revision = "drv1"
S = context.get_x_argument(as_dictionary=True).get("schema")
mood = postgresql.ENUM("sad", "glad", name="mood", schema=S, create_type=False)


def upgrade():
    mood.create(op.get_bind())
    op.add_column("author", sa.Column("mood", mood, server_default="sad", nullable=False), schema=S)
    author = sa.table("author", sa.column("id"), sa.column("mood", mood), schema=S)
    op.execute(author.update().where(author.c.id > 3).values(mood="glad"))
    found = op.get_bind().execute(sa.select(sa.func.count()).select_from(author).where(author.c.mood == "glad"))
    if found.scalar() != 2:
        raise RuntimeError("the data migration does not see its own rows")
    with op.batch_alter_table("author", schema=S) as batch:
        batch.alter_column("name", type_=sa.String(80))
        batch.create_unique_constraint("author_name", ["name"])


def downgrade():
    op.drop_constraint("author_name", "author", schema=S)
    op.alter_column("author", "name", type_=sa.String(40), schema=S)
    op.drop_column("author", "mood", schema=S)
    mood.drop(op.get_bind())
