// What the Node driver scripts share: the target, exact checks that are counted, and deadlines.
//
// The target comes from the environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE,
// PGSSLROOTCERT). The first check that does not hold ends the script with a message; no script
// outlives OVERALL milliseconds.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds that one script may take. */
const OVERALL = 120_000
/** Milliseconds that one wait may take. */
export const PATIENCE = 20_000
/** Bytes of a big value. */
export const BIG = 10 * 1024 * 1024
/** Connections at once where a pool is expected to be smaller. */
export const CLIENTS = 20
/** How many backends run a statement with the mark `$1`. */
export const RUNNING =
  "select count(*)::int as n from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()"

/** Counts what held; the first thing that does not ends the script. */
export class Checks {
  constructor(name) {
    this.name = name
    this.count = 0
    this.section = 'start'
    setTimeout(() => this.fatal(new Error(`not done within ${OVERALL} ms`)), OVERALL).unref()
    process.on('uncaughtException', error => this.fatal(error))
    process.on('unhandledRejection', error => this.fatal(error))
  }

  /** `got` is exactly `want`. */
  equal(got, want, what) {
    this.count += 1
    try {
      assert.deepEqual(got, want)
    } catch {
      throw new Error(`${what}: got ${short(got)}, want ${short(want)}`)
    }
  }

  /** `promise` is rejected with this SQLSTATE; resolves to the error. */
  async fails(want, what, promise) {
    let result
    try {
      result = await promise
    } catch (error) {
      this.equal(error.code, want, `${what} (SQLSTATE of: ${short(error.message)})`)
      return error
    }
    throw new Error(`${what}: succeeded with ${short(result)}, want SQLSTATE ${want}`)
  }

  /** Runs the sections in order, then says how many checks held. */
  async run(sections) {
    for (const section of sections) {
      this.section = section.name
      await section()
    }
    console.log(`ok ${this.name}: ${this.count} checks`)
    process.exit(0)
  }

  /** Says what failed and ends the process. */
  fatal(error) {
    console.error(error.stack)
    console.log(`FAILED ${this.name}, ${this.section}: ${error.message}`)
    process.exit(1)
  }
}

/** A value as text that fits a message. */
function short(value) {
  const text = value instanceof Error ? value.message : JSON.stringify(value) ?? String(value)
  return text.length <= 300 ? text : `${text.slice(0, 300)}.. (${text.length} characters)`
}

/** A word nobody else uses, to find a statement in pg_stat_activity. */
export function mark() {
  return `mark${Math.random().toString(16).slice(2)}`
}

/** Waits for `condition()`; a wait without an end is a failure. */
export async function until(condition, what) {
  for (const start = Date.now(); !(await condition()); await delay(20)) {
    if (Date.now() - start > PATIENCE) throw new Error(`${what}: not within ${PATIENCE} ms`)
  }
}

/** `promise`, or a failure when it takes too long. */
export function within(promise, what) {
  const late = delay(PATIENCE, null, { ref: false }).then(() => {
    throw new Error(`${what}: not within ${PATIENCE} ms`)
  })
  return Promise.race([promise, late])
}

/** The `ssl` option of both drivers. */
export function tls() {
  const mode = process.env.PGSSLMODE ?? 'disable'
  if (mode === 'disable') return false
  if (mode === 'require') return { rejectUnauthorized: false }
  const options = { ca: readFileSync(process.env.PGSSLROOTCERT, 'utf8'), servername: process.env.PGHOST }
  return mode === 'verify-full' ? options : { ...options, checkServerIdentity: () => undefined }
}

/** The numbers 0..n. */
export const range = n => Array.from({ length: n }, (_, i) => i)
