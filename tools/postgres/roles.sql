-- Run once, by the postgres image on a fresh volume, as the superuser: the database of the records with its owner, and a role for
-- Grafana. SECRETS names the folder of their passwords where it is not /run/secrets.
\set ON_ERROR_STOP on
\set records_password `cat "${SECRETS:-/run/secrets}/records_password"`
\set grafana_password `cat "${SECRETS:-/run/secrets}/grafana_records_password"`

CREATE ROLE scrapewatch LOGIN PASSWORD :'records_password';
CREATE DATABASE scrapewatch OWNER scrapewatch;
REVOKE ALL ON DATABASE scrapewatch FROM PUBLIC;

-- What it may read, the views of the schema panels show it, which migrations make: the rows of the tenant `default`.
CREATE ROLE grafana LOGIN PASSWORD :'grafana_password' CONNECTION LIMIT 20;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
GRANT CONNECT ON DATABASE scrapewatch TO grafana;
