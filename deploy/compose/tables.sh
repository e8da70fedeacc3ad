#!/bin/bash
# Runs once, when the database is empty: the login of Tidegate with no more rights than it needs, and the table.
set -eu

psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --set=password="$POSTGRES_PASSWORD" --set=database="$POSTGRES_DB" <<'SQL'
CREATE ROLE tidegate LOGIN PASSWORD :'password';
-- CREATE for its own schema, the ledger; TEMPORARY for the staging of batches.
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE :"database" TO tidegate;

CREATE TABLE public.events (
    event_id    uuid PRIMARY KEY,
    customer_id bigint NOT NULL,
    kind        text NOT NULL,
    amount      numeric(12, 2),
    occurred_at timestamptz NOT NULL,
    attributes  jsonb,
    received_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.events TO tidegate;
SQL
