// What no transaction may hold: an index made concurrently.
exports.up = pgm => {
  pgm.noTransaction()
  pgm.createIndex('shelf', 'kind', { name: 'shelf_kind', concurrently: true })
}

exports.down = pgm => {
  pgm.noTransaction()
  pgm.dropIndex('shelf', 'kind', { name: 'shelf_kind', concurrently: true })
}
