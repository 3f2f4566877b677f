SET LOCAL search_path = pg_catalog;
SET LOCAL jit = off;
SET LOCAL max_parallel_workers_per_gather = 0;
WITH RECURSIVE
state (pattern) AS (VALUES ($r$\m(set_config|setseed|execute|listen|prepare|temp|temporary|hold|load|discard|reset|pg_temp\w*|\w*advisory\w*|\w+_to_xml\w*|ts_stat|ts_rewrite|dblink\w*|pg_backup\w*)\M|\mset\s+((session|local)\s+)?("?\w+"?(\.\w+)*\s*(=|\mto\M)|role|session|time\s+zone|names)$r$)),
opaque (pattern) AS (VALUES ($r$\m(setseed|load|seed|dblink\w*|pg_backup\w*)\M$r$)),
harmless (extension) AS (VALUES ('plpgsql'), ('pgcrypto'), ('uuid-ossp'), ('citext'), ('hstore'), ('pg_trgm'), ('btree_gin'), ('btree_gist'), ('intarray'), ('ltree'), ('cube'), ('earthdistance'), ('fuzzystrmatch'), ('unaccent'), ('isn'), ('lo'), ('seg'), ('bloom'), ('pg_stat_statements'), ('pg_buffercache'), ('pg_prewarm'), ('pgstattuple'), ('pg_freespacemap'), ('pg_visibility'), ('pageinspect'), ('amcheck'), ('postgres_fdw'), ('file_fdw'), ('dict_int'), ('dict_xsyn'), ('tsm_system_rows'), ('tsm_system_time'), ('sslinfo'), ('tcn'), ('tablefunc'), ('vector'), ('postgis'), ('adminpack')),
builtin (nodes, opaque) AS (
  SELECT ':(funcid|aggfnoid|winfnoid|opfuncid|resultfuncid) (' || string_agg(oid::int8::text, '|') || ') ',
    ':(funcid|opfuncid|resultfuncid) (' || string_agg(oid::int8::text, '|') FILTER (WHERE proname ~ '^(setseed|pg_backup)') || ') '
  FROM pg_proc
  WHERE pronamespace = 'pg_catalog'::regnamespace
    AND proname ~ '^(set_config|setseed|pg_(try_)?advisory_(lock|unlock).*|.*_to_xml.*|ts_stat|ts_rewrite|pg_backup.*)$'
    AND proname !~ 'xact'),
own AS (
  SELECT p.oid, p.proname, lower(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)) AS source, l.lanname,
    EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
              AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
              AND e.extname IN (SELECT extension FROM harmless)) AND p.proname <> 'set_limit' AS harmless
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND p.oid >= 16384 AND p.prokind <> 'a'),
seeds (class, object, opaque) AS (
  SELECT 'pg_proc'::regclass::oid, oid, lanname NOT IN ('sql', 'plpgsql') OR source ~ opaque.pattern FROM own, state, opaque
  WHERE NOT harmless AND (lanname NOT IN ('sql', 'plpgsql') OR source ~ state.pattern)
  UNION ALL
  SELECT 'pg_rewrite'::regclass, r.oid, r.ev_action::text ~ opaque FROM pg_rewrite r, builtin
  WHERE r.oid >= 16384 AND r.ev_action::text ~ nodes
  UNION ALL
  SELECT 'pg_attrdef'::regclass, a.oid, a.adbin::text ~ opaque FROM pg_attrdef a, builtin
  WHERE a.adbin::text ~ nodes
  UNION ALL
  SELECT 'pg_constraint'::regclass, c.oid, c.conbin::text ~ opaque FROM pg_constraint c, builtin
  WHERE c.oid >= 16384 AND c.conbin::text ~ nodes
  UNION ALL
  SELECT 'pg_policy'::regclass, p.oid, concat(p.polqual::text, p.polwithcheck::text) ~ opaque FROM pg_policy p, builtin
  WHERE concat(p.polqual::text, p.polwithcheck::text) ~ nodes
  UNION ALL
  SELECT 'pg_trigger'::regclass, t.oid, t.tgqual::text ~ opaque FROM pg_trigger t, builtin
  WHERE t.tgqual::text ~ nodes
  UNION ALL
  SELECT 'pg_operator'::regclass, o.oid, ':funcid ' || o.oprcode::oid::text || ' ' ~ opaque FROM pg_operator o, builtin
  WHERE o.oid >= 16384 AND ':funcid ' || o.oprcode::oid::text || ' ' ~ nodes
  UNION ALL
  SELECT 'pg_type'::regclass, c.contypid, c.conbin::text ~ opaque FROM pg_constraint c, builtin
  WHERE c.contypid <> 0 AND c.oid >= 16384 AND c.conbin::text ~ nodes),
reached (class, object, opaque) AS (
  SELECT class, object, opaque FROM seeds
  UNION
  SELECT more.class, more.object, r.opaque FROM reached r, LATERAL (
    SELECT d.classid AS class, d.objid AS object FROM pg_depend d
    WHERE d.refclassid = r.class AND d.refobjid = r.object AND d.deptype IN ('n', 'a', 'i')
      AND (r.class IN ('pg_proc'::regclass, 'pg_operator'::regclass)
        OR (r.class IN ('pg_class'::regclass, 'pg_type'::regclass)
          AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)))
    UNION ALL
    SELECT 'pg_class'::regclass, x.relation FROM (
      SELECT ev_class FROM pg_rewrite WHERE r.class = 'pg_rewrite'::regclass AND oid = r.object
      UNION ALL
      SELECT adrelid FROM pg_attrdef WHERE r.class = 'pg_attrdef'::regclass AND oid = r.object
      UNION ALL
      SELECT conrelid FROM pg_constraint WHERE r.class = 'pg_constraint'::regclass AND oid = r.object
      UNION ALL
      SELECT polrelid FROM pg_policy WHERE r.class = 'pg_policy'::regclass AND oid = r.object
      UNION ALL
      SELECT tgrelid FROM pg_trigger WHERE r.class = 'pg_trigger'::regclass AND oid = r.object
      UNION ALL
      SELECT indrelid FROM pg_index WHERE r.class = 'pg_class'::regclass AND indexrelid = r.object
      UNION ALL
      SELECT inhparent FROM pg_inherits WHERE r.class = 'pg_class'::regclass AND inhrelid = r.object
      UNION ALL
      SELECT confrelid FROM pg_constraint WHERE r.class = 'pg_class'::regclass AND conrelid = r.object
        AND contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
      UNION ALL
      SELECT attrelid FROM pg_attribute WHERE r.class = 'pg_type'::regclass AND atttypid = r.object
    ) AS x (relation)
    UNION ALL
    SELECT 'pg_proc'::regclass, o.oid FROM own o
    WHERE NOT o.harmless AND r.class IN ('pg_proc'::regclass, 'pg_class'::regclass)
      AND strpos(o.source, (CASE r.class
        WHEN 'pg_proc'::regclass THEN (SELECT lower(proname) FROM pg_proc WHERE oid = r.object)
        ELSE (SELECT lower(relname) FROM pg_class WHERE oid = r.object) END)::text) > 0
  ) AS more)
SELECT CASE WHEN opaque THEN 'opaque' ELSE 'name' END AS kind, relname::text AS name FROM pg_class JOIN reached ON class = 'pg_class'::regclass AND object = oid
UNION
SELECT CASE WHEN opaque THEN 'opaque' ELSE 'name' END, proname::text FROM pg_proc JOIN reached ON class = 'pg_proc'::regclass AND object = oid
UNION
SELECT CASE WHEN opaque THEN 'opaque' ELSE 'name' END, typname::text FROM pg_type JOIN reached ON class = 'pg_type'::regclass AND object = oid
UNION
SELECT 'operator', oprname::text FROM pg_operator JOIN reached ON class = 'pg_operator'::regclass AND object = oid
UNION
SELECT 'everywhere', '' FROM reached
WHERE class = 'pg_cast'::regclass
   OR (class = 'pg_event_trigger'::regclass)
   OR (class = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = object AND t.typtype = 'b'))
UNION
SELECT 'setting', found[1] FROM own
JOIN reached ON class = 'pg_proc'::regclass AND object = oid,
  LATERAL regexp_matches(source, $r$(?:set_config\s*\(\s*'|\mset\s+(?:session\s+)?)(\w+(?:\.\w+)+)$r$, 'g') AS found
LIMIT 2001
