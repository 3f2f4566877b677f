// Object mappers over node-postgres: Drizzle with its named statements and its migrator,
// node-pg-migrate with its advisory lock, Sequelize with what it SETs at each connect.
//
// All tables are in the schema drv_node_orms; the migrations are in node_migrations/.

import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { and, eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import { bigserial, integer, jsonb, pgSchema, serial, text, timestamp, varchar } from 'drizzle-orm/pg-core'
import { runner } from 'node-pg-migrate'
import { DataTypes, QueryTypes, Sequelize, Transaction } from 'sequelize'
import { CLIENTS, Checks, PATIENCE, range, tls, within } from './common.mjs'

const checks = new Checks('node-orms')
const S = 'drv_node_orms'
/** Sequelize's connections at once: each sends SET TIME ZONE INTERVAL, which pins. */
const KEPT = 3
const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env
const target = { ssl: tls(), connectionTimeoutMillis: PATIENCE }
const folder = name => fileURLToPath(new URL(`node_migrations/${name}`, import.meta.url))

const schema = pgSchema(S)
const mood = schema.enum('mood', ['sad', 'glad'])
const author = schema.table('author', {
  id: serial().primaryKey(),
  name: varchar({ length: 40 }).notNull().unique(),
  born: timestamp({ withTimezone: true }).defaultNow(),
  mood: mood().default('sad').notNull(),
  data: jsonb(),
})
const book = schema.table('book', {
  id: bigserial({ mode: 'number' }).primaryKey(),
  authorId: integer('author_id').notNull().references(() => author.id),
  title: text(),
})

/** Runs `work` with Drizzle over a pool of so many connections, which is closed afterwards. */
async function withDrizzle(max, work) {
  const pool = new pg.Pool({ ...target, max })
  await work(drizzle(pool), pool)
  await within(pool.end(), 'end of the pool')
}

/** Runs `work` with a client, which is closed afterwards. */
async function withClient(work) {
  const client = new pg.Client(target)
  await client.connect()
  await work(client)
  await within(client.end(), 'end of the connection')
}

/** `promise` is rejected because of an error with this SQLSTATE. */
const fails = (want, what, promise) => checks.fails(want, what, promise.catch(error => {
  throw error.cause ?? error.parent ?? error
}))

async function setup() {
  await withClient(c => c.query(`drop schema if exists ${S} cascade; create schema ${S}`))
}

async function drizzleMigrations() {
  await withDrizzle(2, async db => {
    const options = { migrationsFolder: folder('drizzle'), migrationsSchema: S, migrationsTable: 'drizzle_migrations' }
    for (const _ of range(2)) { // the second time there is nothing to do
      await migrate(db, options)
      const { rows } = await db.execute(sql`select count(*)::int as n from ${sql.raw(S)}.drizzle_migrations`)
      checks.equal(rows, [{ n: 2 }], 'migrations that were applied')
    }
    const made = await db.insert(author).values(range(5).map(i => ({ name: `author ${i}`, mood: i > 2 ? 'glad' : 'sad', data: { i } }))).returning()
    checks.equal(made.map(a => [a.id, a.mood, a.data.i]), range(5).map(i => [i + 1, i > 2 ? 'glad' : 'sad', i]), 'rows by RETURNING')
  })
}

/** One name for two texts on two pools, over transactions, while others move the server connections. */
async function drizzleNames() {
  await withDrizzle(3, async db => {
    await withDrizzle(3, async other => {
      const byName = db.select({ id: author.id, mood: author.mood }).from(author).where(eq(author.name, sql.placeholder('name'))).prepare('same')
      const count = other.select({ n: sql`count(*)::int` }).from(author).where(eq(author.mood, sql.placeholder('mood'))).prepare('same')
      for (const i of range(12)) {
        const [a, b] = await Promise.all([byName.execute({ name: `author ${i % 5}` }), count.execute({ mood: i % 2 ? 'sad' : 'glad' })])
        checks.equal(a, [{ id: i % 5 + 1, mood: i % 5 > 2 ? 'glad' : 'sad' }], 'a named statement')
        checks.equal(b, [{ n: i % 2 ? 3 : 2 }], 'the same name, other text')
      }
      await db.transaction(async tx => {
        const insert = tx.insert(book).values({ authorId: 1, title: sql.placeholder('title') }).returning({ title: book.title }).prepare('insert')
        for (const i of range(20)) checks.equal(await insert.execute({ title: `book ${i}` }), [{ title: `book ${i}` }], 'named, in a transaction')
        await fails('23505', 'violation in a savepoint', tx.transaction(async inner => {
          await inner.insert(book).values({ authorId: 1, title: 'inner' })
          await inner.insert(author).values({ name: 'author 1' })
        }))
        checks.equal(await tx.select({ n: sql`count(*)::int` }).from(book), [{ n: 20 }], 'what was before the savepoint')
      })
      await fails('23503', 'violation of a named statement', db.insert(book).values({ authorId: sql.placeholder('id') }).prepare('wrong').execute({ id: 999 }))
      const levels = await db.transaction(tx => tx.execute(sql`show transaction_isolation`), { isolationLevel: 'serializable', accessMode: 'read only' })
      checks.equal(levels.rows, [{ transaction_isolation: 'serializable' }], 'isolation level')
    })
  })
}

/**
 * A column is added under a named statement. A server that has its plan refuses it; one that has not
 * makes a new one, and pg asks each time which columns come.
 */
async function schemaChange() {
  await withClient(async c => {
    const all = { name: 'all', text: `select * from ${S}.author where id = $1`, values: [1] }
    checks.equal(Object.keys((await c.query(all)).rows[0]).length, 5, 'before')
    await withClient(other => other.query(`alter table ${S}.author add column extra int`))
    const outcome = async query => c.query(query).then(result => result.fields.length, error => error.code)
    const changed = await outcome(all)
    checks.equal([6, '0A000'].includes(changed), true, `a plan whose result has changed: ${changed}`)
    checks.equal(await outcome({ ...all, name: 'all again' }), 6, 'another name')
    await withClient(other => other.query(`alter table ${S}.author drop column extra`))
    const back = await outcome(all)
    checks.equal([5, '0A000'].includes(back), true, `as it was before: ${back}`)
    if (process.env.DIRECT) checks.equal([changed, back], ['0A000', 5], 'one plan on a direct connection')
    checks.equal(await outcome({ ...all, name: 'all the same' }), 5, 'a third name')
  })
}

async function drizzleConcurrency() {
  await withDrizzle(CLIENTS, async db => {
    await Promise.all(range(CLIENTS).map(async number => {
      const word = `client ${number}`
      const mine = db.select({ title: book.title }).from(book).where(and(eq(book.authorId, 2), eq(book.title, sql.placeholder('word')))).prepare('mine')
      for (const i of range(15)) {
        await db.transaction(async tx => {
          await tx.insert(book).values({ authorId: 2, title: word })
          const { rows } = await tx.execute(sql`select ${word}::text as mark, ${i}::int as n`)
          checks.equal(rows, [{ mark: word, n: i }], "a row carries its client's mark")
        })
        checks.equal((await mine.execute({ word })).length, i + 1, 'its own writes, by a named statement')
      }
    }))
  })
}

/** The migrations of node-pg-migrate, `count` of them in a direction. */
function steps(direction, count = Infinity) {
  return runner({
    databaseUrl: { ...target, host: PGHOST, port: Number(PGPORT), user: PGUSER, password: PGPASSWORD, database: PGDATABASE },
    dir: folder('pgm'), direction, count, schema: S, migrationsSchema: S, migrationsTable: 'pgmigrations', log: () => {},
  }).then(done => done.map(m => m.name.split('_')[1]))
}

async function pgMigrate() {
  checks.equal(await steps('up', 2), ['start', 'kind'], 'two up')
  checks.equal(await steps('up'), ['index'], 'the last one, an index made concurrently')
  checks.equal(await steps('up'), [], 'nothing to do')
  await withClient(async c => {
    const { rows } = await c.query(`select label, kind from ${S}.shelf order by id`)
    checks.equal(rows, [{ label: 'left', kind: 'wood' }, { label: 'right', kind: 'wood' }], 'rows of a migration, in the schema by search_path')
    checks.equal((await c.query('show search_path')).rows, [{ search_path: '"$user", public' }], "nobody else's search_path")
    await c.query('select pg_advisory_lock(7241865325823964)')
    await steps('up').then(() => { throw new Error('migrated beside another migration') }, error => {
      checks.equal(error.message, 'Another migration is already running', 'another migration runs')
    })
    checks.equal((await c.query('select pg_advisory_unlock(7241865325823964) as done')).rows, [{ done: true }], 'it is over')
  })
  checks.equal(await steps('down', 2), ['index', 'kind'], 'two down')
  await withClient(async c => {
    const { rows } = await c.query("select count(*)::int as n from pg_locks where locktype = 'advisory'")
    checks.equal(rows, [{ n: 0 }], 'the lock is free')
    checks.equal((await c.query(`select * from ${S}.shelf`)).fields.map(f => f.name), ['id', 'label', 'made'], 'as after the first')
  })
  // Three at once, as when a service starts: one gets the lock, the others are told.
  const settled = await Promise.allSettled(range(3).map(() => steps('up', 1)))
  const done = settled.filter(s => s.status === 'fulfilled')
  checks.equal(done.some(s => s.value.join() === 'kind'), true, 'one of them migrates')
  const refused = settled.filter(s => s.status === 'rejected').map(s => s.reason.message)
  checks.equal(refused, refused.map(() => 'Another migration is already running'), 'the others are told')
}

async function sequelize() {
  const db = new Sequelize(PGDATABASE, PGUSER, PGPASSWORD, {
    dialect: 'postgres', host: PGHOST, port: Number(PGPORT), logging: false, schema: S,
    dialectOptions: { ssl: target.ssl }, pool: { max: KEPT },
  })
  const Item = db.define('item', {
    name: { type: DataTypes.STRING(40), unique: true },
    mood: DataTypes.ENUM('sad', 'glad'), tags: DataTypes.ARRAY(DataTypes.TEXT), data: DataTypes.JSONB, at: DataTypes.DATE,
  })
  await db.sync({ force: true })
  const at = new Date('2024-01-31T20:30:00Z')
  await Item.bulkCreate(range(200).map(i => ({ name: `item ${i}`, mood: i % 2 ? 'sad' : 'glad', tags: ['a', `${i}`], data: { i }, at })))
  checks.equal(await Item.count({ where: { mood: 'glad' } }), 100, 'bulkCreate, an enum')
  for (const _ of range(3)) {
    const [row] = await db.query('select current_setting(\'client_min_messages\') as level, current_setting(\'TimeZone\') as zone, "at"::text as at from drv_node_orms.items limit 1', { type: QueryTypes.SELECT })
    checks.equal(row, { level: 'warning', zone: '<+00>-00', at: '2024-01-31 20:30:00+00' }, 'what Sequelize sets')
  }
  const found = await Item.findOne({ where: { data: { i: 7 } } })
  checks.equal([found.name, found.tags, found.at.getTime()], ['item 7', ['a', '7'], at.getTime()], 'JSON, array, time')
  await fails('23505', 'violation in a savepoint', db.transaction(async t => {
    await Item.create({ name: 'outer' }, { transaction: t })
    await db.transaction({ transaction: t }, inner => Item.create({ name: 'item 7' }, { transaction: inner }))
  }))
  checks.equal(await Item.count({ where: { name: 'outer' } }), 0, 'rolled back')
  await db.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE }, async t => {
    const locked = await Item.findAll({ where: { name: 'item 1' }, lock: true, transaction: t })
    checks.equal(locked.length, 1, 'FOR UPDATE')
    const others = await Item.findAll({ where: { name: ['item 1', 'item 2'] }, lock: Transaction.LOCK.UPDATE, skipLocked: true })
    checks.equal(others.map(o => o.name), ['item 2'], 'SKIP LOCKED')
    checks.equal((await db.query('show transaction_isolation', { transaction: t, plain: true })).transaction_isolation, 'serializable', 'isolation level')
  })
  await Promise.all(range(KEPT * 4).map(async number => {
    for (const i of range(10)) {
      const [row] = await db.query('select $1::int as a, $2::text as b', { bind: [i, `client ${number}`], type: QueryTypes.SELECT })
      checks.equal(row, { a: i, b: `client ${number}` }, 'bind parameters')
    }
  }))
  const query = db.getQueryInterface()
  await query.addColumn({ tableName: 'items', schema: S }, 'extra', { type: DataTypes.INTEGER, defaultValue: 7 })
  await query.addIndex({ tableName: 'items', schema: S }, ['extra'], { name: 'items_extra', concurrently: true })
  const columns = await query.describeTable({ tableName: 'items', schema: S })
  checks.equal([columns.extra.type, columns.mood.special, columns.tags.type], ['INTEGER', ['sad', 'glad'], 'ARRAY'], 'describeTable')
  const indexes = await query.showIndex({ tableName: 'items', schema: S })
  checks.equal(indexes.map(i => i.name).sort(), ['items_extra', 'items_name_key', 'items_pkey'], 'showIndex')
  await query.removeColumn({ tableName: 'items', schema: S }, 'extra')
  await Item.drop()
  await within(db.close(), 'end of the pool')
}

async function cleanup() {
  await withClient(c => c.query(`drop schema ${S} cascade`))
}

await checks.run([
  setup, drizzleMigrations, drizzleNames, schemaChange, drizzleConcurrency, pgMigrate, sequelize, cleanup,
])
