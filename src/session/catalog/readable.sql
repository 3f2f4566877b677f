;
WITH RECURSIVE
builtin AS (
  SELECT oid, proname FROM pg_proc
  WHERE oid < 16384 AND (provolatile = 'v' OR proname ~ $r$^(pg_stat_get_.*|pg_(backend_pid|postmaster_start_time|conf_load_time|current_snapshot|current_xact_id.*|my_temp_schema|is_other_temp_schema|show_all_settings|cursor|prepared_statement|listening_channels|tablespace_location|tablespace_databases)|inet_(client|server)_.*|txid_current.*|version|.*_to_xml.*)$$r$)),
speaking AS (
  SELECT oid, relname FROM pg_class
  WHERE relnamespace = 'pg_catalog'::regnamespace AND oid < 16384 AND relkind = 'v'
    AND relname !~ '^pg_(group|indexes|matviews|policies|publication_tables|roles|rules|seclabels|shadow|stats|stats_ext|stats_ext_exprs|tables|user|user_mappings|views)$'),
own AS (
  SELECT p.oid, p.proname, p.provolatile,
    CASE WHEN l.lanname NOT IN ('c', 'internal') THEN lower(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)) END AS source
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.oid >= 16384 AND p.prokind IN ('f', 'w')
    AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)),
mentioned (oid, word) AS MATERIALIZED (
  SELECT DISTINCT o.oid, m[1] FROM own o, regexp_matches(o.source, '\w+', 'g') m WHERE o.provolatile <> 'v'),
mention (class, object, own) AS MATERIALIZED (
  SELECT 'pg_proc'::regclass::oid, p.oid, m.oid FROM mentioned m JOIN pg_proc p ON lower(p.proname::text) = m.word
  WHERE p.oid >= 16384
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, m.oid FROM mentioned m JOIN pg_class c ON lower(c.relname::text) = m.word
  WHERE c.oid >= 16384),
handled (type, function) AS MATERIALIZED (
  SELECT t.oid, f FROM pg_type t, unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout]::oid[]) f
  WHERE f >= 16384),
expression (class, object, nodes) AS MATERIALIZED (
  SELECT 'pg_rewrite'::regclass::oid, r.oid, r.ev_action::text FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
  WHERE c.relkind = 'v' AND r.ev_type = '1' AND r.oid >= 16384
  UNION ALL
  SELECT 'pg_policy'::regclass, oid, polqual::text FROM pg_policy WHERE polcmd IN ('r', '*')
  UNION ALL
  SELECT 'pg_constraint'::regclass, oid, conbin::text FROM pg_constraint WHERE contypid <> 0 AND oid >= 16384),
seeds (class, object) AS (
  SELECT 'pg_proc'::regclass::oid, oid FROM own WHERE provolatile = 'v'
  UNION
  SELECT 'pg_proc'::regclass, m.oid FROM mentioned m JOIN builtin b ON b.proname = m.word
  WHERE m.word NOT IN ('system', 'bernoulli', 'version')
  UNION
  SELECT 'pg_proc'::regclass, m.oid FROM mentioned m JOIN speaking s ON s.relname = m.word
  UNION
  SELECT 'pg_class'::regclass, oid FROM pg_class
  WHERE oid >= 16384 AND (relkind = 'f' OR relpersistence = 'u' AND relkind IN ('r', 'm', 'p', 'S'))
  UNION
  SELECT e.class, e.object FROM expression e
  WHERE e.nodes ~ ':hasForUpdate true|:tablesample \{'
    OR EXISTS (SELECT FROM regexp_matches(e.nodes, ':(?:funcid|aggfnoid|winfnoid|opfuncid|resultfuncid) (\d+)', 'g') m JOIN builtin b ON b.oid = m[1]::oid)
    OR EXISTS (SELECT FROM regexp_matches(e.nodes, ':relid (\d+)', 'g') m JOIN speaking s ON s.oid = m[1]::oid)
  UNION
  SELECT 'pg_operator'::regclass, o.oid FROM pg_operator o JOIN builtin b ON b.oid = o.oprcode WHERE o.oid >= 16384
  UNION
  SELECT 'pg_cast'::regclass, c.oid FROM pg_cast c JOIN builtin b ON b.oid = c.castfunc WHERE c.oid >= 16384),
reached (class, object) AS (
  SELECT class, object FROM seeds
  UNION
  SELECT more.class, more.object FROM reached r, LATERAL (
    SELECT d.classid AS class, d.objid AS object FROM pg_depend d
    WHERE d.refclassid = r.class AND d.refobjid = r.object AND d.deptype IN ('n', 'a', 'i')
      AND (r.class IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
          AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_constraint'::regclass, 'pg_proc'::regclass)
        OR r.class = 'pg_proc'::regclass AND d.classid IN ('pg_operator'::regclass, 'pg_cast'::regclass)
        OR r.class = 'pg_type'::regclass AND d.classid = 'pg_type'::regclass)
    UNION ALL
    SELECT 'pg_class'::regclass, x.relation FROM (
      SELECT w.ev_class FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
      WHERE r.class = 'pg_rewrite'::regclass AND w.oid = r.object AND c.relkind = 'v' AND w.ev_type = '1'
      UNION ALL
      SELECT polrelid FROM pg_policy WHERE r.class = 'pg_policy'::regclass AND oid = r.object AND polcmd IN ('r', '*')
      UNION ALL
      SELECT inhparent FROM pg_inherits WHERE r.class = 'pg_class'::regclass AND inhrelid = r.object
      UNION ALL
      SELECT c.oid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE r.class = 'pg_type'::regclass AND a.atttypid = r.object AND c.relkind = 'c'
    ) AS x (relation)
    UNION ALL
    SELECT 'pg_type'::regclass, x.type FROM (
      SELECT contypid FROM pg_constraint WHERE r.class = 'pg_constraint'::regclass AND oid = r.object AND contypid <> 0
      UNION ALL
      SELECT reltype FROM pg_class WHERE r.class = 'pg_class'::regclass AND oid = r.object AND relkind = 'c'
      UNION ALL
      SELECT type FROM handled WHERE r.class = 'pg_proc'::regclass AND function = r.object
    ) AS x (type)
    UNION ALL
    SELECT 'pg_amop'::regclass, oid FROM pg_amop
    WHERE r.class = 'pg_operator'::regclass AND amopopr = r.object AND amopmethod IN (403, 405)
    UNION ALL
    SELECT 'pg_amproc'::regclass, p.oid FROM pg_amproc p JOIN pg_opfamily f ON f.oid = p.amprocfamily
    WHERE r.class = 'pg_proc'::regclass AND p.amproc = r.object AND f.opfmethod IN (403, 405)
    UNION ALL
    SELECT 'pg_proc'::regclass, m.own FROM mention m WHERE m.class = r.class AND m.object = r.object
  ) AS more),
callable AS (
  SELECT p.* FROM pg_proc p JOIN reached ON class = 'pg_proc'::regclass AND object = p.oid
  WHERE p.prokind <> 'p' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype))
SELECT 'reads' AS kind, '' AS name
UNION
SELECT 'read_function', proname::text FROM callable
UNION
SELECT 'read_field', p.proname::text FROM callable p JOIN pg_type t ON t.oid = p.proargtypes[0]
WHERE p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'p') AND t.typname NOT IN ('internal', 'cstring')
UNION
SELECT 'read_relation', relname::text FROM pg_class JOIN reached ON class = 'pg_class'::regclass AND object = oid
UNION
SELECT 'read_type', typname::text FROM pg_type JOIN reached ON class = 'pg_type'::regclass AND object = oid
UNION
SELECT 'read_type', t.typname::text FROM pg_type t JOIN pg_cast c ON c.casttarget = t.oid
JOIN reached ON class = 'pg_cast'::regclass AND object = c.oid
UNION
SELECT 'read_operator', oprname::text FROM pg_operator JOIN reached ON class = 'pg_operator'::regclass AND object = oid
UNION
SELECT 'read_everywhere', '' FROM reached
WHERE class IN ('pg_amop'::regclass, 'pg_amproc'::regclass)
  OR class = 'pg_cast'::regclass AND EXISTS (SELECT FROM pg_cast c WHERE c.oid = object AND c.castcontext <> 'e')
  OR class = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = object AND t.typtype = 'b' AND t.typcategory <> 'A')
LIMIT 2002
