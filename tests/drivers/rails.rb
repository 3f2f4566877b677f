# Rails' Active Record with its defaults (Debian's, over its pg): what it SETs at each connect, protocol
# level statements a1, a2 .. with DEALLOCATE where its cache is full, migrations behind an advisory lock,
# look-ups of types, savepoints and row locks.
#
# The target comes from the environment. The first check that does not hold ends the script.

require "active_record"
require "timeout"

OVERALL = 120 # seconds that the whole script may take
PATIENCE = 20 # seconds that one wait may take
T = "drv_rails"
# Connections at once, more than a pool is expected to have for its server.
THREADS = 12

# Counts what held.
module Checks
  @lock = Mutex.new
  @count = 0
  class << self
    attr_reader :count
    attr_accessor :section

    def equal(got, want, what)
      @lock.synchronize { @count += 1 }
      raise "#{what}: got #{got.inspect[0, 300]}, want #{want.inspect[0, 300]}" unless got == want
    end

    # The block fails with that error of Active Record and this SQLSTATE.
    def fails(error, state, what)
      yield
    rescue error => e
      equal(e.cause.result.error_field(PG::PG_DIAG_SQLSTATE), state, "#{what} (#{e.message[0, 200]})")
    else
      raise "#{what}: succeeded, want SQLSTATE #{state}"
    end
  end
end

CONFIG = {
  adapter: "postgresql", encoding: "unicode", host: ENV["PGHOST"], port: ENV["PGPORT"].to_i,
  username: ENV["PGUSER"], password: ENV["PGPASSWORD"], database: ENV["PGDATABASE"],
  connect_timeout: PATIENCE, pool: THREADS, schema_search_path: T, # TLS: by libpq's variables
}.freeze

ActiveRecord::Base.establish_connection(CONFIG)
ActiveRecord::Migration.verbose = false

class Author < ActiveRecord::Base
  attribute :span, :interval # Rails 6.1 would give a text, and says so each time
  has_many :books
end

class Book < ActiveRecord::Base
  belongs_to :author
end

# Another database for Active Record: a connection pool of its own with other settings.
class Other < ActiveRecord::Base
  self.abstract_class = true
end

class CreateAuthors < ActiveRecord::Migration[6.1]
  def change
    create_table(:authors) do |t|
      t.string :name, null: false
      t.timestamps
    end
    create_table(:books) do |t|
      t.references :author, null: false, foreign_key: true
      t.text :title
      t.decimal :price, precision: 8, scale: 2, default: 0
    end
  end
end

class AddMood < ActiveRecord::Migration[6.1]
  def up
    execute "create type mood as enum ('sad', 'glad')"
    add_column :authors, :mood, :mood, default: "sad", null: false
    add_column :authors, :tags, :text, array: true, default: []
    add_column :authors, :data, :jsonb
    add_column :authors, :span, :interval
    Author.reset_column_information
    Author.insert_all!((1..5).map { |i| { name: "author #{i}", mood: i > 3 ? "glad" : "sad", created_at: Time.now, updated_at: Time.now } })
  end

  def down
    remove_columns :authors, :mood, :tags, :data, :span
    execute "drop type mood"
    execute "truncate authors, books"
  end
end

class AddIndexes < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def change
    add_index :authors, :name, unique: true, algorithm: :concurrently
    add_index :books, :title, algorithm: :concurrently
  end
end

MIGRATIONS = [CreateAuthors, AddMood, AddIndexes].freeze

# A migrator over these classes instead of files; it takes Rails' advisory lock.
def migrator(direction, target = nil)
  list = MIGRATIONS.each_with_index.map { |made, i| made.new(made.name, i + 1) }
  more = [ActiveRecord::Base.connection.schema_migration]
  more << ActiveRecord::Base.connection.internal_metadata if ActiveRecord::Base.connection.respond_to?(:internal_metadata)
  ActiveRecord::Migrator.new(direction, list, *more, target)
end

def connection
  ActiveRecord::Base.connection
end

def setup
  Other.establish_connection(CONFIG.merge(schema_search_path: "public", pool: 1))
  Other.connection.execute("drop schema if exists #{T} cascade; create schema #{T}")
  Other.connection_pool.disconnect!
  connection.schema_migration.create_table
  ActiveRecord::InternalMetadata.create_table if ActiveRecord::InternalMetadata.respond_to?(:create_table)
end

# What is set at connect, and that it stays over transactions.
def settings
  3.times do
    shown = %w[client_min_messages standard_conforming_strings intervalstyle timezone search_path client_encoding].map { |name| connection.select_value("show #{name}") }
    Checks.equal(shown, ["warning", "on", "iso_8601", "UTC", T, "UTF8"], "what Active Record sets")
    connection.transaction { Checks.equal(connection.select_value("show timezone"), "UTC", "also in a transaction") }
  end
  Checks.equal(connection.select_value("select '1 day 2 hours'::interval"), "P1DT2H", "intervals in ISO 8601")
end

def migrations
  migrator(:up, 2).migrate
  Checks.equal(connection.schema_migration.all_versions.map(&:to_i), [1, 2], "two of three")
  Author.reset_column_information
  Checks.equal(Author.order(:id).pluck(:mood), %w[sad sad sad glad glad], "rows of a migration, an enum by its label")
  migrator(:up).migrate
  Checks.equal(connection.schema_migration.all_versions.map(&:to_i), [1, 2, 3], "all of them")
  Checks.equal(connection.indexes(:authors).map { |i| [i.columns, i.unique] }, [[["name"], true]], "an index made concurrently")
  Checks.equal(connection.foreign_keys(:books).map { |k| [k.to_table, k.column] }, [%w[authors author_id]], "a foreign key")
  migrator(:down, 1).migrate
  Author.reset_column_information
  Checks.equal([connection.schema_migration.all_versions.map(&:to_i), Author.column_names], [[1], %w[id name created_at updated_at]], "two down")
  migrator(:down, 0).migrate
  Checks.equal(connection.tables.sort, %w[ar_internal_metadata schema_migrations], "all down")
  migrator(:up).migrate
  Author.reset_column_information
  locks = connection.select_value("select count(*) from pg_locks where locktype = 'advisory'")
  Checks.equal(locks, 0, "the advisory lock is free")
end

# A second migration at the same time is refused, and not after it.
def migration_lock
  Other.establish_connection(CONFIG)
  id = migrator(:up).send(:generate_migrator_advisory_lock_id)
  Checks.equal(Other.connection.get_advisory_lock(id), true, "another migration runs")
  begin
    migrator(:up).migrate
    raise "two migrations at once"
  rescue ActiveRecord::ConcurrentMigrationError
    Checks.equal(connection.select_value("select 1"), 1, "refused")
  end
  Checks.equal(Other.connection.release_advisory_lock(id), true, "which ends")
  said = []
  Other.connection.raw_connection.set_notice_processor { |message| said << message.strip }
  Checks.equal(Other.connection.release_advisory_lock(id), false, "once")
  Checks.equal(said, ["WARNING:  you don't own a lock of type ExclusiveLock"], "the server's warning")
  migrator(:up).migrate
  Other.connection_pool.disconnect!
end

def models
  first = Author.find_by!(name: "author 1")
  Checks.equal(Book.insert_all!((0...500).map { |i| { author_id: first.id, title: "book #{i}", price: i } }).length, 500, "insert_all")
  Checks.equal([Book.count, Book.sum(:price)], [500, 124_750], "bulk insert")
  first.update!(tags: %w[a b], data: { "n" => [1, nil] }, span: 36.hours, mood: "glad")
  first = Author.find(first.id)
  Checks.equal([first.tags, first.data, first.span.iso8601, first.mood], [%w[a b], { "n" => [1, nil] }, "PT36H", "glad"], "array, JSON, interval, enum")
  Checks.equal(Book.joins(:author).where(author: { name: "author 1" }, title: ["book 7", "book 8"]).order(:title).pluck(:price), [7, 8], "join")
  Checks.equal(Book.includes(:author).find_each(batch_size: 50).sum { |b| b.author.id == first.id ? 1 : 0 }, 500, "find_each")
  Checks.equal(Author.where("created_at > ?", 1.hour.ago).count, 5, "times in UTC")
  at = Time.utc(2024, 1, 31, 20, 30)
  first.update!(created_at: at)
  Checks.equal(connection.select_value("select created_at::text from authors where id = #{first.id}"), "2024-01-31 20:30:00", "a time in UTC")
  Checks.equal(Author.find(first.id).created_at, at, "and back")
  created = connection.exec_query("select typname from pg_type where oid = 'mood'::regtype").rows
  Checks.equal(created, [["mood"]], "a type in the schema of this script")
end

# a1, a2 .. on two connections mean different things; past the cache's size they are deallocated.
def statements
  small = CONFIG.merge(statement_limit: 5)
  ActiveRecord::Base.establish_connection(small)
  Other.establish_connection(CONFIG.merge(schema_search_path: "pg_catalog"))
  connection.transaction(joinable: false) { connection.execute("select 1") }
  4.times do |round|
    12.times do |i|
      Checks.equal(connection.exec_query("select $1::int + #{i}", "SQL", [bind(round)], prepare: true).rows, [[round + i]], "a name of twelve in a cache of five")
      other = Other.connection.exec_query("select $1::int * 100 + #{i}", "SQL", [bind(round)], prepare: true)
      Checks.equal(other.rows, [[round * 100 + i]], "another connection's name")
    end
    Book.transaction do
      Checks.equal(Author.find_by(name: "author #{round + 1}").name, "author #{round + 1}", "in a transaction")
      Checks.equal(Book.where(title: "book #{round}").first.price, round, "another statement")
    end
  end
  names = connection.instance_variable_get(:@statements)
  Checks.equal(names.length, 5, "statements that Active Record believes to be there")
  connection.clear_cache!
  Checks.equal(Author.find_by(name: "author 2").name, "author 2", "after clear_cache!, which deallocates each")
  raw = connection.raw_connection
  begin
    raw.exec_prepared("a1", [])
    raise "a1 is still there"
  rescue PG::InvalidSqlStatementName => e
    Checks.equal(e.result.error_field(PG::PG_DIAG_SQLSTATE), "26000", "a deallocated name")
  end
  Other.connection_pool.disconnect!
  ActiveRecord::Base.establish_connection(CONFIG)
end

def bind(value)
  ActiveRecord::Relation::QueryAttribute.new("n", value, ActiveRecord::Type::Integer.new)
end

# The schema changes under cached statements: Active Record prepares again outside of transactions. A
# server that has no plan yet makes one; pg asks each time which columns come.
def schema_changes
  find = -> { Author.connection.exec_query("select * from authors where name = $1", "SQL", [ActiveRecord::Relation::QueryAttribute.new("name", "author 3", ActiveRecord::Type::String.new)], prepare: true) }
  before = find.call.columns.length
  Other.establish_connection(CONFIG)
  Other.connection.add_column(:authors, :extra, :integer, default: 7)
  Checks.equal([find.call.columns.length, find.call.first["extra"]], [before + 1, 7], "a cached plan after DDL")
  Other.connection.remove_column(:authors, :extra)
  begin
    Checks.equal(Author.transaction { find.call.columns.length }, before, "a new plan in a transaction")
    raise "a stale statement passed in a transaction" if ENV["DIRECT"]
  rescue ActiveRecord::PreparedStatementCacheExpired
    Checks.equal(find.call.columns.length, before, "in a transaction it is an error")
  end
  Other.connection_pool.disconnect!
end

def transactions
  Author.transaction do
    Author.create!(name: "outer")
    begin
      Author.transaction(requires_new: true) do
        Author.create!(name: "inner")
        Author.create!(name: "outer")
      end
    rescue ActiveRecord::RecordNotUnique => e
      Checks.equal(e.cause.result.error_field(PG::PG_DIAG_SQLSTATE), "23505", "violation in a savepoint")
    end
    Author.transaction(requires_new: true) { Author.create!(name: "third") }
  end
  Checks.equal(Author.where(name: %w[outer inner third]).order(:name).pluck(:name), %w[outer third], "savepoints")
  Author.transaction do
    Author.where(name: "third").delete_all
    raise ActiveRecord::Rollback
  end
  Checks.equal(Author.where(name: %w[outer third]).delete_all, 2, "a transaction that was rolled back")
  Author.transaction(isolation: :serializable) { Checks.equal(connection.select_value("show transaction_isolation"), "serializable", "isolation level") }
  Other.establish_connection(CONFIG)
  Author.transaction do
    Author.lock.find_by!(name: "author 1")
    Checks.fails(ActiveRecord::LockWaitTimeout, "55P03", "NOWAIT") do
      Other.connection.execute("select * from authors where name = 'author 1' for update nowait")
    end
    rows = Other.connection.select_values("select name from authors order by name for update skip locked")
    Checks.equal(rows, (2..5).map { |i| "author #{i}" }, "SKIP LOCKED")
  end
  Other.connection_pool.disconnect!
  Checks.fails(ActiveRecord::StatementInvalid, "42601", "syntax error") { connection.execute("selec 1") }
  Checks.fails(ActiveRecord::StatementInvalid, "42P01", "a missing table") { connection.exec_query("select * from drv_missing where id = $1", "SQL", [bind(1)], prepare: true) }
  Checks.equal(connection.select_value("select 4"), 4, "usable after all of it")
end

def concurrency
  author = Author.find_by!(name: "author 5")
  ActiveRecord::Base.connection_pool.disconnect!
  threads = THREADS.times.map do |i|
    Thread.new do
      Thread.current.report_on_exception = false
      ActiveRecord::Base.connection_pool.with_connection do
        30.times do |n|
          Book.transaction do
            Book.create!(author: author, title: "client #{i}", price: n)
            Checks.equal(Book.where(title: "client #{i}").count, n + 1, "its own writes")
          end
          Checks.equal(Author.find(author.id).name, "author 5", "a cached statement")
        end
      end
    end
  end
  threads.each { |thread| raise "a client is not done" unless thread.join(60) }
  Checks.equal(Book.where(author: author).group(:title).sum(:price), THREADS.times.to_h { |i| ["client #{i}", 435] }, "each write is there once")
end

# Off from Rails' defaults, as its guide says for poolers: no prepared statements.
def unprepared
  ActiveRecord::Base.establish_connection(CONFIG.merge(prepared_statements: false))
  5.times do |i|
    Checks.equal(Author.find_by(name: "author #{i + 1}").name, "author #{i + 1}", "without prepared statements")
  end
  ActiveRecord::Base.establish_connection(CONFIG)
end

def cleanup
  migrator(:down, 0).migrate
  connection.execute("drop schema #{T} cascade")
  ActiveRecord::Base.connection_pool.disconnect!
end

begin
  Timeout.timeout(OVERALL) do
    %i[setup settings migrations migration_lock models statements schema_changes transactions concurrency unprepared cleanup].each do |name|
      Checks.section = name
      send(name)
    end
  end
  puts "ok rails: #{Checks.count} checks"
rescue Exception => e # rubocop:disable Lint/RescueException
  warn e.full_message(highlight: false)
  puts "FAILED rails, #{Checks.section}: #{e.class}: #{e.message[0, 500]}"
  exit!(1)
end
