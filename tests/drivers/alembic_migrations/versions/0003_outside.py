"""What no transaction may hold: an index made concurrently, a value added to an enum and used."""

from alembic import context, op

revision = "drv3"
down_revision = "drv2"
S = context.get_x_argument(as_dictionary=True).get("schema")
DOT = f'"{S}".' if S else ""


def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("book_title", "book", ["title"], schema=S, postgresql_concurrently=True)
        op.execute(f"alter type {DOT}mood add value if not exists 'calm'")
    op.execute(f"update {DOT}author set mood = 'calm' where id = 1")


def downgrade():
    op.execute(f"update {DOT}author set mood = 'sad' where id = 1")
    with op.get_context().autocommit_block():
        op.drop_index("book_title", "book", schema=S, postgresql_concurrently=True)
