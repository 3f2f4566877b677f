"""Django over psycopg with its settings' defaults: a connection a request and persistent ones, its
migrations and inspectdb, `.iterator()` by named cursors, savepoints, row locks and time zones.

The application and its migrations are in `drv_django/`; all tables are in a schema that is named in
OPTIONS, which is how Django is told about schemas.
"""

import datetime
import io
import os
import threading

import django
import psycopg
from django.conf import settings

from common import PATIENCE, Checks, Failed, run

checks = Checks("django")
S = "drv_django"
REPLICAS = 3
"""Connections at once that hold a lock of the session, or wait for one."""
THREADS = 12
"""Threads with a connection each, persistent or one for each of their requests."""
LOCK = 81230042


def database(options=None, schema=S, **more):
    """An entry of DATABASES; TLS comes from the environment, by libpq."""
    env = os.environ
    found = {"connect_timeout": PATIENCE, **(options or {})}
    if schema:
        found["options"] = f"-c search_path={schema}"
    return {
        "ENGINE": "django.db.backends.postgresql", "NAME": env["PGDATABASE"], "USER": env["PGUSER"],
        "PASSWORD": env["PGPASSWORD"], "HOST": env["PGHOST"], "PORT": env["PGPORT"], "OPTIONS": found, **more}


settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
                    "django.contrib.postgres", "drv_django"],
    DATABASES={
        "default": database(),
        "kept": database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True),
        "bound": database({"server_side_binding": True, "prepare_threshold": 0}, CONN_MAX_AGE=60),
        "tokyo": database(TIME_ZONE="Asia/Tokyo", CONN_MAX_AGE=None),
        "bare": database(schema=None),
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="of the tests",
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.signals import request_finished, request_started  # noqa: E402
from django.db import Error, connection, connections, transaction  # noqa: E402
from django.db.models import Count, F, Sum  # noqa: E402
from django.db.models.functions import TruncDay  # noqa: E402

from drv_django.models import Author, Book  # noqa: E402


def one(alias, sql, *args):
    """The only row of a query, or its only value."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, args or None)
        row = cursor.fetchone()
    return row[0] if len(row) == 1 else row


def db_error(want, what, action, *args):
    """`action` fails with Django's wrapper around an error with this SQLSTATE."""
    try:
        action(*args)
    except Error as error:
        checks.sqlstate(error.__cause__, want, what)
        return
    raise Failed(f"{what}: succeeded, want SQLSTATE {want}")


def request(work, *args):
    """What a server does around a view: connections that are too old are closed before and after."""
    request_started.send(sender=None)
    try:
        return work(*args)
    finally:
        request_finished.send(sender=None)


def in_threads(number, work):
    """`work(i)` in that many threads, each with connections of its own."""
    failed = []

    def body(i):
        try:
            work(i)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=(i,), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]
    checks.equal(sum(t.is_alive() for t in threads), 0, "all threads came to their end")


def command(*args, **options):
    """The output of a management command."""
    out = io.StringIO()
    call_command(*args, stdout=out, verbosity=1, no_color=True, **options)
    return out.getvalue()


def setup():
    with psycopg.connect(autocommit=True) as conn:
        conn.execute(f"drop schema if exists {S} cascade")
        conn.execute(f"create schema {S}")


def applied():
    """The migrations of the application that are applied."""
    with connection.cursor() as cursor:
        cursor.execute("select name from django_migrations where app = 'drv_django' order by id")
        return [row[0] for row in cursor]


def columns(table):
    """Names and types, as Django reads them."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, table)
        return {c.name: connection.introspection.get_field_type(c.type_code, c) for c in found}


def migrations():
    checks.true("No changes detected" in command("makemigrations", check=True, dry_run=True), "models and migrations agree")
    said = command("migrate", "drv_django", "0002")
    checks.true("Applying drv_django.0002_rows... OK" in said, "what migrate says")
    checks.equal(applied(), ["0001_initial", "0002_rows"], "applied")
    checks.equal(list(Author.objects.order_by("id").values_list("mood", flat=True)),
                 ["sad", "sad", "sad", "glad", "glad"], "rows of a data migration")
    command("migrate")
    checks.equal(applied(), ["0001_initial", "0002_rows", "0003_constraints"], "all applied")
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "drv_django_author")
    checks.equal(found["drv_django_mood"]["columns"], ["mood"], "an index made concurrently")
    checks.true(any(c["unique"] and c["columns"] == ["name"] for c in found.values()), "a unique constraint")
    command("migrate", "drv_django", "0001")
    checks.equal(columns("drv_django_author"), {"id": "BigAutoField", "name": "CharField", "born": "DateTimeField"}, "back to the first")
    command("migrate", "drv_django", "zero")
    checks.equal((applied(), "drv_django_author" in connection.introspection.table_names()), ([], False), "back to nothing")
    checks.true("[X] 0001_initial" not in command("showmigrations", "drv_django"), "showmigrations")
    connection.close()


def migrations_at_once():
    """As when several replicas start: each migrates, behind an advisory lock."""
    def replica(_):
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [LOCK])
            try:
                # Not 0003: CREATE INDEX CONCURRENTLY waits for those who wait for the lock.
                command("migrate", "drv_django", "0002")
            finally:
                cursor.execute("select pg_advisory_unlock(%s)", [LOCK])
                checks.equal(cursor.fetchone(), (True,), "the lock was held to the end")

    in_threads(REPLICAS, replica)
    checks.equal((applied(), Author.objects.count()), (["0001_initial", "0002_rows"], 5), "migrated once")
    command("migrate")
    checks.equal(one("default", "select count(*) from django_content_type where app_label = 'drv_django'"), 2, "content types")
    connection.close()


def inspection():
    said = command("inspectdb", "drv_django_author", "drv_django_book")
    for line in ("class DrvDjangoAuthor(models.Model):", "name = models.CharField(unique=True, max_length=80)",
                 "data = models.JSONField(blank=True, null=True)", "tags = models.TextField()  # This field type is a guess.",
                 "author = models.ForeignKey(DrvDjangoAuthor, models.DO_NOTHING)",
                 "price = models.DecimalField(max_digits=8, decimal_places=2)", "db_table = 'drv_django_book'"):
        checks.true(line in said, f"inspectdb: {line}")
    tables = connection.introspection.table_names()
    checks.equal([t for t in tables if t.startswith("drv_")], ["drv_django_author", "drv_django_book"], "tables of the schema")
    connection.close()


def models():
    def view():
        first = Author.objects.get(name="author 1")
        Book.objects.bulk_create(Book(author=first, title=f"book {i}", price=i) for i in range(500))
        checks.equal(Book.objects.aggregate(n=Count("id"), total=Sum("price")), {"n": 500, "total": 124750}, "bulk insert")
        made, created = Author.objects.update_or_create(name="new", defaults={"tags": ["a", "b"], "data": {"n": [1, None]}})
        checks.equal((created, Author.objects.get(tags__contains=["b"]).data), (True, {"n": [1, None]}), "array and JSON")
        Author.objects.filter(pk=made.pk).update(mood=F("name"))
        checks.equal(Author.objects.filter(data__n__0=1).values_list("mood", flat=True)[0], "new", "JSON path, F()")
        checks.equal(made.delete()[0], 1, "delete")
        checks.equal(list(Book.objects.filter(title__in=["book 7", "book 8"]).select_related("author")
                          .values_list("author__name", "price").order_by("price")), [("author 1", 7), ("author 1", 8)], "join")
        db_error("23505", "unique violation", lambda: Author.objects.create(name="author 1"))
        db_error("22P02", "bad input", lambda: one("default", "select 'x'::int"))

    request(view)
    checks.equal(connection.connection, None, "CONN_MAX_AGE is 0: the request's end closes")


def iterators():
    """Named cursors: WITH HOLD outside of transactions."""
    def view(alias):
        rows = Book.objects.using(alias).order_by("id").values_list("title", flat=True)
        got = []
        for title in rows.iterator(chunk_size=50):
            if len(got) % 100 == 0:
                checks.equal(Author.objects.using(alias).count(), 5, "a query beside a cursor")
            got.append(title)
        checks.equal(got, [f"book {i}" for i in range(500)], f"iterator, {alias}")
        with transaction.atomic(using=alias):
            half = rows.iterator(chunk_size=10)
            checks.equal([next(half) for _ in range(25)][-1], "book 24", "an iterator in a transaction")
            half.close()
        checks.equal(sum(1 for _ in rows.iterator()), 500, "an iterator with the default size")

    for alias in ("default", "kept", "bound"):
        request(view, alias)
    connections.close_all()


def savepoints():
    done = []

    def view(alias):
        authors = Author.objects.using(alias)
        with transaction.atomic(using=alias):
            authors.create(name="outer")
            transaction.on_commit(lambda: done.append(alias), using=alias)

            def inner():
                with transaction.atomic(using=alias):
                    authors.create(name="inner")
                    authors.create(name="outer")

            db_error("23505", "violation in a savepoint", inner)
            with transaction.atomic(using=alias):
                authors.create(name="third")
        checks.equal(sorted(authors.filter(name__in=["outer", "inner", "third"]).values_list("name", flat=True)),
                     ["outer", "third"], "savepoints")
        try:
            with transaction.atomic(using=alias):
                authors.filter(name="third").delete()
                raise KeyError("the view's own trouble")
        except KeyError:
            pass
        checks.equal(authors.filter(name__in=["outer", "third"]).delete()[0], 2, "a transaction that was rolled back")

    for alias in ("default", "kept", "bound"):
        request(view, alias)
    checks.equal(done, ["default", "kept", "bound"], "on_commit")
    connections.close_all()


def row_locks():
    def view():
        with transaction.atomic():
            mine = Author.objects.select_for_update().get(name="author 2")
            with transaction.atomic(using="kept"):
                other = Author.objects.using("kept").select_for_update(skip_locked=True).order_by("name")
                checks.equal(list(other.values_list("name", flat=True)),
                             [f"author {i}" for i in (1, 3, 4, 5)], "SKIP LOCKED")

            def refused():
                with transaction.atomic(using="kept"):
                    Author.objects.using("kept").select_for_update(nowait=True).get(name="author 2")

            db_error("55P03", "NOWAIT", refused)
            mine.mood = "calm"
            mine.save(update_fields=["mood"])
        checks.equal(Author.objects.using("kept").get(name="author 2").mood, "calm", "what the lock's holder wrote")

    request(view)

    def advisory():
        checks.equal(one("kept", "select pg_try_advisory_lock(%s)", LOCK), True, "an advisory lock")
        checks.equal(one("default", "select pg_try_advisory_lock(%s)", LOCK), False, "which nobody else gets")

    request(advisory)
    checks.equal(request(one, "default", "select pg_try_advisory_lock(%s)", LOCK), False, "also after the request")
    checks.equal(one("kept", "select pg_advisory_unlock(%s)", LOCK), True, "until it is given back")
    connections.close_all()


def time_zones():
    at = datetime.datetime(2024, 1, 31, 20, 30, tzinfo=datetime.timezone.utc)

    def write():
        Author.objects.filter(name="author 3").update(born=at)
        checks.equal(one("default", "show timezone"), "UTC", "Django asks for UTC")
        checks.equal(one("default", "select born::text from drv_django_author where name = 'author 3'"),
                     "2024-01-31 20:30:00+00", "as text in UTC")

    request(write)
    for _ in range(3):
        def read():
            checks.equal(one("tokyo", "show timezone"), "Asia/Tokyo", "TIME_ZONE of a database")
            got = one("tokyo", "select born::text, extract(hour from born)::int from drv_django_author where name = 'author 3'")
            checks.equal(got, ("2024-02-01 05:30:00+09", 5), "as text in Tokyo")
            found = Author.objects.using("tokyo").get(name="author 3").born
            checks.equal((found, found.utcoffset().total_seconds()), (at, 32400), "an aware time")
            checks.equal(Author.objects.get(name="author 3").born.utcoffset().total_seconds(), 0, "in UTC")
            day = Author.objects.filter(name="author 3").annotate(d=TruncDay("born")).get().d
            checks.equal(day.isoformat(), "2024-01-31T00:00:00-06:00", "a day in the default TIME_ZONE")

        request(read)
    with connections["tokyo"].cursor() as cursor:
        cursor.execute("SET TIME ZONE 'Europe/Rome'")
    request(lambda: checks.equal(one("tokyo", "show timezone"), "Europe/Rome", "SET TIME ZONE outlives the request"))
    with transaction.atomic(using="tokyo"):
        with connections["tokyo"].cursor() as cursor:
            cursor.execute("SET TIME ZONE 'Asia/Kolkata'")
        transaction.set_rollback(True, using="tokyo")
    request(lambda: checks.equal(one("tokyo", "show timezone"), "Europe/Rome", "unless it is rolled back"))
    connections["tokyo"].close()
    checks.equal(one("tokyo", "show timezone"), "Asia/Tokyo", "a new connection")
    connections.close_all()
    # Without search_path in OPTIONS: the schema of this script is not in sight.
    checks.equal(one("bare", "select current_schemas(false)::text, to_regclass('drv_django_author') is null"), ("{public}", True), "bare")
    connections.close_all()


def persistent():
    """Connections that outlive requests, several at a time."""
    barrier = threading.Barrier(THREADS, timeout=60)

    def thread(i):
        seen = set()
        barrier.wait()
        for n in range(20):
            def view():
                connections["kept"].ensure_connection()
                seen.add(id(connections["kept"].connection))
                with transaction.atomic(using="kept"):
                    Book.objects.using("kept").create(author_id=author.pk, title=f"kept {i}", price=n)
                    checks.equal(one("kept", "select %s, %s::int", f"kept {i}", n), (f"kept {i}", n), "a row carries its mark")
                checks.equal(one("kept", "show search_path"), S, "search_path of OPTIONS")

            request(view)
        checks.equal(len(seen), 1, "one connection for all requests")
        got = Book.objects.using("kept").filter(title=f"kept {i}").aggregate(n=Count("id"), total=Sum("price"))
        checks.equal(got, {"n": 20, "total": 190}, "each write is there once")

    author = Author.objects.get(name="author 4")
    connection.close()
    in_threads(THREADS, thread)


def concurrency():
    """A connection for each request, in more threads than the pool has server connections."""
    author = Author.objects.get(name="author 5")
    connection.close()

    def thread(i):
        for n in range(6):
            def view():
                with transaction.atomic():
                    Book.objects.create(author=author, title=f"each {i}", price=n)
                    checks.equal(Book.objects.filter(title=f"each {i}").count(), n + 1, "its own writes")
                checks.equal(one("default", "show timezone"), "UTC", "its own TimeZone")

            request(view)

    in_threads(THREADS, thread)
    checks.equal(Book.objects.filter(author=author).aggregate(n=Count("id"), total=Sum("price")),
                 {"n": 6 * THREADS, "total": 15 * THREADS}, "each write is there once")
    connection.close()


def cleanup():
    command("flush", interactive=False)
    checks.equal(Author.objects.count(), 0, "flush")
    connections.close_all()
    with psycopg.connect(autocommit=True) as conn:
        conn.execute(f"drop schema {S} cascade")


run(checks, [setup, migrations, migrations_at_once, inspection, models, iterators, savepoints, row_locks, time_zones,
             persistent, concurrency, cleanup])
