# The things one does with a checkout. Each installs what it lacks on Debian and Ubuntu and
# says what to install elsewhere: scripts/prerequisites.

.PHONY: demo test bench session-state endurance fuzz check prerequisites-%

# A primary, a replica, three tenants and the proxy in front, until Ctrl-C.
demo: prerequisites-demo
	cargo build --release --locked
	@exec target/release/tenantry demo

# Everything: unit, property and integration tests, then each driver through a real proxy.
test: prerequisites-test
	scripts/test

# Direct, Tenantry and PgBouncer side by side.
bench: prerequisites-bench
	bench/run

# The table in docs/session-state.md, Tenantry's columns and PgBouncer's.
session-state: prerequisites-session-state
	TENANTRY_BLESS=1 TENANTRY_PGBOUNCER=$$(PATH="$$PATH:/usr/sbin" command -v pgbouncer) \
		cargo test --locked --test it matrix -- --nocapture

# A hostile day, a year of reloads and replicas in trouble, in full: some twenty-five minutes.
endurance: prerequisites-test
	cargo build --release --locked
	TENANTRY_BINARY=$(CURDIR)/target/release/tenantry TENANTRY_HOSTILITY=full \
		cargo test --locked --test hostility -- --nocapture
	TENANTRY_BINARY=$(CURDIR)/target/release/tenantry TENANTRY_RELOADS=5000 \
		cargo test --locked --test year -- --nocapture
	TENANTRY_BINARY=$(CURDIR)/target/release/tenantry TENANTRY_REPLICAS=full \
		cargo test --locked --test replicas -- --nocapture

# What a change must pass besides its tests.
check: prerequisites-check
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	cargo deny --locked check bans licenses sources

# Each fuzz target for a minute, or for SECONDS; the corpus is replayed by `make test`.
fuzz: prerequisites-fuzz
	fuzz/run $(or $(SECONDS),60)

prerequisites-%:
	@scripts/prerequisites $*
