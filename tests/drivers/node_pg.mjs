// node-postgres (pg) with its defaults, pg-cursor and pg-copy-streams.
//
// Cancellation is what users of this driver do: pg_cancel_backend, and the protocol's cancel request
// with the client's key. Named statements are prepared once a connection; pipelines are asked for.

import net from 'node:net'
import nodeTls from 'node:tls'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { BIG, CLIENTS, Checks, PATIENCE, RUNNING, mark, range, tls, until, within } from './common.mjs'

const checks = new Checks('node-postgres')
const T = 'drv_node_pg'
const { PGHOST, PGPORT } = process.env
const target = { ssl: tls(), connectionTimeoutMillis: PATIENCE }

/** Runs `work` with new clients, which are closed afterwards. */
async function withClients(work, options = {}) {
  const clients = range(work.length).map(() => new pg.Client({ ...target, ...options }))
  await Promise.all(clients.map(client => client.connect()))
  await work(...clients)
  await within(Promise.all(clients.map(client => client.end())), 'end of the connections')
}

/** The only value of a query. */
async function one(client, text, values) {
  const { rows } = await client.query({ text, values, rowMode: 'array' })
  return rows[0][0]
}

const isRunning = (client, word) => async () => (await one(client, RUNNING, [`%${word}%`])) === 1

async function setup() {
  await withClients(async c => {
    await c.query(`drop table if exists ${T}, ${T}_copy, ${T}_conc;
      create table ${T} (id int primary key, name text, data bytea);
      create table ${T}_copy (id int primary key, name text);
      create table ${T}_conc (mark text, n int)`)
  })
}

async function values() {
  await withClients(async c => {
    checks.equal(await one(c, 'select $1::int + 1', [41]), 42, 'integer')
    const { rows } = await c.query({ text: "select null, $1::text, '', $2::int[]", values: [null, [1, null, 3]], rowMode: 'array' })
    checks.equal(rows[0], [null, null, '', [1, null, 3]], 'NULLs and empty strings')
    const blob = randomBytes(BIG)
    checks.equal(blob.equals(await one(c, 'select $1::bytea', [blob])), true, '10 MB there and back')
    const many = await c.query("select i, 'row ' || i as name from generate_series(1, 100000) i")
    checks.equal([many.rows.length, many.rows.at(-1)], [100000, { i: 100000, name: 'row 100000' }], 'many rows')
    const results = await c.query(`select 1 as a; insert into ${T} (id) values (2); select 3 as c`)
    checks.equal(results.map(r => r.command + r.rowCount), ['SELECT1', 'INSERT1', 'SELECT1'], 'several statements')
    checks.equal([results[0].rows, results[2].rows], [[{ a: 1 }], [{ c: 3 }]], 'their rows')
    const seen = []
    c.on('notice', n => seen.push([n.severity, n.code, n.message]))
    await c.query("do $$ begin raise notice 'one'; raise warning 'two'; end $$")
    checks.equal(seen, [['NOTICE', '00000', 'one'], ['WARNING', '01000', 'two']], 'notices')
  })
}

async function prepared() {
  for (const round of range(3)) {
    await withClients(async (a, b, busy) => {
      await busy.query('begin') // keeps a server connection, so that the others move
      await busy.query('select 1')
      for (const i of range(12)) {
        const first = { name: 'same', text: "select $1::int * 2 as n, 'a' as who", values: [i] }
        const second = { name: 'same', text: "select $1::text || '!' as n", values: [`${i}`] }
        if (i % 2) await a.query('begin')
        const [x, y] = await Promise.all([a.query(first), b.query(second)])
        if (i % 2) await a.query('commit')
        checks.equal([x.rows, y.rows], [[{ n: 2 * i, who: 'a' }], [{ n: `${i}!` }]], `one name, two texts, round ${round}`)
      }
      await busy.query('rollback')
      await checks.fails('26000', 'a missing statement', a.query('execute drv_missing(1)'))
      await checks.fails('42601', 'a named syntax error', a.query({ name: 'wrong', text: 'selec 1' }))
      const { rows } = await a.query({ name: 'wrong', text: 'select 7 as n' })
      checks.equal(rows, [{ n: 7 }], 'a Parse that failed leaves its name free')
    })
  }
}

async function pipelines() {
  await withClients(async c => {
    const results = await Promise.all(range(300).map(i => c.query('select $1::int as n', [i])))
    checks.equal(results.map(r => r.rows[0].n), range(300), 'queries in a pipeline')
    const settled = await Promise.allSettled([
      c.query(`insert into ${T} (id) values ($1)`, [10]),
      c.query(`insert into ${T} (id) values ($1)`, [10]),
      c.query({ name: 'third', text: `insert into ${T} (id) values ($1)`, values: [11] }),
      c.query('select 1/0'),
      c.query('select count(*)::int as n from drv_node_pg where id in (10, 11)'),
    ])
    checks.equal(settled.map(s => s.reason?.code ?? s.value.command), ['INSERT', '23505', 'INSERT', '22012', 'SELECT'], 'errors in a pipeline')
    checks.equal(settled[4].value.rows, [{ n: 2 }], 'each query has a Sync of its own')
  }, { pipeline: true })
}

async function copy() {
  await withClients(async c => {
    const lines = range(50000).map(i => `${i}\t${i % 7 ? `name ${i}` : '\\N'}\n`)
    await pipeline(Readable.from(lines), c.query(copyFrom(`copy ${T}_copy from stdin`)))
    checks.equal(await one(c, `select count(name)::int from ${T}_copy`), 42857, 'COPY in')
    const out = []
    for await (const chunk of c.query(copyTo(`copy (select * from ${T}_copy order by id) to stdout`))) out.push(chunk)
    checks.equal(Buffer.concat(out).toString() === lines.join(''), true, 'COPY out gives what COPY took')
    const bad = pipeline(Readable.from(['60000\tx\n', 'not a number\ty\n']), c.query(copyFrom(`copy ${T}_copy from stdin`)))
    await checks.fails('22P02', 'COPY in of a bad row', bad)
    checks.equal(await one(c, 'select 1'), 1, 'usable after a failed COPY')
    const aborted = c.query(copyFrom(`copy ${T}_copy from stdin`))
    aborted.write('70000\tx\n')
    await new Promise(resolve => {
      aborted.on('error', () => {})
      aborted.on('close', resolve)
      aborted.destroy(new Error('the client has its own trouble'))
    })
    checks.equal(await one(c, `select max(id) from ${T}_copy`), 49999, 'nothing of the failed COPYs')
    await checks.fails('42P01', 'COPY of a missing table', pipeline(Readable.from(['1\n']), c.query(copyFrom('copy drv_missing from stdin'))))
  })
}

/** Sends a cancel request with this client's key, over TLS when the target has it. */
async function sendCancel(client) {
  const packet = Buffer.alloc(16)
  ;[16, 80877102, client.processID, client.secretKey].forEach((word, i) => packet.writeInt32BE(word, i * 4))
  const options = { host: PGHOST, port: Number(PGPORT) }
  let socket = net.connect(options)
  await within(once(socket, 'connect'), 'connect to cancel')
  if (target.ssl) {
    socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
    const [answer] = await within(once(socket, 'data'), 'SSLRequest')
    checks.equal(answer.toString(), 'S', 'TLS for a cancel request')
    socket = nodeTls.connect({ ...target.ssl, socket })
    await within(once(socket, 'secureConnect'), 'TLS to cancel')
  }
  socket.on('error', () => {}) // the server just closes
  socket.resume()
  const closed = once(socket, 'close')
  socket.end(packet)
  await within(closed, 'end of the cancel connection')
}

async function cancellation() {
  await withClients(async (victim, other, eye) => {
    const bystander = one(other, "select 'slept' from pg_sleep(2)")
    const ways = {
      request: () => sendCancel(victim),
      pg_cancel_backend: word => eye.query(
        'select pg_cancel_backend(pid) from pg_stat_activity where query like $1 and pid <> pg_backend_pid()', [`%${word}%`]),
    }
    for (const [way, cancel] of Object.entries(ways)) {
      const word = mark()
      const sleep = checks.fails('57014', `cancelled by ${way}`, victim.query(`select pg_sleep(90) /* ${word} */`))
      await until(isRunning(eye, word), 'the sleep runs')
      await cancel(word)
      await within(sleep, 'the cancelled sleep')
      checks.equal(await one(victim, 'select 5'), 5, `usable after a cancel by ${way}`)
    }
    await sendCancel(victim)
    checks.equal(await within(bystander, 'the bystander'), 'slept', 'another session is not cancelled')
  })
}

async function cursors() {
  await withClients(async c => {
    await c.query('begin')
    const cursor = c.query(new Cursor('select generate_series(1, $1::int) as n', [250]))
    let rows = []
    for (let part = await cursor.read(100); part.length; part = await cursor.read(100)) rows = rows.concat(part)
    checks.equal(rows.map(r => r.n), range(250).map(i => i + 1), 'a portal read in parts')
    await cursor.close()
    const early = c.query(new Cursor('select generate_series(1, 1000) as n'))
    checks.equal((await early.read(2)).map(r => r.n), [1, 2], 'a portal left early')
    await early.close()
    await c.query('declare c cursor for select generate_series(1, 10) as n')
    checks.equal((await c.query('fetch 3 from c')).rows.map(r => r.n), [1, 2, 3], 'a declared cursor')
    await c.query('commit')
    await checks.fails('34000', 'a cursor that is gone', c.query('fetch 1 from c'))
    const outside = c.query(new Cursor('select generate_series(1, 30) as n'))
    checks.equal((await outside.read(5)).length + (await outside.read(100)).length, 30, 'a portal without a transaction')
    await outside.close()
  })
}

async function timeouts() {
  await withClients(async c => {
    checks.equal(await one(c, 'show statement_timeout'), '300ms', 'statement_timeout at the start')
    await checks.fails('57014', 'statement_timeout', c.query('select pg_sleep(60)'))
    checks.equal(await one(c, 'select 1'), 1, 'usable after a timeout')
  }, { options: '-c statement_timeout=300' })
  await withClients(async (c, holder) => {
    await c.query("begin; set local statement_timeout = '200ms'")
    await checks.fails('57014', 'SET LOCAL', c.query('select pg_sleep(60)'))
    await c.query('rollback')
    checks.equal(await one(c, 'show statement_timeout'), '0', 'SET LOCAL ended with its transaction')
    await holder.query(`begin; lock table ${T}_conc in access exclusive mode`)
    await c.query("begin; set local lock_timeout = '200ms'")
    await checks.fails('55P03', 'lock_timeout', c.query(`select * from ${T}_conc`))
    await c.query('rollback')
    await holder.query('rollback')
  })
}

async function largeObjects() {
  await withClients(async c => {
    const data = randomBytes(300000)
    await c.query('begin')
    const oid = await one(c, 'select lo_from_bytea(0, $1)', [data])
    const fd = await one(c, 'select lo_open($1, 393216)', [oid])
    await c.query('select lo_lseek($1, 100000, 0)', [fd])
    checks.equal(data.subarray(100000, 101000).equals(await one(c, 'select loread($1, 1000)', [fd])), true, 'large object')
    checks.equal(await one(c, 'select lo_unlink($1)', [oid]), 1, 'unlink')
    await c.query('commit')
    await checks.fails('42704', 'a large object that is gone', c.query('select lo_get($1)', [oid]))
  })
}

async function failures() {
  await withClients(async c => {
    checks.equal((await checks.fails('42601', 'syntax error', c.query('selec 1'))).position, '1', 'position of a syntax error')
    for (const _ of range(3)) {
      await checks.fails('22012', 'division by zero', c.query({ name: 'div', text: 'select 1 / $1::int', values: [0] }))
      checks.equal((await c.query({ name: 'div', text: 'select 1 / $1::int', values: [1] })).rowCount, 1, 'the same statement')
    }
    await c.query('begin')
    await c.query(`insert into ${T} (id) values ($1)`, [50])
    const error = await checks.fails('23505', 'unique violation', c.query(`insert into ${T} (id) values ($1)`, [50]))
    checks.equal([error.constraint, error.table], [`${T}_pkey`, T], 'fields of the error')
    await checks.fails('25P02', 'in a failed transaction', c.query('select $1::int', [1]))
    checks.equal((await c.query('commit')).command, 'ROLLBACK', 'COMMIT of a failed transaction')
    checks.equal(await one(c, `select count(*)::int from ${T} where id = 50`), 0, 'rolled back')
    await checks.fails('22012', 'error while rows flow', c.query('select 1 / (5000 - i) from generate_series(1, 9000) i'))
    await checks.fails('22012', 'error in a string of statements', c.query('select 1; select 1/0; select 3'))
    await checks.fails('08P01', 'too few parameters', c.query('select $1::int, $2::int', [1]))
    checks.equal(await one(c, 'select 4'), 4, 'usable after all of it')
  })
}

async function sessionState() {
  await withClients(async (ear, mouth) => {
    const heard = []
    ear.on('notification', n => heard.push(n.payload))
    await ear.query('listen drv_node_pg_channel')
    await mouth.query("notify drv_node_pg_channel, 'hello'")
    await mouth.query('select pg_notify($1, $2)', ['drv_node_pg_channel', 'again'])
    await until(() => heard.length === 2, 'notifications while idle')
    checks.equal(heard, ['hello', 'again'], 'LISTEN and NOTIFY')
  })
  await withClients(async (c, other) => {
    await c.query('create temp table drv_temp (n int)')
    await c.query('insert into drv_temp values ($1), ($2)', [1, 2])
    checks.equal(await one(c, 'select sum(n)::int from drv_temp'), 3, 'a temporary table')
    await checks.fails('42P01', 'which nobody else sees', other.query('select * from drv_temp'))
    await c.query('set search_path = pg_catalog')
    checks.equal(await one(c, 'show search_path'), 'pg_catalog', 'SET stays')
    checks.equal(await one(other, 'show search_path'), '"$user", public', 'SET does not reach others')
  })
}

async function transactions() {
  await withClients(async (a, b) => {
    await a.query(`begin; insert into ${T} (id) values (60); savepoint s`)
    await checks.fails('23505', 'violation in a savepoint', a.query(`insert into ${T} (id) values (60)`))
    await a.query(`rollback to s; insert into ${T} (id) values (62); commit`)
    checks.equal(await one(a, `select array_agg(id order by id) from ${T} where id between 60 and 69`), [60, 62], 'savepoints')
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      await a.query(`begin isolation level ${level} read only`)
      checks.equal(await one(a, 'show transaction_isolation'), level, 'isolation level')
      await checks.fails('25006', 'write in a read-only transaction', a.query(`delete from ${T}`))
      await a.query('rollback')
    }
    for (const c of [a, b]) {
      await c.query('begin isolation level serializable')
      await c.query(`select count(*) from ${T}_conc`)
    }
    await a.query(`insert into ${T}_conc values ('serial', 1)`)
    await b.query(`insert into ${T}_conc values ('serial', 2)`)
    await a.query('commit')
    await checks.fails('40001', 'write skew is refused', b.query('commit'))
  })
}

async function concurrency() {
  const pool = new pg.Pool({ ...target, max: CLIENTS })
  await Promise.all(range(CLIENTS).map(async number => {
    const word = `client ${number}`
    for (const i of range(30)) {
      const c = await pool.connect()
      await c.query('begin')
      await c.query({ name: 'mark', text: `insert into ${T}_conc values ($1, $2)`, values: [word, i] })
      const { rows } = await c.query('select $1::text as mark, $2::int as n', [word, i])
      checks.equal(rows, [{ mark: word, n: i }], "a row carries its client's mark")
      await c.query('commit')
      c.release()
    }
    const { rows } = await pool.query(`select mark, n from ${T}_conc where mark = $1 order by n`, [word])
    checks.equal(rows, range(30).map(n => ({ mark: word, n })), 'each write is there once')
  }))
  await within(pool.end(), 'end of the pool')
}

async function cleanup() {
  await withClients(async c => {
    await c.query(`drop table ${T}, ${T}_copy, ${T}_conc`)
  })
}

await checks.run([
  setup, values, prepared, pipelines, copy, cancellation, cursors, timeouts, largeObjects, failures,
  sessionState, transactions, concurrency, cleanup,
])
