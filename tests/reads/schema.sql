-- Objects of every kind that a read may reach, owned by a superuser, used by the role app.
CREATE SCHEMA s;
GRANT USAGE ON SCHEMA s TO app;
SET search_path = s, public;

CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (one int, other text);

CREATE TABLE people (
    id int PRIMARY KEY,
    name text NOT NULL,
    mood mood DEFAULT 'fine',
    born date,
    tags text[] DEFAULT '{}',
    data jsonb DEFAULT '{}',
    shouted text GENERATED ALWAYS AS (upper(name)) STORED
);
INSERT INTO people (id, name, mood, born, tags, data)
SELECT n, 'name ' || n, CASE n % 2 WHEN 0 THEN 'sad' ELSE 'fine' END::mood,
    date '2000-01-01' + n, ARRAY['a', 't' || n], jsonb_build_object('n', n, 'list', jsonb_build_array(n, n + 1))
FROM generate_series(1, 20) n;

CREATE TABLE orders (id serial PRIMARY KEY, person int REFERENCES people, amount positive, at timestamptz);
INSERT INTO orders (person, amount, at)
SELECT 1 + n % 20, n, timestamptz '2024-01-01 00:00+00' + n * interval '1 hour' FROM generate_series(1, 100) n;

CREATE TABLE events (id int, day date, body text) PARTITION BY RANGE (day);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO events SELECT n, date '2023-12-01' + n, 'event ' || n FROM generate_series(1, 60) n;

CREATE SEQUENCE numbers;
SELECT nextval('numbers');
CREATE TABLE log (id int DEFAULT nextval('numbers'), text text);
INSERT INTO log (text) VALUES ('first');

-- A trigger and a rule: of no matter to reads.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM random(); RETURN new; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
CREATE RULE noted AS ON INSERT TO events DO ALSO INSERT INTO log (text) VALUES (new.body);

-- Functions that read.
CREATE FUNCTION double(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE FUNCTION ordered(int) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT sum(amount) FROM s.orders WHERE person = $1';
CREATE FUNCTION looked_up(who int) RETURNS text STABLE LANGUAGE plpgsql AS
    $$ DECLARE found text; BEGIN SELECT name INTO found FROM s.people WHERE id = who; RETURN found; END $$;
CREATE FUNCTION sad_ones() RETURNS SETOF people STABLE LANGUAGE sql AS $$ SELECT * FROM s.people WHERE mood = 'sad' $$;
CREATE FUNCTION full_name(people) RETURNS text STABLE LANGUAGE sql AS $$ SELECT $1.name || '!' $$;
CREATE FUNCTION in_standard(n int) RETURNS int STABLE BEGIN ATOMIC SELECT n + 1; END;
CREATE FUNCTION defaulted(a int, b int DEFAULT 2) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION variadic_sum(VARIADIC numbers int[]) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT sum(n) FROM unnest($1) n';
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE FUNCTION "Mixed Case"() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';

-- Functions that may do anything.
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s.numbers') $$;
CREATE FUNCTION written(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1, 'written'); RETURN $1; END $$;
CREATE FUNCTION undeclared(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION "Quoted Name"() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT nextval('s.numbers') $$;
CREATE FUNCTION noted(people) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1.id, 'noted'); RETURN $1.id; END $$;
CREATE FUNCTION rows_written() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER AS
    $$ INSERT INTO s.log VALUES (1, 'rows') RETURNING 1 $$;
CREATE FUNCTION summed(bigint, int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($2, 'summed'); RETURN $1 + $2; END $$;
CREATE AGGREGATE sum_writing(int) (SFUNC = summed, STYPE = bigint, INITCOND = '0');
-- Named as a function of PostgreSQL's own.
CREATE FUNCTION initcap(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1, 'initcap'); RETURN $1; END $$;
-- Declared to read, and do not.
CREATE FUNCTION says_stable() RETURNS bigint STABLE SECURITY DEFINER LANGUAGE sql AS $$ SELECT nextval('s.numbers') $$;
CREATE FUNCTION calls_written(int) RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN s.written($1); END $$;
CREATE FUNCTION calls_calls(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT s.calls_written($1)';
CREATE FUNCTION standard_written(n int) RETURNS int STABLE BEGIN ATOMIC SELECT s.written(n); END;

CREATE VIEW adults AS SELECT id, name FROM people WHERE born < date '2000-01-15';
CREATE VIEW totals AS SELECT person, ordered(person) AS total FROM orders GROUP BY person;
CREATE VIEW over_view AS SELECT count(*) FROM adults;
CREATE VIEW drawing AS SELECT nextval('s.numbers') AS number;
CREATE VIEW over_drawing AS SELECT number + 1 AS number FROM drawing;
CREATE VIEW writing AS SELECT written(id) AS id FROM people;
CREATE VIEW dicing AS SELECT random() AS eyes;
CREATE VIEW locking AS SELECT id FROM people FOR UPDATE;
CREATE VIEW active AS SELECT pid FROM pg_stat_activity;
CREATE VIEW recovering AS SELECT pg_is_in_recovery();
CREATE VIEW sampled AS SELECT id FROM people TABLESAMPLE BERNOULLI (100);
CREATE MATERIALIZED VIEW kept AS SELECT id, random() < 2 AS sure FROM people;
CREATE VIEW over_kept AS SELECT id, sure FROM kept;
CREATE FUNCTION through_view() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT number FROM s.drawing';

CREATE FUNCTION through_activity() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM pg_stat_activity';

CREATE UNLOGGED TABLE scratch (id int);
CREATE VIEW over_scratch AS SELECT id FROM scratch;
CREATE TABLE half (id int, part int) PARTITION BY LIST (part);
CREATE UNLOGGED TABLE half_1 PARTITION OF half FOR VALUES IN (1);
CREATE TABLE half_2 PARTITION OF half FOR VALUES IN (2);

CREATE FUNCTION same(int, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1::text = $2';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = same);
CREATE FUNCTION same_noted(int, text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1, $2); RETURN true; END $$;
CREATE OPERATOR ##== (LEFTARG = int, RIGHTARG = text, FUNCTION = same_noted);
CREATE VIEW operated AS SELECT id FROM people WHERE id ##== name;

CREATE FUNCTION to_pair(int) RETURNS pair IMMUTABLE LANGUAGE sql AS $$ SELECT ROW($1, 'cast')::s.pair $$;
CREATE CAST (int AS pair) WITH FUNCTION to_pair(int);
CREATE TYPE noted_pair AS (one int, other text);
CREATE FUNCTION to_noted(int) RETURNS noted_pair LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1, 'cast'); RETURN ROW($1, 'noted'); END $$;
CREATE CAST (int AS noted_pair) WITH FUNCTION to_noted(int);
CREATE FUNCTION checked(int) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO s.log VALUES ($1, 'checked'); RETURN true; END $$;
CREATE DOMAIN noted_int AS int CHECK (checked(VALUE));
CREATE DOMAIN narrow_int AS noted_int CHECK (VALUE < 100);
CREATE TYPE with_domain AS (part noted_int);
CREATE TABLE of_domain (id noted_int);
INSERT INTO of_domain VALUES (1);

CREATE TABLE secrets (id int, owner text);
INSERT INTO secrets VALUES (1, 'app'), (2, 'postgres');
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (owner = current_user);
CREATE TABLE settings_rows (id int, tenant text);
INSERT INTO settings_rows VALUES (1, 'acme'), (2, 'other');
ALTER TABLE settings_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_setting ON settings_rows USING (tenant = coalesce(nullif(current_setting('app.tenant', true), ''), 'acme'));
CREATE TABLE audited (id int);
INSERT INTO audited VALUES (1);
ALTER TABLE audited ENABLE ROW LEVEL SECURITY;
CREATE POLICY audit ON audited USING (written(id) > 0);
CREATE TABLE checked_writes (id int);
INSERT INTO checked_writes VALUES (1);
ALTER TABLE checked_writes ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON checked_writes FOR SELECT USING (true);
CREATE POLICY writers ON checked_writes FOR INSERT WITH CHECK (written(id) > 0);

GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA s TO app;
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA s TO app;
CREATE STATISTICS spread ON mood, born FROM people;
ANALYZE;

-- Those of PostgreSQL's contrib, which come with the server on Debian.
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION pgcrypto SCHEMA public;
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION ltree SCHEMA public;
CREATE EXTENSION "uuid-ossp" SCHEMA public;
CREATE EXTENSION dblink SCHEMA public;
CREATE EXTENSION postgres_fdw SCHEMA public;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE far (id int) SERVER elsewhere;
CREATE VIEW over_far AS SELECT id FROM far;
GRANT SELECT ON far, over_far TO app;
