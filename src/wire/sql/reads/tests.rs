use std::time::{Duration, Instant};

use super::*;

fn fate(text: &str) -> Result<(), Unfit> {
    reads_only(text.as_bytes()).map(drop)
}

fn names(text: &str) -> Vec<Name> {
    reads_only(text.as_bytes())
        .expect("a text that reads")
        .names()
        .to_vec()
}

#[test]
fn single_reads_are_fit() {
    for text in [
        "SELECT 1",
        "select * from t where a = $1;",
        " ; ;SELECT 1; ;",
        "VALUES (1), (2)",
        "TABLE t",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1",
        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
        "SELECT current_setting('app.tenant'), now(), CURRENT_TIMESTAMP, CURRENT_USER",
        "SELECT count(*) FILTER (WHERE a > 0) OVER (PARTITION BY b ORDER BY c) FROM t",
        "SELECT 'a\\_b'",
        "/* INSERT INTO t */ SELECT 'INSERT INTO t'",
        "SELECT * FROM pg_catalog.pg_class WHERE pg_table_is_visible(oid)",
        "SELECT * FROM information_schema.tables",
        "SELECT x FROM XMLTABLE('/a' PASSING '<a/>' COLUMNS x int PATH 'b')",
        "SELECT JSON_OBJECT('a': 1), JSON_VALUE(j, '$.a' RETURNING int) FROM t",
    ] {
        assert_eq!(fate(text), Ok(()), "{text}");
    }
}

#[test]
fn the_rest_is_unfit_and_says_why() {
    for (text, reason) in [
        ("", Unfit::NotSelect),
        (";", Unfit::NotSelect),
        ("SELECT 1; SELECT 2", Unfit::Several),
        ("SELECT 1; ; DROP FUNCTION f", Unfit::Several),
        ("SELECT '\\'; DROP FUNCTION f", Unfit::Several),
        ("INSERT INTO t VALUES (1)", Unfit::NotSelect),
        ("EXPLAIN SELECT 1", Unfit::NotSelect),
        ("SHOW ALL", Unfit::NotSelect),
        ("COPY t TO STDOUT", Unfit::NotSelect),
        ("SELECT * INTO u FROM t", Unfit::Writes),
        ("WITH t AS (SELECT 1) INSERT INTO u TABLE t", Unfit::Writes),
        (
            "WITH d AS (DELETE FROM t RETURNING *) TABLE d",
            Unfit::Writes,
        ),
        (
            "SELECT (WITH d AS (UPDATE t SET a = 1 RETURNING *) SELECT a FROM d)",
            Unfit::Writes,
        ),
        ("SELECT 1 FROM t FOR UPDATE", Unfit::Locks),
        ("SELECT (SELECT 1 FROM t FOR SHARE)", Unfit::Locks),
        (
            "(SELECT 1 FROM t FOR KEY SHARE) UNION SELECT 2",
            Unfit::Locks,
        ),
        (
            "WITH l AS (SELECT 1 FROM t FOR NO KEY UPDATE) SELECT 1",
            Unfit::Locks,
        ),
        ("SELECT nextval('s')", Unfit::Sequence),
        ("SELECT pg_catalog.\"nextval\"('s')", Unfit::Sequence),
        (
            "SELECT 1 ORDER BY (SELECT 1 LIMIT (SELECT setval('s', 1)))",
            Unfit::Sequence,
        ),
        ("SELECT set_config('a.b', 'c', true)", Unfit::SessionState),
        ("SELECT pg_advisory_xact_lock(1)", Unfit::SessionState),
        ("SELECT RANDOM()", Unfit::Volatile),
        ("SELECT uuidv7()", Unfit::Volatile),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (1)", Unfit::Volatile),
        ("SELECT pg_is_in_recovery()", Unfit::Volatile),
        ("SELECT pg_not_known_yet()", Unfit::Server),
        ("SELECT pg_backend_pid()", Unfit::Server),
        ("SELECT inet_server_addr()", Unfit::Server),
        ("SELECT current_setting('port')", Unfit::Server),
        ("SELECT current_setting($1)", Unfit::Server),
        ("SELECT * FROM pg_stat_activity", Unfit::Server),
        ("SELECT * FROM pg_catalog.pg_locks", Unfit::Server),
        ("TABLE pg_settings", Unfit::Server),
        ("SELECT * FROM pg_temp.t", Unfit::Temporary),
        ("SELECT * FROM pg_temp_3.t", Unfit::Temporary),
        ("SELECT FROM WHERE", Unfit::Unparsable),
        ("SELECT 'open", Unfit::Unparsable),
        ("SELECT 1\0", Unfit::Unparsable),
    ] {
        assert_eq!(fate(text), Err(reason), "{text}");
    }
}

/// Everywhere the grammar has an expression.
const PLACES: &[&str] = &[
    "SELECT random()",
    "SELECT DISTINCT ON (random()) 1",
    "SELECT 1 FROM t WHERE random() > 1",
    "SELECT 1 FROM t GROUP BY ROLLUP (random())",
    "SELECT 1 FROM t GROUP BY a HAVING random() > 1",
    "SELECT sum(1) OVER w FROM t WINDOW w AS (PARTITION BY random())",
    "SELECT sum(1) OVER (ORDER BY random()) FROM t",
    "SELECT sum(1) OVER (ORDER BY a ROWS random()::int PRECEDING) FROM t",
    "SELECT sum(random())",
    "SELECT array_agg(1 ORDER BY random())",
    "SELECT sum(1) FILTER (WHERE random() > 1)",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY random())",
    "SELECT 1 ORDER BY random()",
    "SELECT 1 LIMIT random()::int",
    "SELECT 1 OFFSET random()::int",
    "VALUES (1), (random())",
    "SELECT 1 UNION SELECT random()",
    "SELECT * FROM random()",
    "SELECT * FROM ROWS FROM (random(), now())",
    "SELECT * FROM a JOIN b ON random() > 1",
    "SELECT * FROM a, LATERAL (SELECT random()) x",
    "SELECT * FROM (VALUES (random())) v",
    "SELECT 1 IN (1, random())",
    "SELECT 1 IN (SELECT random())",
    "SELECT random() IN (SELECT 1)",
    "SELECT EXISTS (SELECT random())",
    "SELECT ARRAY[random()]",
    "SELECT ARRAY(SELECT random())",
    "SELECT (ARRAY[1])[random()::int]",
    "SELECT (ARRAY[1])[1:random()::int]",
    "SELECT (random()).x",
    "SELECT ROW(random())",
    "SELECT CASE random() WHEN 1 THEN 1 END",
    "SELECT CASE WHEN random() > 1 THEN 1 END",
    "SELECT CASE WHEN true THEN random() END",
    "SELECT CASE WHEN true THEN 1 ELSE random() END",
    "SELECT COALESCE(1, random())",
    "SELECT NULLIF(1, random())",
    "SELECT GREATEST(1, random())",
    "SELECT random() IS NULL",
    "SELECT (random() > 1) IS TRUE",
    "SELECT NOT (random() > 1)",
    "SELECT 1 BETWEEN 0 AND random()",
    "SELECT random()::text COLLATE \"C\"",
    "SELECT f(a => random())",
    "SELECT CAST(random() AS text)",
    "SELECT random() AT TIME ZONE 'UTC'",
    "SELECT 'a' LIKE random()::text ESCAPE 'b'",
    "SELECT EXTRACT(year FROM random())",
    "WITH x AS MATERIALIZED (SELECT random()) SELECT 1",
    "SELECT xmlelement(name a, xmlattributes(random() AS b))",
    "SELECT xmlforest(random() AS b)",
    "SELECT xmlserialize(content random() AS text)",
    "SELECT * FROM XMLTABLE('/a' PASSING random() COLUMNS x int)",
    "SELECT * FROM XMLTABLE('/a' PASSING x COLUMNS x int DEFAULT random())",
    "SELECT JSON_OBJECT('a': random())",
    "SELECT JSON_ARRAY(random())",
    "SELECT JSON_ARRAY(SELECT random())",
    "SELECT JSON_OBJECTAGG('a': random())",
    "SELECT JSON_ARRAYAGG(1 ORDER BY random())",
    "SELECT JSON_ARRAYAGG(random()) FILTER (WHERE true)",
    "SELECT JSON_VALUE(random(), '$')",
    "SELECT JSON_VALUE('1', '$' PASSING random() AS a)",
    "SELECT JSON_VALUE('1', '$' DEFAULT random() ON EMPTY)",
    "SELECT JSON_QUERY('1', '$' ERROR ON ERROR), random()",
    "SELECT JSON_SCALAR(random())",
    "SELECT JSON_SERIALIZE(random())",
    "SELECT JSON(random())",
    "SELECT random() IS JSON",
    "SELECT * FROM JSON_TABLE(random(), '$' COLUMNS (a int PATH '$'))",
    "SELECT * FROM JSON_TABLE('1', '$' COLUMNS (a int PATH '$' DEFAULT random() ON ERROR))",
];

#[test]
fn a_call_is_found_wherever_an_expression_may_stand() {
    for text in PLACES {
        assert_eq!(fate(text), Err(Unfit::Volatile), "{text}");
        let harmless = text.replace("random()", "pi()");
        assert_eq!(fate(&harmless), Ok(()), "{harmless}");
    }
}

#[test]
fn names_are_given_as_the_server_takes_them() {
    let text = "SELECT S.Fun(a), \"Quo\"(b), t.col, (c).d, 1 OPERATOR(s.@@@) 2, x::Own, y::_arr, \
                '1'::s.other[] FROM s.Tab JOIN \"View\" ON a = ANY (SELECT b ## c)";
    let wanted = [
        Name::Function("fun".into()),
        Name::Function("quo".into()),
        Name::Field("col".into()),
        Name::Field("d".into()),
        Name::Relation("tab".into()),
        Name::Relation("view".into()),
        Name::Type("_arr".into()),
        Name::Type("arr".into()),
        Name::Type("other".into()),
        Name::Type("own".into()),
        Name::Operator("##".into()),
        Name::Operator("@@@".into()),
        Name::Operator("=".into()),
    ];
    let mut found = names(text);
    found.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
}

/// Where a string ends depends on `standard_conforming_strings`.
#[test]
fn a_text_with_backslashes_must_be_fit_in_either_reading() {
    for text in [
        r"SELECT 'x\'' , nextval('s') --'",
        r"SELECT 'x\' , nextval('s'), '\'",
        r"SELECT 'x\'; DELETE FROM t --'",
    ] {
        assert!(fate(text).is_err(), "{text}");
    }
    assert_eq!(fate(r"SELECT 'x\d+' ~ E'\'a'"), Ok(()));
}

/// Neither its own stack nor that of its thread: a worker's is 2 MiB.
#[test]
fn what_is_nested_deep_is_refused() {
    let deep = |open: &str, inside: &str, close: &str, times| {
        let text = ["SELECT ", &open.repeat(times), inside, &close.repeat(times)];
        text.concat()
    };
    for text in [
        deep("1+(", "1", ")", 480),
        deep("(SELECT ", "1", ")", 650),
        deep("f(", "1", ")", 650),
        deep("ARRAY[", "1", "]", 650),
        deep("NOT ", "true", "", 1_900),
        deep("- ", "a", "", 1_900),
        deep("a||", "a", "", 600),
        deep("1 UNION SELECT ", "1", "", 600),
        deep("CASE WHEN ", "a", " THEN 1 END", 300),
        deep("1 FROM (SELECT ", "1", ")", 350),
        deep("", "1", "::a", 600),
    ] {
        let started = Instant::now();
        assert_eq!(fate(&text), Err(Unfit::Unparsable), "{}", &text[..30]);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    // No node of their own, or one for all of them.
    assert_eq!(fate(&deep("(", "1", ")", 900)), Ok(()));
    assert_eq!(fate(&deep("a AND ", "a", "", 900)), Ok(()));
    assert_eq!(fate(&deep("a||", "a", "", 40)), Ok(()));
    assert_eq!(fate(&deep("(", "1", ")", 10_000)), Err(Unfit::TooLarge));
}

#[test]
fn what_has_too_many_parts_is_refused() {
    let list = |item: &str, times| format!("SELECT {}", vec![item; times].join(","));
    assert_eq!(fate(&list("a", 900)), Ok(()));
    assert_eq!(fate(&list("a", 1_001)), Err(Unfit::TooLarge));
    assert_eq!(fate(&list("'a long string'", 900)), Ok(()));
    let doubtful = |times| fate(&["SELECT '\\'", &",1".repeat(times)].concat());
    assert_eq!(doubtful(500), Err(Unfit::Unparsable));
    assert_eq!(doubtful(2_100), Err(Unfit::TooLarge));
}

#[test]
fn garbage_is_refused() {
    let mut state = 1_u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u8::try_from(state >> 56).expect("eight bits")
    };
    let mut large = b"SELECT ".to_vec();
    large.extend(std::iter::repeat_with(&mut byte).take(1 << 20));
    assert_eq!(reads_only(&large), Err(Unfit::TooLarge));
    assert_eq!(reads_only(b"SELECT '\xff'"), Err(Unfit::Unparsable));
    for length in 0..2_000 {
        let mut text = b"SELECT ".to_vec();
        text.extend(std::iter::repeat_with(&mut byte).take(length % 97));
        let _fate = reads_only(&text);
        let ascii: Vec<u8> = text.iter().map(|byte| byte & 0x7f).collect();
        let _fate = reads_only(&ascii);
    }
}

/// Each worker has a thread of its own, and some end with their proxy.
#[test]
fn any_thread_may_ask() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(fate("SELECT a FROM t WHERE b = 'c'"), Ok(()));
                    assert_eq!(fate("SELECT FROM WHERE"), Err(Unfit::Unparsable));
                }
            });
        }
    });
}

#[test]
fn names_of_reasons_are_distinct() {
    let mut names: Vec<&str> = Unfit::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Unfit::ALL.len());
}
