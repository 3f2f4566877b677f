// postgres.js with its defaults: a pool, prepared statements under random names, every query of a
// connection pipelined, types fetched at connect, cancellation by the protocol's request.

import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { BIG, CLIENTS, Checks, RUNNING, mark, range, tls, until, within } from './common.mjs'

const checks = new Checks('postgres-js')
const T = 'drv_postgres_js'

/** A pool of the environment's target. */
const open = (max, options = {}) => postgres({
  host: process.env.PGHOST, ssl: tls(), max, connect_timeout: 20, onnotice: () => {}, ...options,
})

/** Runs `work` with a pool, which is closed afterwards. */
async function withPool(max, work, options) {
  const sql = open(max, options)
  await work(sql)
  await within(sql.end({ timeout: 5 }), 'end of the pool')
}

const isRunning = (sql, word) => async () => (await sql.unsafe(RUNNING, [`%${word}%`]))[0].n === 1

async function setup() {
  await withPool(1, async sql => {
    await sql.unsafe(`drop table if exists ${T}, ${T}_copy, ${T}_conc;
      create table ${T} (id int primary key, name text, doc jsonb, data bytea);
      create table ${T}_copy (id int primary key, name text);
      create table ${T}_conc (mark text, n int)`)
  })
}

async function values() {
  const notices = []
  await withPool(1, async sql => {
    checks.equal([...await sql`select ${41}::int + 1 as n`], [{ n: 42 }], 'integer')
    const [row] = await sql`select null as a, ${null}::text as b, '' as c, ${[1, 2, 3]}::int[] as d, ${sql.json({ x: 1 })}::jsonb as e`
    checks.equal(row, { a: null, b: null, c: '', d: [1, 2, 3], e: { x: 1 } }, 'NULLs, arrays and JSON')
    const blob = randomBytes(BIG)
    checks.equal(blob.equals((await sql`select ${blob}::bytea as b`)[0].b), true, '10 MB there and back')
    const text = 'ä'.repeat(BIG / 2)
    checks.equal((await sql`select ${text}::text as t`)[0].t === text, true, '10 MB of text there and back')
    const many = await sql`select i, 'row ' || i as name from generate_series(1, 100000) i`
    checks.equal([many.length, many.at(-1)], [100000, { i: 100000, name: 'row 100000' }], 'many rows')
    const results = await sql`select 1 as a; select 2 as b, 3 as c`.simple()
    checks.equal(results.map(r => [...r]), [[{ a: 1 }], [{ b: 2, c: 3 }]], 'several statements in a string')
    await sql`insert into ${sql(T)} ${sql(range(500).map(i => ({ id: 1000 + i, name: `n${i}` })))}`
    checks.equal((await sql`select count(*)::int as n from ${sql(T)} where id >= 1000`)[0].n, 500, 'insert of many values')
    await sql`do $$ begin raise notice 'one'; raise warning 'two'; end $$`.simple()
  }, { onnotice: n => notices.push([n.severity, n.message]) })
  checks.equal(notices, [['NOTICE', 'one'], ['WARNING', 'two']], 'notices')
}

async function prepared() {
  for (const round of range(3)) { // each round is a reconnect
    await withPool(3, async sql => {
      for (const i of range(12)) {
        const rows = await Promise.all([
          sql`select ${i}::int * 2 as n`, sql`select ${`${i}`}::text || '!' as n`, sql.begin(tx => tx`select ${i}::int8 as n`),
        ])
        checks.equal(rows.map(r => r[0].n), [2 * i, `${i}!`, `${i}`], `prepared, round ${round}`)
      }
      const description = await sql`select ${1}::int as n, 'x'::text as t`.describe()
      checks.equal([description.types, description.columns.map(c => c.name)], [[23], ['n', 't']], 'described')
      await checks.fails('26000', 'a missing statement', sql`execute drv_missing(1)`)
    })
  }
  await withPool(1, async sql => {
    await sql`insert into ${sql(T)} (id, name) values (1, 'before')`
    checks.equal([...await sql`select * from ${sql(T)} where id = ${1}`], [{ id: 1, name: 'before', doc: null, data: null }], 'before DDL')
    await withPool(1, changer => changer`alter table ${changer(T)} add column extra int`)
    await sql`select * from ${sql(T)} where id = ${1}`.catch(() => null) // a cached plan may fail once
    const again = await sql`select * from ${sql(T)} where id = ${1} and true`
    checks.equal([...again], [{ id: 1, name: 'before', doc: null, data: null, extra: null }], 'after DDL')
  })
}

async function pipelines() {
  await withPool(1, async sql => {
    const rows = await Promise.all(range(300).map(i => sql`select ${i}::int as n`))
    checks.equal(rows.map(r => r[0].n), range(300), 'queries in a pipeline')
    const settled = await Promise.allSettled([
      sql`insert into ${sql(T)} (id) values (${10})`, sql`insert into ${sql(T)} (id) values (${10})`,
      sql`insert into ${sql(T)} (id) values (${11})`, sql`selec 1`, sql`select 1 / ${0}::int`,
      sql`select count(*)::int as n from ${sql(T)} where id in (10, 11)`,
    ])
    const got = settled.map(s => s.reason?.code ?? s.value.command)
    checks.equal(got, ['INSERT', '23505', 'INSERT', '42601', '22012', 'SELECT'], 'errors in a pipeline')
    checks.equal([...settled[5].value], [{ n: 2 }], 'each query has a Sync of its own')
    const batch = await sql.begin(tx => range(50).map(i => tx`select ${i}::int as n`))
    checks.equal(batch.map(r => r[0].n), range(50), 'a pipeline in a transaction')
    const bad = sql.begin(tx => [
      tx`insert into ${sql(T)} (id) values (${12})`, tx`insert into ${sql(T)} (id) values (${12})`, tx`select 1`,
    ])
    await checks.fails('23505', 'violation in a pipelined transaction', bad)
    checks.equal((await sql`select count(*)::int as n from ${sql(T)} where id = 12`)[0].n, 0, 'rolled back')
  })
}

async function copy() {
  await withPool(1, async sql => {
    const lines = range(50000).map(i => `${i}\t${i % 7 ? `name ${i}` : '\\N'}\n`)
    await pipeline(Readable.from(lines), await sql`copy ${sql(`${T}_copy`)} from stdin`.writable())
    checks.equal((await sql`select count(name)::int as n from ${sql(`${T}_copy`)}`)[0].n, 42857, 'COPY in')
    const out = []
    for await (const chunk of await sql`copy (select * from ${sql(`${T}_copy`)} order by id) to stdout`.readable()) out.push(chunk)
    checks.equal(Buffer.concat(out).toString() === lines.join(''), true, 'COPY out gives what COPY took')
  })
  await withPool(1, async sql => {
    const bad = await sql`copy ${sql(`${T}_copy`)} from stdin`.writable()
    bad.on('error', () => {}) // the driver tells nobody that a COPY failed: what counts is that the next query works
    bad.end('60000\tx\nnot a number\ty\n')
    checks.equal((await within(sql`select 1 as n`, 'a query behind a failed COPY'))[0].n, 1, 'usable after a failed COPY')
    checks.equal((await sql`select 2 as n`)[0].n, 2, 'and after the CopyFail that the driver sends too late')
  })
  await withPool(1, async sql => {
    const aborted = await sql`copy ${sql(`${T}_copy`)} from stdin`.writable()
    await new Promise(resolve => {
      aborted.on('error', () => {})
      aborted.on('close', resolve)
      aborted.write('70000\tx\n')
      aborted.destroy(new Error('the client has its own trouble'))
    })
    const [{ max }] = await sql`select max(id) from ${sql(`${T}_copy`)}`
    checks.equal(max, 49999, 'nothing of the failed COPYs')
  })
}

async function cancellation() {
  await withPool(3, async sql => {
    const bystander = sql`select 'slept' as s from pg_sleep(2)`.execute()
    for (const _ of range(2)) {
      const word = mark()
      const sleep = sql.unsafe(`select pg_sleep(90) /* ${word} */`).execute()
      const failed = checks.fails('57014', 'a cancelled query', sleep)
      await until(isRunning(sql, word), 'the sleep runs')
      sleep.cancel()
      await within(failed, 'the cancelled sleep')
      checks.equal([...await sql`select 5 as n`], [{ n: 5 }], 'usable after a cancel')
    }
    checks.equal([...await within(bystander, 'the bystander')], [{ s: 'slept' }], 'another session is not cancelled')
  })
}

async function cursors() {
  await withPool(1, async sql => {
    const sizes = []
    for await (const rows of sql`select generate_series(1, ${250}::int) as n`.cursor(100)) sizes.push([rows.length, rows.at(-1).n])
    checks.equal(sizes, [[100, 100], [100, 200], [50, 250]], 'a portal read in parts')
    await sql`select generate_series(1, 1000) as n`.cursor(10, rows => (rows.at(-1).n === 30 ? sql.CLOSE : undefined))
    checks.equal((await sql`select 'usable' as s`)[0].s, 'usable', 'a portal left early')
    const got = await sql.begin(async tx => {
      await tx`declare c cursor for select generate_series(1, 10) as n`
      return tx`fetch 3 from c`
    })
    checks.equal(got.map(r => r.n), [1, 2, 3], 'a declared cursor')
    await checks.fails('34000', 'a cursor that is gone', sql`fetch 1 from c`)
    let sum = 0
    await sql`select generate_series(1, 2000) as n`.forEach(row => { sum += row.n })
    checks.equal(sum, 2001000, 'rows one by one')
  })
}

async function timeouts() {
  await withPool(1, async sql => {
    checks.equal((await sql`show statement_timeout`)[0].statement_timeout, '300ms', 'statement_timeout at the start')
    await checks.fails('57014', 'statement_timeout', sql`select pg_sleep(60)`)
    checks.equal((await sql`select 1 as n`)[0].n, 1, 'usable after a timeout')
  }, { connection: { statement_timeout: 300 } })
  await withPool(2, async sql => {
    const inside = (setting, query) => sql.begin(async tx => {
      await tx.unsafe(`set local ${setting} = '200ms'`)
      await tx.unsafe(query)
    })
    await checks.fails('57014', 'SET LOCAL', inside('statement_timeout', 'select pg_sleep(60)'))
    checks.equal((await sql`show statement_timeout`)[0].statement_timeout, '0', 'SET LOCAL ended with its transaction')
    await sql.begin(async holder => {
      await holder.unsafe(`lock table ${T}_conc in access exclusive mode`)
      await checks.fails('55P03', 'lock_timeout', inside('lock_timeout', `select * from ${T}_conc`))
    })
  })
}

async function largeObjects() {
  await withPool(1, async sql => {
    const data = randomBytes(300000)
    const [{ oid }] = await sql`select lo_creat(-1) as oid`
    const large = await sql.largeObject(oid) // a transaction of its own
    await pipeline(Readable.from([data]), await large.writable())
    await large.close()
    const [{ same }] = await sql`select lo_get(${oid}) = ${data}::bytea as same`
    checks.equal(same, true, 'a large object that was streamed')
    checks.equal([...await sql`select lo_unlink(${oid})`], [{ lo_unlink: 1 }], 'unlink')
    await checks.fails('42704', 'a large object that is gone', sql`select lo_get(${oid})`)
  })
}

async function failures() {
  await withPool(1, async sql => {
    checks.equal((await checks.fails('42601', 'syntax error', sql`selec 1`)).position, '1', 'position of a syntax error')
    for (const _ of range(3)) {
      await checks.fails('22012', 'division by zero', sql`select 1 / ${0}::int as n`)
      checks.equal((await sql`select 1 / ${1}::int as n`)[0].n, 1, 'the same statement')
    }
    const error = await checks.fails('23505', 'violation in a transaction', sql.begin(async tx => {
      await tx`insert into ${sql(T)} (id) values (${50})`
      await tx`insert into ${sql(T)} (id) values (${50})`
    }))
    checks.equal([error.constraint_name, error.table_name], [`${T}_pkey`, T], 'fields of the error')
    checks.equal((await sql`select count(*)::int as n from ${sql(T)} where id = 50`)[0].n, 0, 'rolled back')
    await checks.fails('22012', 'the first error of a transaction', sql.begin(async tx => {
      await checks.fails('22012', 'division by zero', tx`select 1/0`)
      await checks.fails('25P02', 'in a failed transaction', tx`select 1`)
    }))
    await checks.fails('22012', 'error while rows flow', sql`select 1 / (5000 - i) from generate_series(1, 9000) i`)
    await checks.fails('22012', 'error in a string of statements', sql`select 1; select 1/0; select 3`.simple())
    await checks.fails('42601', 'several statements with parameters', sql`select ${1}::int; select 2`)
    checks.equal((await sql`select 4 as n`)[0].n, 4, 'usable after all of it')
  })
}

async function sessionState() {
  await withPool(1, async sql => {
    const heard = []
    const { unlisten } = await sql.listen('drv_postgres_js', payload => heard.push(payload))
    await sql.notify('drv_postgres_js', 'hello')
    await sql`notify drv_postgres_js, 'again'`
    await until(() => heard.length === 2, 'notifications while idle')
    checks.equal(heard, ['hello', 'again'], 'LISTEN and NOTIFY')
    await unlisten()
  })
  await withPool(2, async sql => {
    const mine = await sql.reserve()
    await mine`create temp table drv_temp (n int)`
    await mine`insert into drv_temp values (${1}), (${2})`
    checks.equal((await mine`select sum(n)::int as n from drv_temp`)[0].n, 3, 'a temporary table')
    await checks.fails('42P01', 'which nobody else sees', sql`select * from drv_temp`)
    await mine`set search_path = pg_catalog`
    checks.equal((await mine`show search_path`)[0].search_path, 'pg_catalog', 'SET stays')
    checks.equal((await sql`show search_path`)[0].search_path, '"$user", public', 'SET does not reach others')
    mine.release()
  })
}

async function transactions() {
  await withPool(1, async sql => {
    await sql.begin(async tx => {
      await tx`insert into ${sql(T)} (id) values (60)`
      await checks.fails('23505', 'violation in a savepoint', tx.savepoint(async sp => {
        await sp`insert into ${sql(T)} (id) values (61)`
        await sp`insert into ${sql(T)} (id) values (60)`
      }))
      await tx.savepoint(sp => sp`insert into ${sql(T)} (id) values (62)`)
    })
    const rows = await sql`select id from ${sql(T)} where id between 60 and 69 order by 1`
    checks.equal(rows.map(r => r.id), [60, 62], 'savepoints')
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      const [row] = await sql.begin(`isolation level ${level} read only`, tx => tx`show transaction_isolation`)
      checks.equal(row.transaction_isolation, level, 'isolation level')
    }
    await checks.fails('25006', 'write in a read-only transaction', sql.begin('read only', tx => tx`delete from ${sql(T)}`))
  })
}

async function concurrency() {
  await withPool(CLIENTS, async sql => {
    await Promise.all(range(CLIENTS).map(async number => {
      const word = `client ${number}`
      for (const i of range(30)) {
        const [row] = await sql.begin(async tx => {
          await tx`insert into ${sql(`${T}_conc`)} values (${word}, ${i})`
          return tx`select ${word}::text as mark, ${i}::int as n`
        })
        checks.equal(row, { mark: word, n: i }, "a row carries its client's mark")
      }
      const rows = await sql`select mark, n from ${sql(`${T}_conc`)} where mark = ${word} order by n`
      checks.equal([...rows], range(30).map(n => ({ mark: word, n })), 'each write is there once')
    }))
  })
}

async function cleanup() {
  await withPool(1, sql => sql.unsafe(`drop table ${T}, ${T}_copy, ${T}_conc`))
}

await checks.run([
  setup, values, prepared, pipelines, copy, cancellation, cursors, timeouts, largeObjects, failures,
  sessionState, transactions, concurrency, cleanup,
])
