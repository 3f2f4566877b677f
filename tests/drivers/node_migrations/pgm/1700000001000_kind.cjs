// A type, a column, a constraint.
exports.up = pgm => {
  pgm.createType('kind', ['wood', 'steel'])
  pgm.addColumns('shelf', { kind: { type: 'kind', default: 'wood', notNull: true } })
  pgm.addConstraint('shelf', 'shelf_label', { unique: 'label' })
}

exports.down = pgm => {
  pgm.dropConstraint('shelf', 'shelf_label')
  pgm.dropColumns('shelf', ['kind'])
  pgm.dropType('kind')
}
