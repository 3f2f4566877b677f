SELECT pg_catalog.concat(
    ('x' OPERATOR(pg_catalog.||) pg_catalog.substr(pg_catalog.pg_walfile_name(lsn), 1, 8))
        ::pg_catalog.bit(32)::pg_catalog.int8, ':',
    pg_catalog.upper(pg_catalog.to_hex(pg_catalog.div(last, 4294967296)::pg_catalog.int8)), '/',
    pg_catalog.upper(pg_catalog.to_hex(pg_catalog.mod(last, 4294967296)::pg_catalog.int8))
) AS "tenantry.position"
FROM (
    -- Behind a page's header a position is larger than the end of the last record (manual 70.1),
    -- which is all that a standby can have replayed.
    SELECT lsn, CASE
        WHEN pg_catalog.mod(far, segment) OPERATOR(pg_catalog.=) 40 THEN far OPERATOR(pg_catalog.-) 40
        WHEN pg_catalog.mod(far, page) OPERATOR(pg_catalog.=) 24 THEN far OPERATOR(pg_catalog.-) 24
        ELSE far END AS last
    FROM (
        SELECT lsn, pg_catalog.pg_wal_lsn_diff(lsn, '0/0') AS far,
            pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::pg_catalog.numeric AS segment,
            pg_catalog.current_setting('wal_block_size')::pg_catalog.numeric AS page
        FROM pg_catalog.pg_current_wal_insert_lsn() AS lsn
    ) AS told
) AS normal
