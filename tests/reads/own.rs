//! What the tenant's own schema brings: the catalog decides.

use tenantry::wire::sql::Unfit;

use crate::{Line, doubt, fails, replica};

/// SQLSTATE read_only_sql_transaction.
const READ_ONLY: &str = "25006";
/// SQLSTATE feature_not_supported: what a standby does not hold.
const NOT_HELD: &str = "0A000";

pub(crate) const LINES: &[Line] = &[
    // Tables of all kinds.
    replica("SELECT id, name, mood, shouted FROM s.people ORDER BY id"),
    replica("SELECT * FROM orders ORDER BY id LIMIT 3"),
    replica("SELECT count(*) FROM events WHERE day >= '2024-01-01'"),
    replica("SELECT * FROM events_2024 ORDER BY id LIMIT 2"),
    replica("SELECT p.* FROM people p WHERE p.data ->> 'n' = '3'"),
    replica("SELECT last_value, is_called FROM numbers"),
    replica("SELECT text FROM log"),
    replica(
        "SELECT mood::text, 'sad'::mood < 'fine'::mood, enum_range(NULL::mood) FROM people ORDER BY id LIMIT 1",
    ),
    replica("SELECT 5::positive, CAST('6' AS s.positive)"),
    replica("SELECT ROW(1, 'a')::pair, (ROW(1, 'a')::pair).one"),
    fails("SELECT * FROM scratch", Unfit::Relation, NOT_HELD),
    fails("SELECT * FROM over_scratch", Unfit::Relation, NOT_HELD),
    fails("SELECT * FROM half", Unfit::Relation, NOT_HELD),
    fails("SELECT * FROM half_1", Unfit::Relation, NOT_HELD),
    replica("SELECT * FROM half_2"),
    doubt(
        "SELECT * FROM far",
        Unfit::Relation,
        "the far server is reached by whoever is asked",
    ),
    doubt(
        "SELECT * FROM over_far",
        Unfit::Relation,
        "as the foreign table below it",
    ),
    // Views.
    replica("SELECT * FROM adults ORDER BY id"),
    replica("SELECT * FROM totals ORDER BY person"),
    replica("SELECT * FROM over_view"),
    replica("SELECT count(*) FROM kept WHERE sure"),
    replica("SELECT id FROM over_kept ORDER BY id"),
    fails("SELECT * FROM drawing", Unfit::Relation, READ_ONLY),
    fails("SELECT * FROM \"drawing\"", Unfit::Relation, READ_ONLY),
    fails(
        "SELECT number FROM S.Over_Drawing",
        Unfit::Relation,
        READ_ONLY,
    ),
    fails("SELECT * FROM writing", Unfit::Relation, READ_ONLY),
    fails(
        "SELECT 1 WHERE EXISTS (SELECT FROM writing)",
        Unfit::Relation,
        READ_ONLY,
    ),
    fails("SELECT * FROM locking", Unfit::Relation, READ_ONLY),
    fails("SELECT * FROM operated", Unfit::Relation, READ_ONLY),
    doubt(
        "SELECT * FROM dicing",
        Unfit::Relation,
        "volatile: never the same twice",
    ),
    doubt(
        "SELECT * FROM sampled",
        Unfit::Relation,
        "a sample: never the same twice",
    ),
    doubt(
        "SELECT count(*) > 0 FROM active",
        Unfit::Relation,
        "activity of one server",
    ),
    doubt(
        "TABLE recovering",
        Unfit::Relation,
        "tells a standby from a primary",
    ),
    doubt(
        "SELECT x.id FROM people x WITH ORDINALITY",
        Unfit::Unparsable,
        "no SQL at all",
    ),
    // Functions.
    replica("SELECT double(4), s.double(id) FROM people ORDER BY id"),
    replica("SELECT ordered(3), looked_up(4), in_standard(1)"),
    replica("SELECT id FROM sad_ones() ORDER BY id"),
    replica("SELECT (sad_ones()).id ORDER BY 1"),
    replica("SELECT p.full_name, full_name(p), (p).full_name FROM people p ORDER BY id LIMIT 2"),
    replica(
        "SELECT defaulted(1), defaulted(a => 1, b => 5), variadic_sum(1, 2, 3), variadic_sum(VARIADIC ARRAY[1, 2])",
    ),
    replica("SELECT product(id) FROM people WHERE id < 6"),
    replica("SELECT product(id) OVER (ORDER BY id) FROM people WHERE id < 6"),
    replica("SELECT \"Mixed Case\"()"),
    fails("SELECT counted()", Unfit::Function, READ_ONLY),
    fails("SELECT s.counted()", Unfit::Function, READ_ONLY),
    fails("SELECT COUNTED()", Unfit::Function, READ_ONLY),
    fails("SELECT \"Quoted Name\"()", Unfit::Function, READ_ONLY),
    fails("SELECT written(1)", Unfit::Function, READ_ONLY),
    fails(
        "SELECT id FROM people WHERE written(id) > 0",
        Unfit::Function,
        READ_ONLY,
    ),
    fails("SELECT * FROM rows_written()", Unfit::Function, READ_ONLY),
    fails(
        "SELECT * FROM generate_series(1, written(2))",
        Unfit::Function,
        READ_ONLY,
    ),
    fails(
        "SELECT sum_writing(id) FROM people",
        Unfit::Function,
        READ_ONLY,
    ),
    fails("SELECT noted(p) FROM people p", Unfit::Function, READ_ONLY),
    fails("SELECT p.noted FROM people p", Unfit::Function, READ_ONLY),
    fails("SELECT (p).noted FROM people p", Unfit::Function, READ_ONLY),
    fails(
        "SELECT (SELECT p FROM people p LIMIT 1).noted",
        Unfit::Function,
        READ_ONLY,
    ),
    fails("SELECT initcap(5)", Unfit::Function, READ_ONLY),
    doubt(
        "SELECT initcap('a')",
        Unfit::Function,
        "a name is all that tells it from the tenant's own",
    ),
    replica("SELECT pg_catalog.upper('a')"),
    doubt(
        "SELECT undeclared(1)",
        Unfit::Function,
        "volatile, since nothing was declared",
    ),
    fails("SELECT says_stable()", Unfit::Function, READ_ONLY),
    fails("SELECT calls_written(1)", Unfit::Function, READ_ONLY),
    fails("SELECT calls_calls(1)", Unfit::Function, READ_ONLY),
    fails("SELECT standard_written(1)", Unfit::Function, READ_ONLY),
    fails("SELECT through_view()", Unfit::Function, READ_ONLY),
    doubt(
        "SELECT through_activity() > 0",
        Unfit::Function,
        "activity of one server",
    ),
    // Operators, casts, domains.
    replica("SELECT 1 === '1', 1 OPERATOR(s.===) '2'"),
    fails("SELECT 1 ##== '1'", Unfit::Operator, READ_ONLY),
    fails("SELECT 1 OPERATOR(s.##==) '1'", Unfit::Operator, READ_ONLY),
    fails("SELECT 1 ##== ANY (ARRAY['1'])", Unfit::Operator, READ_ONLY),
    fails(
        "SELECT id FROM people WHERE id ##== name",
        Unfit::Operator,
        READ_ONLY,
    ),
    replica("SELECT 3::pair, CAST(4 AS pair)"),
    fails("SELECT 3::noted_pair", Unfit::Type, READ_ONLY),
    fails("SELECT CAST(3 AS s.noted_pair)", Unfit::Type, READ_ONLY),
    doubt(
        "SELECT noted_pair(3)",
        Unfit::Type,
        "may be a cast written as a call",
    ),
    fails("SELECT 3::noted_int", Unfit::Type, READ_ONLY),
    fails("SELECT noted_int '3'", Unfit::Type, READ_ONLY),
    fails("SELECT '{3}'::noted_int[]", Unfit::Type, READ_ONLY),
    fails("SELECT '{3}'::_noted_int", Unfit::Type, READ_ONLY),
    fails("SELECT 3::narrow_int", Unfit::Type, READ_ONLY),
    fails("SELECT '(3)'::with_domain", Unfit::Type, READ_ONLY),
    fails(
        "SELECT * FROM json_to_record('{\"a\": 1}') AS x (a noted_int)",
        Unfit::Type,
        READ_ONLY,
    ),
    replica("SELECT id FROM of_domain"),
    // Row-level security.
    replica("SELECT * FROM secrets ORDER BY id"),
    replica("SELECT * FROM settings_rows ORDER BY id"),
    replica("SELECT * FROM checked_writes"),
    fails("SELECT * FROM audited", Unfit::Relation, READ_ONLY),
    fails(
        "SELECT count(*) FROM people WHERE id IN (SELECT id FROM audited)",
        Unfit::Relation,
        READ_ONLY,
    ),
    // Extensions.
    replica("SELECT 'a=>1'::hstore -> 'a', hstore('b', '2'), akeys('a=>1')"),
    replica("SELECT encode(digest('a', 'sha256'), 'hex'), crypt('a', 'ab')"),
    replica("SELECT similarity('word', 'words') > 0.3, 'word' % 'words'"),
    replica("SELECT 'A'::citext = 'a'::citext, 'a.b.c'::ltree @> 'a.b.c.d'::ltree"),
    replica("SELECT uuid_generate_v5(uuid_ns_dns(), 'example.com')"),
    doubt(
        "SELECT uuid_generate_v4() IS NOT NULL",
        Unfit::Function,
        "volatile: never the same twice",
    ),
    doubt(
        "SELECT gen_salt('bf') IS NOT NULL",
        Unfit::Function,
        "volatile: never the same twice",
    ),
    doubt(
        "SELECT dblink_connect('host=nowhere')",
        Unfit::Function,
        "a connection is state of the session",
    ),
    doubt(
        "SELECT set_limit(0.5)",
        Unfit::Function,
        "state of the session",
    ),
];
