#!/usr/bin/env bash
# pg_partman for a new database: in a schema of its own, and the service's role (PARTMAN_ROLE, else the owner) may use it.
# It needs no more: it owns the logs, so it may change them, and whom pg_partman works for it works as.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "${POSTGRES_DB:-$POSTGRES_USER}" \
    --set role="${PARTMAN_ROLE:-$POSTGRES_USER}" <<'SQL'
CREATE SCHEMA IF NOT EXISTS partman;
CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA partman;
GRANT USAGE ON SCHEMA partman TO :"role";
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA partman TO :"role";
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA partman TO :"role";
SQL
