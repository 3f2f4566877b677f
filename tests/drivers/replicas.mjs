// node-postgres for with_replicas.py: which servers have served its transactions, as JSON.

import pg from 'pg'

const [times, table] = process.argv.slice(2)
const client = new pg.Client({ ssl: false, connectionTimeoutMillis: 20_000 })
await client.connect()

async function ports(count, begin, text, values) {
  const found = []
  for (let i = 0; i < count; i++) {
    await client.query(begin)
    found.push((await client.query(text, values)).rows[0].port)
    await client.query('COMMIT')
  }
  return found
}

const where = 'select inet_server_port() as port'
const insert = `insert into ${table} values ('node', $1) returning inet_server_port() as port`
const result = {
  simple: await ports(times, 'BEGIN READ ONLY', where),
  extended: await ports(times, 'BEGIN TRANSACTION READ ONLY', `${where} where $1 = 1`, [1]),
  writes: await ports(20, 'BEGIN', insert, [1]),
}
await client.end()
console.log(JSON.stringify(result))
