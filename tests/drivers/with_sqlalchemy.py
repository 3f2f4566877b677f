"""SQLAlchemy over psycopg and over asyncpg, with its defaults: its connection pool, its dialects'
first questions, bulk inserts with RETURNING, streamed results, savepoints and reflection.

COPY, LISTEN and cancellation are the drivers' and are covered by their own scripts.
"""

import asyncio
import os
import ssl
import threading

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from common import CLIENTS, PATIENCE, Checks, Failed, run

checks = Checks("sqlalchemy")
T = "drv_sqlalchemy"


class Base(DeclarativeBase):
    """Root of the mapped classes."""


class Item(Base):
    """A row with a bit of everything."""

    __tablename__ = T
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.Text)
    document: Mapped[dict | None] = mapped_column(sa.JSON(none_as_null=True))
    data: Mapped[bytes | None]


class Mark(Base):
    """What the concurrent clients write."""

    __tablename__ = f"{T}_conc"
    id: Mapped[int] = mapped_column(primary_key=True)
    mark: Mapped[str]
    n: Mapped[int]


def url(driver):
    """The target as SQLAlchemy wants it."""
    env = os.environ
    return sa.URL.create(
        f"postgresql+{driver}", env["PGUSER"], env["PGPASSWORD"], env["PGHOST"], int(env["PGPORT"]), env["PGDATABASE"])


def async_tls():
    """TLS for asyncpg, which reads no PGSSLMODE through SQLAlchemy's URL."""
    mode = os.environ.get("PGSSLMODE", "disable")
    if mode == "disable":
        return False
    context = ssl.create_default_context(cafile=os.environ.get("PGSSLROOTCERT") or None)
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


engine = sa.create_engine(
    url("psycopg"), pool_size=CLIENTS, pool_timeout=PATIENCE, connect_args={"connect_timeout": PATIENCE})


def db_error(want, what, action, *args):
    """`action` fails with SQLAlchemy's wrapper around an error with this SQLSTATE."""
    try:
        action(*args)
    except exc.DBAPIError as error:
        checks.sqlstate(error.orig, want, what)
        return
    raise Failed(f"{what}: succeeded, want SQLSTATE {want}")


def setup():
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    names = sa.inspect(engine).get_columns(T)
    checks.equal([c["name"] for c in names], ["id", "name", "document", "data"], "reflection")


def orm():
    blob = os.urandom(10 * 1024 * 1024)
    with Session(engine) as session:
        session.add_all([Item(id=i, name=None if i % 7 == 0 else f"name {i}", document={"n": i}) for i in range(5000)])
        session.add(Item(id=9000, name="big", data=blob))
        session.commit()
        checks.equal(session.scalar(sa.select(sa.func.count()).select_from(Item)), 5001, "bulk insert")
        checks.equal(session.get(Item, 7).document, {"n": 7}, "JSON")
        checks.equal(session.get(Item, 7).name, None, "NULL")
        checks.equal(session.get(Item, 9000).data == blob, True, "10 MB there and back")
        session.rollback()
        for i in range(12):  # past psycopg's prepare threshold, over several transactions
            checks.equal(session.scalars(sa.select(Item.name).where(Item.id == 100 + i)).one(),
                         None if (100 + i) % 7 == 0 else f"name {100 + i}", "a cached statement")
            session.commit()
        session.execute(sa.update(Item).where(Item.id < 10).values(name="changed"))
        session.rollback()
        checks.equal(session.scalar(sa.select(sa.func.count()).where(Item.name == "changed")), 0, "rolled back")
        fresh = [Mark(mark="returning", n=i) for i in range(2500)]
        session.add_all(fresh)
        session.flush()
        checks.equal(len({m.id for m in fresh}), 2500, "keys by RETURNING")
        session.rollback()


def core():
    with engine.connect() as conn:
        got = conn.execute(sa.text("select generate_series(1, 5000)"), execution_options={"yield_per": 100})
        checks.equal([row[0] for row in got], list(range(1, 5001)), "a server-side cursor")
        conn.rollback()
        with conn.begin():
            conn.execute(sa.insert(Item), {"id": 9100, "name": "a"})
            with conn.begin_nested() as savepoint:
                db_error("23505", "violation in a savepoint", conn.execute, sa.insert(Item), {"id": 9100, "name": "b"})
                savepoint.rollback()
            conn.execute(sa.insert(Item), {"id": 9101, "name": "c"})
        checks.equal(conn.scalar(sa.select(sa.func.count()).where(Item.id.between(9100, 9199))), 2, "savepoints")
        conn.rollback()
        db_error("42601", "syntax error", conn.execute, sa.text("selec 1"))
        conn.rollback()
        db_error("42P01", "missing table", conn.execute, sa.text("select * from drv_missing"))
        db_error("25P02", "in a failed transaction", conn.execute, sa.text("select 1"))
        conn.rollback()
        conn.execute(sa.text("set local statement_timeout = '200ms'"))
        db_error("57014", "statement_timeout", conn.execute, sa.text("select pg_sleep(60)"))
        conn.rollback()
        conn.execute(sa.text("create temp table drv_temp (n int)"))
        conn.commit()
        conn.execute(sa.text("insert into drv_temp values (4), (5)"))
        conn.commit()
        checks.equal(conn.scalar(sa.text("select sum(n) from drv_temp")), 9, "a temporary table")
        conn.execute(sa.text("drop table drv_temp"))
        conn.commit()


def isolation():
    for level in ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"):
        with engine.connect().execution_options(isolation_level=level) as conn:
            want = "read committed" if level == "AUTOCOMMIT" else level.lower()
            checks.equal(conn.scalar(sa.text("show transaction_isolation")), want, "isolation level")
    with engine.connect() as conn:
        checks.equal(conn.scalar(sa.text("show transaction_isolation")), "read committed", "the pool's reset")
    engine.dispose()  # a reconnect
    with engine.connect() as conn:
        checks.equal(conn.scalar(sa.select(Item.name).where(Item.id == 101)), "name 101", "after a reconnect")


def concurrency():
    engine.dispose()
    barrier, failed = threading.Barrier(CLIENTS, timeout=60), []

    def client(number):
        word = f"client {number}"
        try:
            barrier.wait()
            for i in range(30):
                with Session(engine) as session:
                    session.add(Mark(mark=word, n=i))
                    session.flush()
                    got = session.execute(sa.select(sa.literal(word), sa.literal(i))).one()
                    checks.equal(tuple(got), (word, i), "a row carries its client's mark")
                    session.commit()
            with Session(engine) as session:
                rows = session.execute(sa.select(Mark.mark, Mark.n).where(Mark.mark == word).order_by(Mark.n)).all()
                checks.equal([tuple(r) for r in rows], [(word, i) for i in range(30)], "each write is there once")
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failed.append(error)

    threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]
    checks.equal(sum(t.is_alive() for t in threads), 0, "all clients came to their end")
    engine.dispose()


async def over_asyncpg():
    other = create_async_engine(
        url("asyncpg"), pool_size=CLIENTS, pool_timeout=PATIENCE,
        connect_args={"timeout": PATIENCE, "command_timeout": 60, "ssl": async_tls()})

    async def client(number):
        word = f"async {number}"
        for i in range(20):
            async with other.begin() as conn:
                await conn.execute(sa.insert(Mark), {"mark": word, "n": i})
                got = (await conn.execute(sa.select(sa.literal(word), sa.literal(i)))).one()
                checks.equal(tuple(got), (word, i), "a row carries its client's mark")
        async with other.connect() as conn:
            query = sa.select(Mark.n).where(Mark.mark == word).order_by(Mark.n)
            checks.equal(list((await conn.execute(query)).scalars()), list(range(20)), "each write is there once")

    async with other.connect() as conn:
        checks.equal(await conn.scalar(sa.select(Item.document).where(Item.id == 8)), {"n": 8}, "JSON")
        stream = await conn.stream(sa.text("select generate_series(1, 3000)"))
        checks.equal([row[0] async for row in stream], list(range(1, 3001)), "a streamed result")
        for name in ("pg_sleep(:x)", "drv_missing(:x)"):
            try:
                await conn.execute(sa.text("set local statement_timeout = '200ms'"))
                await conn.execute(sa.text(f"select {name}"), {"x": 60.0})
                raise Failed(f"{name} succeeded")
            except exc.DBAPIError as error:
                checks.sqlstate(error.orig, "57014" if "sleep" in name else "42883", name)
            await conn.rollback()
    await other.dispose()
    await asyncio.wait_for(asyncio.gather(*(client(i) for i in range(CLIENTS))), 60)
    await other.dispose()


def asyncpg_dialect():
    asyncio.run(over_asyncpg())


def cleanup():
    Base.metadata.drop_all(engine)
    checks.equal(sa.inspect(engine).has_table(T), False, "dropped")
    engine.dispose()


run(checks, [setup, orm, core, isolation, concurrency, asyncpg_dialect, cleanup])
