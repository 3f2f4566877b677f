// A table with rows.
exports.up = pgm => {
  pgm.createTable('shelf', { id: 'id', label: { type: 'text', notNull: true }, made: { type: 'timestamptz', default: pgm.func('now()') } })
  pgm.sql("insert into shelf (label) values ('left'), ('right')")
}
