-- Run once, by the postgres image on a fresh volume, as the superuser: the database of the records with its owner, and a role that
-- only reads it, for Grafana. SECRETS names the folder of their passwords where it is not /run/secrets.
\set ON_ERROR_STOP on
\set records_password `cat "${SECRETS:-/run/secrets}/records_password"`
\set grafana_password `cat "${SECRETS:-/run/secrets}/grafana_records_password"`

CREATE ROLE scrapewatch LOGIN PASSWORD :'records_password';
CREATE DATABASE scrapewatch OWNER scrapewatch;
REVOKE ALL ON DATABASE scrapewatch FROM PUBLIC;

CREATE ROLE grafana LOGIN PASSWORD :'grafana_password' CONNECTION LIMIT 20;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
GRANT CONNECT ON DATABASE scrapewatch TO grafana;

\connect scrapewatch
GRANT USAGE ON SCHEMA public TO grafana;
-- For the tables that migrations make from now on. One that holds secrets takes it back where it is made.
ALTER DEFAULT PRIVILEGES FOR ROLE scrapewatch IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
