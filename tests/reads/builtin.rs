//! Reads with what PostgreSQL brings: each goes to a replica, and is answered there as on the primary.

use crate::{Line, replica};

pub(crate) const LINES: &[Line] = &[
    // The forms of a query.
    replica("SELECT 1"),
    replica("select 'a', 2.5, NULL, true, B'101', X'1F', E'\\n'"),
    replica("SELECT 1;"),
    replica(";;SELECT 1;;"),
    replica("/* a comment */ SELECT 1 -- another"),
    replica("VALUES (1, 'a'), (2, 'b')"),
    replica("TABLE people ORDER BY id"),
    replica("(SELECT 1)"),
    replica("SELECT 1 UNION SELECT 2 ORDER BY 1"),
    replica("SELECT id FROM people EXCEPT ALL SELECT person FROM orders ORDER BY 1"),
    replica("(SELECT id FROM people ORDER BY id LIMIT 2) INTERSECT (VALUES (1), (2)) ORDER BY 1"),
    replica("WITH a AS (SELECT 1 AS n), b AS (SELECT n + 1 AS n FROM a) SELECT * FROM a, b"),
    replica("WITH a AS MATERIALIZED (SELECT id FROM people) SELECT count(*) FROM a"),
    replica(
        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
    ),
    replica(
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT 3 - n FROM r) \
         CYCLE n SET seen USING path SELECT n, seen FROM r",
    ),
    replica(
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) \
         SEARCH DEPTH FIRST BY n SET place SELECT n FROM r ORDER BY place",
    ),
    replica("SELECT"),
    replica("SELECT FROM people LIMIT 1"),
    replica("SELECT ALL id FROM ONLY people ORDER BY id DESC FETCH FIRST 3 ROWS ONLY"),
    replica("SELECT id FROM people ORDER BY mood FETCH FIRST 1 ROW WITH TIES"),
    replica("SELECT DISTINCT mood FROM people ORDER BY 1"),
    replica("SELECT DISTINCT ON (mood) mood, id FROM people ORDER BY mood, id"),
    replica("SELECT id FROM people ORDER BY id USING > LIMIT 2 OFFSET 1"),
    // Joins and what stands in FROM.
    replica(
        "SELECT p.name, o.amount FROM people p JOIN orders o ON o.person = p.id ORDER BY o.id LIMIT 5",
    ),
    replica(
        "SELECT count(*) FROM people p LEFT JOIN orders o ON o.person = p.id AND o.amount > 50",
    ),
    replica("SELECT count(*) FROM orders a FULL JOIN orders b USING (id)"),
    replica("SELECT count(*) FROM people NATURAL JOIN (SELECT id FROM people) x"),
    replica("SELECT count(*) FROM people CROSS JOIN orders"),
    replica(
        "SELECT p.id, x.n FROM people p, LATERAL (SELECT count(*) AS n FROM orders WHERE person = p.id) x ORDER BY 1",
    ),
    replica("SELECT * FROM generate_series(1, 5) WITH ORDINALITY AS g (n, place)"),
    replica("SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b'])) AS x"),
    replica("SELECT * FROM json_to_recordset('[{\"a\":1}]') AS x (a int, b text)"),
    replica("SELECT * FROM (VALUES (1, 'a')) AS v (n, t)"),
    replica("SELECT x.* FROM XMLTABLE('/r/a' PASSING '<r><a>1</a></r>' COLUMNS a int PATH '.') x"),
    // Expressions.
    replica("SELECT id FROM people WHERE id IN (1, 2) OR id BETWEEN 5 AND 6 ORDER BY 1"),
    replica("SELECT id FROM people WHERE id NOT BETWEEN SYMMETRIC 20 AND 3 ORDER BY 1"),
    replica("SELECT id FROM people WHERE id = ANY (ARRAY[1, 2]) AND id <> ALL ('{3}') ORDER BY 1"),
    replica(
        "SELECT id FROM people p WHERE EXISTS (SELECT FROM orders WHERE person = p.id) ORDER BY 1",
    ),
    replica(
        "SELECT id FROM people WHERE id IN (SELECT person FROM orders WHERE amount > 90) ORDER BY 1",
    ),
    replica(
        "SELECT id FROM people WHERE (id, name) = (1, 'name 1') OR ROW(id, 1) < ROW(2, 2) ORDER BY 1",
    ),
    replica("SELECT (SELECT max(amount) FROM orders), ARRAY(SELECT id FROM people ORDER BY id)"),
    replica(
        "SELECT name LIKE 'name 1%', name ILIKE 'N%', name ~ '\\d$', name SIMILAR TO 'n%' FROM people ORDER BY id",
    ),
    replica("SELECT name LIKE '%!_%' ESCAPE '!' FROM people ORDER BY id"),
    replica(
        "SELECT CASE mood WHEN 'sad' THEN 1 ELSE 2 END, CASE WHEN id > 3 THEN 'x' END FROM people ORDER BY id",
    ),
    replica("SELECT COALESCE(NULL, 1), NULLIF(1, 1), GREATEST(1, 2), LEAST(1, 2)"),
    replica(
        "SELECT born IS NULL, (id > 3) IS NOT TRUE, mood IS DISTINCT FROM 'sad' FROM people ORDER BY id",
    ),
    replica("SELECT tags[1], tags[1:2], (ARRAY[[1, 2], [3, 4]])[2][1] FROM people ORDER BY id"),
    replica(
        "SELECT data -> 'n', data ->> 'n', data #> '{list,0}', data @> '{\"n\": 1}', data ? 'n' FROM people ORDER BY id",
    ),
    replica("SELECT data['n'] FROM people ORDER BY id"),
    replica(
        "SELECT '1'::int + CAST('2' AS bigint), date '2024-01-31' + interval '1 month', int '3'",
    ),
    replica("SELECT '{1,2}'::int[], ARRAY[1, 2]::text[], 'a'::varchar(3), 1.5::numeric(4, 2)"),
    replica(
        "SELECT timestamptz '2024-01-01 00:00+00' AT TIME ZONE 'UTC', EXTRACT(year FROM date '2024-01-01')",
    ),
    replica(
        "SELECT OVERLAY('abc' PLACING 'x' FROM 2), POSITION('b' IN 'abc'), SUBSTRING('abc' FROM 2 FOR 1), TRIM(BOTH 'x' FROM 'xax')",
    ),
    replica("SELECT name COLLATE \"C\" FROM people ORDER BY name COLLATE \"C\" DESC NULLS LAST"),
    replica("SELECT COLLATION FOR ('a'::text), NORMALIZE('a'), 'a' IS NORMALIZED"),
    replica("SELECT ROW(1, 'a'), (ROW(1, 2)) IS NOT NULL"),
    replica("SELECT 5 % 2, 2 ^ 3, |/ 4, @ -5, 1 << 2, 5 & 3, ~1, 'a' || 'b', -(-1)"),
    replica("SELECT 1 OPERATOR(pg_catalog.+) 2"),
    replica(
        "SELECT xmlelement(name a, xmlattributes(1 AS b), 'c'), xmlforest(1 AS x), xmlconcat('<a/>', '<b/>')",
    ),
    replica("SELECT xmlserialize(content '<a/>'::xml AS text), '<a/>'::xml IS DOCUMENT"),
    // Functions, aggregates, windows.
    replica("SELECT upper('a'), pg_catalog.lower('B'), \"length\"('abc'), round(2.5), abs(-1)"),
    replica(
        "SELECT count(*), sum(amount), avg(amount), min(at), max(at), bool_and(amount > 0) FROM orders",
    ),
    replica(
        "SELECT string_agg(name, ',' ORDER BY id DESC), array_agg(DISTINCT mood), jsonb_agg(id ORDER BY id) FROM people",
    ),
    replica("SELECT count(*) FILTER (WHERE mood = 'sad') FROM people"),
    replica(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY amount), mode() WITHIN GROUP (ORDER BY person) FROM orders",
    ),
    replica(
        "SELECT person, sum(amount) FROM orders GROUP BY person HAVING sum(amount) > 200 ORDER BY 1",
    ),
    replica(
        "SELECT mood, born, count(*), GROUPING(mood) FROM people GROUP BY ROLLUP (mood, born) ORDER BY 1, 2",
    ),
    replica("SELECT mood, count(*) FROM people GROUP BY GROUPING SETS ((mood), ()) ORDER BY 1"),
    replica(
        "SELECT id, row_number() OVER (ORDER BY id), lag(id) OVER w, sum(id) OVER (PARTITION BY mood ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM people WINDOW w AS (ORDER BY id) ORDER BY 1",
    ),
    replica("SELECT make_interval(days => 3), format('%s-%s', VARIADIC ARRAY['a', 'b'])"),
    replica(
        "SELECT to_char(at, 'YYYY-MM-DD'), date_trunc('day', at), age(at, timestamptz '2023-01-01') FROM orders ORDER BY id LIMIT 3",
    ),
    replica(
        "SELECT to_tsvector('english', 'Cats run') @@ plainto_tsquery('cat'), ts_headline('cats run', to_tsquery('cat'))",
    ),
    replica("SELECT md5('a'), encode(sha256('a'), 'hex'), hashtext('a')"),
    replica(
        "SELECT regexp_matches('a1b2', '\\d', 'g'), regexp_replace('abc', 'b', 'x'), regexp_split_to_array('a,b', ',')",
    ),
    replica("SELECT int4range(1, 5) @> 3, lower(int4range(1, 5)), int4multirange(int4range(1, 2))"),
    replica(
        "SELECT inet '10.0.0.1' << inet '10.0.0.0/8', host(inet '10.0.0.1'), masklen(inet '10.0.0.0/8')",
    ),
    replica("SELECT point(1, 2) <-> point(4, 6), area(box(point(0, 0), point(1, 1)))"),
    replica("SELECT row_to_json(p) FROM people p ORDER BY id LIMIT 2"),
    replica("SELECT jsonb_path_query(data, '$.list[*] ? (@ > 3)') FROM people ORDER BY id"),
    replica("SELECT * FROM jsonb_each('{\"a\": 1}'), jsonb_array_elements('[1, 2]')"),
    replica("SELECT generate_series(1, 3), unnest(ARRAY['a', 'b', 'c'])"),
    // Who and where, as far as it follows the session.
    replica(
        "SELECT CURRENT_USER, SESSION_USER, CURRENT_ROLE, CURRENT_CATALOG, CURRENT_SCHEMA, current_database()",
    ),
    replica(
        "SELECT now() IS NOT NULL, CURRENT_DATE = now()::date, CURRENT_TIMESTAMP(0) IS NOT NULL, LOCALTIME IS NOT NULL",
    ),
    replica(
        "SELECT transaction_timestamp() = statement_timestamp(), transaction_timestamp() = now()",
    ),
    replica("SELECT current_setting('app.tenant', true)"),
    replica("SELECT current_schemas(false), 'people'::regclass, to_regclass('s.people')"),
    // Parameters.
    replica("SELECT name FROM people WHERE id = $1"),
    replica("SELECT id FROM people WHERE name = $1 OR id > $2 ORDER BY id"),
    replica("SELECT $1::text"),
    replica("SELECT id FROM people ORDER BY id LIMIT $1 OFFSET $2"),
    // The catalog, as drivers, ORMs and psql read it.
    replica(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 's'::regnamespace ORDER BY 1",
    ),
    replica(
        "SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', '') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1, 2",
    ),
    replica(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
         (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = 's.people'::regclass AND a.attnum > 0 ORDER BY a.attnum",
    ),
    replica(
        "SELECT pg_get_viewdef('s.adults'::regclass), pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 's.people'::regclass",
    ),
    replica(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 's.orders'::regclass ORDER BY 1",
    ),
    replica(
        "SELECT typname, enumlabel FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid ORDER BY enumsortorder",
    ),
    replica(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 's' ORDER BY 1, ordinal_position",
    ),
    replica("SELECT tablename FROM pg_tables WHERE schemaname = 's' ORDER BY 1"),
    replica("SELECT indexname FROM pg_indexes WHERE schemaname = 's' ORDER BY 1"),
    replica("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"),
    replica(
        "SELECT has_table_privilege('s.people', 'SELECT'), has_schema_privilege('app', 's', 'USAGE')",
    ),
    replica(
        "SELECT obj_description('s.people'::regclass), pg_typeof(1), pg_column_size('abc'::text), pg_size_pretty(1024::bigint)",
    ),
    replica("SELECT extname, extversion FROM pg_extension ORDER BY 1"),
    replica("SELECT attname, n_distinct FROM pg_stats WHERE tablename = 'people' ORDER BY 1"),
    replica("SELECT oid, typname FROM pg_type WHERE typname = 'hstore'"),
    replica(
        "SELECT pg_get_serial_sequence('s.orders', 'id'), pg_get_functiondef('s.double'::regproc)",
    ),
    // Words that look dangerous and are not.
    replica("SELECT 'nextval(''numbers'')', $$DELETE FROM people$$, $q$ FOR UPDATE $q$"),
    replica("SELECT id AS random, name AS \"for update\" FROM people nextval ORDER BY id"),
    replica("SELECT nextval.id FROM people nextval WHERE nextval.id = 1"),
    replica("SELECT 1 AS into, 2 AS lock, 3 AS temp"),
    replica("/* tenantry: replica */ SELECT 1"),
    replica("SELECT 'a\\b', 'c\\d'"),
];
