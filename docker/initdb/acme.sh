#!/bin/bash
# Runs once, when the primary's data directory is made: replication for the replica, one tenant.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -U postgres <<'SQL'
create role replicator login replication password 'replica-secret';
create role tenant_acme login password 'acme-server-secret';
create database tenant_acme owner tenant_acme;
revoke all on database tenant_acme from public;
revoke connect on database postgres, template1 from public;
SQL
echo "host replication replicator all scram-sha-256" >>"$PGDATA/pg_hba.conf"
