// JDBC with its defaults (server-side prepare from the fifth execution on, SET at connect), its COPY,
// fastpath and large object interfaces. One file: java -cp postgresql.jar Jdbc.java
//
// The target comes from the environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE,
// PGSSLROOTCERT). The first check that does not hold ends the program with a message.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOut;
import org.postgresql.fastpath.Fastpath;
import org.postgresql.fastpath.FastpathArg;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class Jdbc {
    /** Seconds that the whole program may take. */
    static final int OVERALL = 120;
    /** Seconds that one wait may take. */
    static final int PATIENCE = 20;
    /** Bytes of a big value. */
    static final int BIG = 10 * 1024 * 1024;
    /** Connections at once where a pool is expected to be smaller. */
    static final int CLIENTS = 20;
    static final AtomicInteger COUNT = new AtomicInteger();
    static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });
    static String section = "start";

    /** Something that may fail. */
    interface Action {
        void run() throws Exception;
    }

    static void equal(Object got, Object want, String what) {
        COUNT.incrementAndGet();
        if (!Objects.deepEquals(got, want)) {
            throw new AssertionError(what + ": got " + brief(got) + ", want " + brief(want));
        }
    }

    static String brief(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 300 ? text : text.substring(0, 300) + ".. (" + text.length() + " characters)";
    }

    static SQLException fails(String want, String what, Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException error) {
            equal(error.getSQLState(), want, what + " (SQLSTATE of: " + brief(error.getMessage()) + ")");
            return error;
        }
        throw new AssertionError(what + ": succeeded, want SQLSTATE " + want);
    }

    static <T> T within(Future<T> future) throws Exception {
        return future.get(PATIENCE, TimeUnit.SECONDS);
    }

    static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", System.getenv().getOrDefault("PGSSLMODE", "disable"));
        if (System.getenv("PGSSLROOTCERT") != null) {
            properties.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        }
        properties.setProperty("loginTimeout", "" + PATIENCE);
        properties.setProperty("socketTimeout", "60");
        for (int i = 0; i < options.length; i += 2) {
            properties.setProperty(options[i], options[i + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":"
                + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), properties);
    }

    static int execute(Connection c, String sql) throws SQLException {
        try (Statement statement = c.createStatement()) {
            statement.execute(sql);
            return statement.getUpdateCount();
        }
    }

    static List<Object> column(ResultSet rows) throws SQLException {
        List<Object> values = new ArrayList<>();
        while (rows.next()) {
            values.add(rows.getObject(1));
        }
        rows.close();
        return values;
    }

    static Object one(Connection c, String sql, Object... arguments) throws SQLException {
        try (PreparedStatement statement = c.prepareStatement(sql)) {
            for (int i = 0; i < arguments.length; i++) {
                statement.setObject(i + 1, arguments[i]);
            }
            return column(statement.executeQuery()).get(0);
        }
    }

    static void setup() throws Exception {
        try (Connection c = connect()) {
            execute(c, "drop table if exists drv_jdbc, drv_jdbc_copy, drv_jdbc_conc;"
                    + "create table drv_jdbc (id int primary key, name text, data bytea);"
                    + "create table drv_jdbc_copy (id int primary key, name text);"
                    + "create table drv_jdbc_conc (mark text, n int)");
        }
    }

    static void values() throws Exception {
        try (Connection c = connect()) {
            equal(one(c, "select ?::int + 1", 41), 42, "integer");
            equal(one(c, "select null::text"), null, "NULL");
            equal(one(c, "select ''"), "", "empty string");
            equal(one(c, "select 0.1::float8 + 0.2::float8"), 0.1 + 0.2, "extra_float_digits of the driver");
            byte[] blob = new byte[BIG];
            new Random(1).nextBytes(blob);
            equal(Arrays.equals((byte[]) one(c, "select ?::bytea", blob), blob), true, "10 MB there and back");
            List<Object> many = column(c.createStatement().executeQuery("select 'row ' || i from generate_series(1, 100000) i"));
            equal(List.of(many.size(), many.get(99999)), List.of(100000, "row 100000"), "many rows");
            try (Statement s = c.createStatement()) {
                equal(s.execute("select 1; insert into drv_jdbc (id) values (2); select 3"), true, "several statements");
                equal(column(s.getResultSet()), List.of(1), "first result");
                s.getMoreResults();
                equal(s.getUpdateCount(), 1, "second result");
                equal(s.getMoreResults(), true, "third result");
                equal(column(s.getResultSet()), List.of(3), "its row");
                s.execute("do $$ begin raise notice 'one'; raise warning 'two'; end $$");
                SQLWarning first = s.getWarnings();
                equal(List.of(first.getMessage(), first.getNextWarning().getMessage()), List.of("one", "two"), "notices");
            }
            equal(c.getMetaData().getTables(null, null, "drv_jdbc", null).next(), true, "metadata");
        }
    }

    static void prepared() throws Exception {
        for (int round = 0; round < 3; round++) { // each round is a reconnect whose names count from S_1 again
            try (Connection a = connect(); Connection b = connect();
                    PreparedStatement twice = a.prepareStatement("select ?::int * 2");
                    PreparedStatement shout = b.prepareStatement("select ?::text || '!'")) {
                for (int i = 0; i < 14; i++) {
                    a.setAutoCommit(i % 3 != 0);
                    twice.setInt(1, i);
                    shout.setString(1, "" + i);
                    equal(column(twice.executeQuery()), List.of(2 * i), "a statement past the threshold");
                    equal(column(shout.executeQuery()), List.of(i + "!"), "the same name, other text");
                    if (i % 3 == 0) {
                        a.commit();
                    }
                }
                equal(((PGStatement) twice).isUseServerPrepare(), true, "it was prepared on the server");
                equal(shout.getMetaData().getColumnCount(), 1, "described");
                equal(shout.getParameterMetaData().getParameterCount(), 1, "its parameters");
                a.setAutoCommit(true);
                fails("26000", "a missing statement", () -> execute(a, "execute drv_missing(1)"));
            }
        }
    }

    /** A statement that the driver believes to know; others take turns on all server connections meanwhile. */
    static void schemaChanges() throws Exception {
        try (Connection other = connect(); Connection c = connect("prepareThreshold", "-1");
                PreparedStatement insert = c.prepareStatement("insert into drv_jdbc_stale values (?, ?)");
                PreparedStatement all = c.prepareStatement("select v from drv_jdbc_stale order by id")) {
            execute(other, "drop table if exists drv_jdbc_stale; create table drv_jdbc_stale (id int, v int8)");
            insert.setInt(1, 1);
            insert.setLong(2, 7);
            insert.executeUpdate();
            equal(column(all.executeQuery()), List.of(7L), "before DDL");
            elsewhere(() -> {
                execute(other, "alter table drv_jdbc_stale alter column v type float8");
                insert.setInt(1, 2);
                insert.setLong(2, 8);
                insert.executeUpdate();
                equal(column(other.createStatement().executeQuery("select v from drv_jdbc_stale order by id")), List.of(7.0, 8.0), "written after DDL");
                equal(column(all.executeQuery()), List.of(7.0, 8.0), "read after DDL");
            });
            execute(other, "drop table drv_jdbc_stale");
        }
        try (Connection c = connect(); Connection other = connect();
                PreparedStatement all = c.prepareStatement("select * from drv_jdbc where id = 2")) {
            for (int i = 0; i < 7; i++) {
                equal(all.executeQuery().next(), true, "before DDL");
            }
            execute(other, "alter table drv_jdbc add column extra int");
            equal(all.executeQuery().getMetaData().getColumnCount(), 4, "a prepared statement after DDL, re-parsed by the driver");
        }
    }

    /** Runs the action while transactions of others have the server connections that were used last. */
    static void elsewhere(Action action) throws Exception {
        try (Connection a = connect(); Connection b = connect()) {
            for (Connection c : List.of(a, b)) {
                c.setAutoCommit(false);
                one(c, "select 1");
            }
            action.run();
            a.rollback();
            b.rollback();
        }
    }

    /** Server-side prepare from the first and the fifth execution on, by name or for everything, with each way of autosave. */
    static void thresholds() throws Exception {
        String[][] ways = {
            {"prepareThreshold", "1"}, {"prepareThreshold", "5"}, {"prepareThreshold", "-1"}, {"prepareThreshold", "0"},
            {"prepareThreshold", "1", "preparedStatementCacheQueries", "3"},
            {"preferQueryMode", "extendedCacheEverything"}, {"preferQueryMode", "extendedForPrepared"}, {"preferQueryMode", "simple"},
            {"autosave", "always"}, {"autosave", "conservative", "prepareThreshold", "1"}, {"autosave", "always", "cleanupSavepoints", "true"},
        };
        for (String[] way : ways) {
            String what = String.join(" ", way);
            try (Connection a = connect(way); Connection b = connect(way)) {
                a.setAutoCommit(false);
                for (int i = 0; i < 15; i++) {
                    equal(one(a, "select ?::int + " + i % 7, i), i + i % 7, what);
                    equal(one(b, "select ?::text || '" + i % 7 + "'", "" + i), "" + i + i % 7, what + ", another session");
                    if (i % 3 == 0) {
                        a.commit();
                    }
                    if (i % 5 == 0) {
                        boolean saved = what.startsWith("autosave always");
                        fails("22012", what + ": an error", () -> one(a, "select 1 / ?::int", 0));
                        if (saved) { // the driver has gone back to its savepoint
                            equal(one(a, "select ?::int", 5), 5, what + ": after an error");
                        } else {
                            fails("25P02", what + ": after an error", () -> one(a, "select ?::int", 5));
                        }
                        a.rollback();
                    }
                }
                try (PreparedStatement s = a.prepareStatement("select ?::int8")) {
                    for (int i = 0; i < 7; i++) {
                        s.setLong(1, i);
                        equal(column(s.executeQuery()), List.of((long) i), what + ", one statement");
                    }
                    String threshold = way[0].equals("prepareThreshold") ? way[1] : way[way.length - 1].equals("1") ? "1" : "5";
                    equal(s.unwrap(PGStatement.class).isUseServerPrepare(), !threshold.equals("0"), what + ": by name");
                }
            }
        }
    }

    /** Tables of one name with other types; setSchema says which. */
    static void twoSchemas() throws Exception {
        try (Connection c = connect()) {
            execute(c, "drop schema if exists drv_jdbc_x, drv_jdbc_y cascade;"
                    + "create schema drv_jdbc_x; create table drv_jdbc_x.same (v int8, w text); insert into drv_jdbc_x.same values (7, 'x');"
                    + "create schema drv_jdbc_y; create table drv_jdbc_y.same (v text, w int8); insert into drv_jdbc_y.same values ('y', 8)");
        }
        for (List<String> kind : List.of(List.of("0", "never"), List.of("1", "never"), List.of("1", "conservative"), List.of("5", "always"))) {
            String threshold = kind.get(0);
            String[] way = {"prepareThreshold", threshold, "autosave", kind.get(1)};
            try (Connection c = connect(way); Connection x = connect("currentSchema", "drv_jdbc_x", "prepareThreshold", threshold);
                    Connection y = connect("currentSchema", "drv_jdbc_y", "prepareThreshold", threshold)) {
                c.setAutoCommit(false);
                for (int i = 0; i < 20; i++) {
                    String schema = i % 2 == 0 ? "x" : "y";
                    c.setSchema("drv_jdbc_" + schema);
                    same(c, schema);
                    equal(c.getSchema(), "drv_jdbc_" + schema, "getSchema");
                    c.commit();
                    same(x, "x");
                    same(y, "y");
                    c.setSchema("public"); // is taken back
                    c.rollback();
                    same(c, schema);
                    c.commit();
                }
            }
        }
        try (Connection c = connect()) {
            execute(c, "drop schema drv_jdbc_x, drv_jdbc_y cascade");
        }
    }

    static void same(Connection c, String schema) throws Exception {
        List<Object> want = schema.equals("x") ? List.of(7L, "x") : List.of("y", 8L);
        try (PreparedStatement s = c.prepareStatement("select * from same where w is not null");
                ResultSet rows = s.executeQuery()) {
            rows.next();
            equal(List.of(rows.getObject(1), rows.getObject(2)), want, "the schema's own table");
        }
        equal(one(c, "select count(*) from same where v = ?", want.get(0)), 1L, "with a parameter of the column's type");
    }

    static void batches() throws Exception {
        try (Connection c = connect(); PreparedStatement insert = c.prepareStatement("insert into drv_jdbc (id, name) values (?, ?)")) {
            for (int i = 1000; i < 4000; i++) {
                insert.setInt(1, i);
                insert.setString(2, i % 7 == 0 ? null : "name " + i);
                insert.addBatch();
            }
            equal(Arrays.stream(insert.executeBatch()).sum(), 3000, "a batch is a pipeline");
            for (int id : new int[] {7000, 7001, 7000, 7002}) {
                insert.setInt(1, id);
                insert.setString(2, "x");
                insert.addBatch();
            }
            SQLException error = fails("23505", "violation in the middle of a batch", insert::executeBatch);
            equal(error instanceof BatchUpdateException, true, "as a batch's error");
            equal(one(c, "select count(*) from drv_jdbc where id >= 7000"), 0L, "the batch is undone");
        }
    }

    static void copy() throws Exception {
        try (Connection c = connect()) {
            CopyManager manager = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int i = 0; i < 50000; i++) {
                lines.append(i).append('\t').append(i % 7 == 0 ? "\\N" : "name " + i).append('\n');
            }
            byte[] bytes = lines.toString().getBytes(StandardCharsets.UTF_8);
            equal(manager.copyIn("copy drv_jdbc_copy from stdin", new ByteArrayInputStream(bytes)), 50000L, "COPY in");
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            manager.copyOut("copy (select * from drv_jdbc_copy order by id) to stdout", out);
            equal(Arrays.equals(out.toByteArray(), bytes), true, "COPY out gives what COPY took");
            byte[] bad = "60000\tx\nnot a number\ty\n".getBytes(StandardCharsets.UTF_8);
            fails("22P02", "COPY in of a bad row",
                    () -> manager.copyIn("copy drv_jdbc_copy from stdin", new ByteArrayInputStream(bad)));
            CopyIn aborted = manager.copyIn("copy drv_jdbc_copy from stdin");
            aborted.writeToCopy("70000\tx\n".getBytes(StandardCharsets.UTF_8), 0, 8);
            aborted.cancelCopy();
            CopyOut early = manager.copyOut("copy (select generate_series(1, 1000000000)) to stdout");
            equal(new String(early.readFromCopy(), StandardCharsets.UTF_8), "1\n", "the first row of a COPY out");
            c.unwrap(PGConnection.class).cancelQuery(); // in the midst of a flood of rows
            fails("57014", "a cancelled COPY out", () -> {
                while (early.readFromCopy() != null) { // what was under way when the cancel arrived
                }
            });
            equal(one(c, "select max(id) from drv_jdbc_copy"), 49999, "nothing of the failed COPYs");
        }
    }

    static void untilRunning(Connection eye, String word) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        String sql = "select count(*) from pg_stat_activity where state = 'active' and query like ? and pid <> pg_backend_pid()";
        while (!one(eye, sql, "%" + word + "%").equals(1L)) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(word + " does not run within " + PATIENCE + " s");
            }
            Thread.sleep(20);
        }
    }

    static void cancellation() throws Exception {
        try (Connection victim = connect(); Connection other = connect(); Connection eye = connect()) {
            Future<Object> bystander = THREADS.submit(() -> one(other, "select 'slept' from pg_sleep(2)"));
            for (int round = 0; round < 2; round++) {
                String word = "mark" + System.nanoTime();
                try (Statement sleep = victim.createStatement()) {
                    Future<SQLException> failed = THREADS.submit(() -> fails("57014", "a cancelled sleep",
                            () -> sleep.execute("select pg_sleep(90) /* " + word + " */")));
                    untilRunning(eye, word);
                    sleep.cancel();
                    within(failed);
                }
                equal(one(victim, "select 5"), 5, "usable after a cancel");
            }
            try (Statement timed = victim.createStatement()) {
                timed.setQueryTimeout(1);
                fails("57014", "the driver's own timeout is a cancel", () -> timed.execute("select pg_sleep(90)"));
            }
            equal(within(bystander), "slept", "another session is not cancelled");
            equal(one(victim, "select 6"), 6, "usable after a timeout");
        }
    }

    static void cursors() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("select generate_series(1, ?)")) {
                s.setFetchSize(100);
                for (int i = 0; i < 8; i++) { // past the threshold the portal's statement has a name
                    s.setInt(1, 250 + i);
                    ResultSet rows = s.executeQuery();
                    rows.next();
                    equal(one(c, "select 'between'"), "between", "a query beside a portal");
                    equal(column(rows).size(), 249 + i, "a portal read in parts");
                    c.commit();
                }
            }
            execute(c, "declare c cursor for select generate_series(1, 10)");
            equal(column(c.createStatement().executeQuery("fetch 3 from c")), List.of(1, 2, 3), "a declared cursor");
            c.commit();
            fails("34000", "a cursor that is gone", () -> execute(c, "fetch 1 from c"));
            c.rollback();
        }
    }

    static void timeouts() throws Exception {
        try (Connection c = connect("options", "-c statement_timeout=300")) {
            equal(one(c, "show statement_timeout"), "300ms", "statement_timeout at the start");
            fails("57014", "statement_timeout", () -> execute(c, "select pg_sleep(60)"));
            equal(one(c, "select 1"), 1, "usable after a timeout");
        }
        try (Connection c = connect(); Connection holder = connect()) {
            c.setAutoCommit(false);
            execute(c, "set local statement_timeout = '200ms'");
            fails("57014", "SET LOCAL", () -> execute(c, "select pg_sleep(60)"));
            c.rollback();
            equal(one(c, "show statement_timeout"), "0", "SET LOCAL ended with its transaction");
            c.rollback();
            holder.setAutoCommit(false);
            execute(holder, "lock table drv_jdbc_conc in access exclusive mode");
            execute(c, "set local lock_timeout = '200ms'");
            fails("55P03", "lock_timeout", () -> execute(c, "select * from drv_jdbc_conc"));
            c.rollback();
            holder.rollback();
        }
    }

    @SuppressWarnings("deprecation") // fastpath is the function call protocol, which is what is tried here
    static void functionCalls() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            LargeObjectManager manager = c.unwrap(PGConnection.class).getLargeObjectAPI();
            byte[] data = new byte[300000];
            new Random(2).nextBytes(data);
            long oid = manager.createLO();
            try (LargeObject large = manager.open(oid, LargeObjectManager.READWRITE)) {
                large.write(data);
                large.seek(100000);
                equal(Arrays.equals(large.read(1000), Arrays.copyOfRange(data, 100000, 101000)), true, "large object");
                equal(large.size(), 300000, "its size");
            }
            c.commit();
            equal(Arrays.equals((byte[]) one(c, "select lo_get(?)", oid), data), true, "by SQL");
            manager.delete(oid);
            c.commit();
            fails("42704", "a large object that is gone", () -> manager.open(oid));
            c.rollback();
            Fastpath calls = c.unwrap(PGConnection.class).getFastpathAPI();
            calls.addFunction("lo_creat", ((Long) one(c, "select 'lo_creat'::regproc::oid")).intValue());
            long made = calls.getOID("lo_creat", new FastpathArg[] {new FastpathArg(-1)});
            equal(one(c, "select lo_unlink(?)", made), 1, "a function call and its undoing");
            c.commit();
            c.setAutoCommit(true);
            long outside = calls.getOID("lo_creat", new FastpathArg[] {new FastpathArg(-1)});
            equal(one(c, "select lo_unlink(?)", outside), 1, "a function call without a transaction");
        }
    }

    static void failures() throws Exception {
        try (Connection c = connect()) {
            fails("42601", "syntax error", () -> execute(c, "selec 1"));
            try (PreparedStatement s = c.prepareStatement("select 1 / ?")) {
                for (int i = 0; i < 8; i++) {
                    s.setInt(1, 0);
                    fails("22012", "division by zero, past the threshold", s::executeQuery);
                    s.setInt(1, 1);
                    equal(column(s.executeQuery()), List.of(1), "the same statement");
                }
            }
            c.setAutoCommit(false);
            execute(c, "insert into drv_jdbc (id) values (50)");
            fails("23505", "unique violation", () -> execute(c, "insert into drv_jdbc (id) values (50)"));
            fails("25P02", "in a failed transaction", () -> execute(c, "select 1"));
            c.rollback();
            equal(one(c, "select count(*) from drv_jdbc where id = 50"), 0L, "rolled back");
            fails("22012", "error while rows flow", () -> one(c, "select 1 / (5000 - i) from generate_series(1, 9000) i"));
            c.rollback();
            fails("22012", "error in a string of statements", () -> execute(c, "select 1; select 1/0; select 3"));
            c.rollback();
            equal(one(c, "select 4"), 4, "usable after all of it");
        }
    }

    static void sessionState() throws Exception {
        try (Connection ear = connect(); Connection mouth = connect()) {
            execute(ear, "listen drv_jdbc_channel");
            execute(mouth, "notify drv_jdbc_channel, 'hello'");
            PGNotification[] heard = ear.unwrap(PGConnection.class).getNotifications(PATIENCE * 1000);
            equal(heard == null ? null : heard[0].getParameter(), "hello", "LISTEN and NOTIFY, while idle");
        }
        try (Connection c = connect(); Connection other = connect()) {
            execute(c, "create temp table drv_temp (n int)");
            execute(c, "insert into drv_temp values (1), (2)");
            equal(one(c, "select sum(n) from drv_temp"), 3L, "a temporary table");
            fails("42P01", "which nobody else sees", () -> one(other, "select * from drv_temp"));
            c.setSchema("pg_catalog");
            equal(one(c, "show search_path"), "pg_catalog", "SET stays");
            equal(one(other, "show search_path"), "\"$user\", public", "SET does not reach others");
            equal(one(c, "show application_name"), "PostgreSQL JDBC Driver", "the driver's own SET");
        }
    }

    static void transactions() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            execute(c, "insert into drv_jdbc (id) values (60)");
            Savepoint savepoint = c.setSavepoint();
            execute(c, "insert into drv_jdbc (id) values (61)");
            fails("23505", "violation in a savepoint", () -> execute(c, "insert into drv_jdbc (id) values (60)"));
            c.rollback(savepoint);
            execute(c, "insert into drv_jdbc (id) values (62)");
            c.commit();
            equal(one(c, "select string_agg(id::text, ' ' order by id) from drv_jdbc where id between 60 and 69"), "60 62", "savepoints");
            c.rollback();
            int[] levels = {Connection.TRANSACTION_READ_COMMITTED, Connection.TRANSACTION_REPEATABLE_READ, Connection.TRANSACTION_SERIALIZABLE};
            String[] names = {"read committed", "repeatable read", "serializable"};
            for (int i = 0; i < levels.length; i++) {
                c.setTransactionIsolation(levels[i]);
                equal(one(c, "show transaction_isolation"), names[i], "isolation level");
                c.rollback();
            }
            c.setReadOnly(true);
            fails("25006", "write in a read-only transaction", () -> execute(c, "delete from drv_jdbc"));
            c.rollback();
        }
    }

    static Void client(String word) throws Exception {
        try (Connection c = connect();
                PreparedStatement insert = c.prepareStatement("insert into drv_jdbc_conc values (?, ?)");
                PreparedStatement select = c.prepareStatement("select ?::text || ' ' || ?::int")) {
            c.setAutoCommit(false);
            for (int i = 0; i < 30; i++) {
                for (PreparedStatement s : List.of(insert, select)) {
                    s.setString(1, word);
                    s.setInt(2, i);
                }
                equal(insert.executeUpdate(), 1, "insert");
                equal(column(select.executeQuery()), List.of(word + " " + i), "a row carries its client's mark");
                c.commit();
            }
            equal(one(c, "select count(*) || ' ' || sum(n) from drv_jdbc_conc where mark = ?", word), "30 435", "each write is there once");
            c.rollback();
        }
        return null;
    }

    static void concurrency() throws Exception {
        List<Callable<Void>> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            String word = "client " + i;
            clients.add(() -> client(word));
        }
        for (Future<Void> done : THREADS.invokeAll(clients, 60, TimeUnit.SECONDS)) {
            done.get();
        }
    }

    static void cleanup() throws Exception {
        try (Connection c = connect()) {
            execute(c, "drop table drv_jdbc, drv_jdbc_copy, drv_jdbc_conc");
        }
    }

    static void run(String name, Action action) throws Exception {
        section = name;
        action.run();
    }

    static void all() throws Exception {
        run("setup", Jdbc::setup);
        run("values", Jdbc::values);
        run("prepared", Jdbc::prepared);
        run("schemaChanges", Jdbc::schemaChanges);
        run("thresholds", Jdbc::thresholds);
        run("twoSchemas", Jdbc::twoSchemas);
        run("batches", Jdbc::batches);
        run("copy", Jdbc::copy);
        run("cancellation", Jdbc::cancellation);
        run("cursors", Jdbc::cursors);
        run("timeouts", Jdbc::timeouts);
        run("functionCalls", Jdbc::functionCalls);
        run("failures", Jdbc::failures);
        run("sessionState", Jdbc::sessionState);
        run("transactions", Jdbc::transactions);
        run("concurrency", Jdbc::concurrency);
        run("cleanup", Jdbc::cleanup);
    }

    public static void main(String[] arguments) {
        Future<Void> work = THREADS.submit(() -> {
            all();
            return null;
        });
        try {
            work.get(OVERALL, TimeUnit.SECONDS);
        } catch (Exception error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            cause.printStackTrace();
            System.out.println("FAILED jdbc, " + section + ": " + cause);
            Runtime.getRuntime().halt(1);
        }
        System.out.println("ok jdbc: " + COUNT.get() + " checks");
    }
}
