-- Makes the role by which a Grafana data source reads the records of one tenant, and shows its password this once; run again, it gives the
-- role another password. As the superuser, in the database of the records:
--     psql --dbname scrapewatch --set role=grafana_acme --set tenant=acme --file tools/postgres/reader.sql
\set ON_ERROR_STOP on
BEGIN;
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') AS there \gset
\if :there
\else
    CREATE ROLE :"role" LOGIN;
\endif
SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '') AS password, current_database() AS database \gset
ALTER ROLE :"role" PASSWORD :'password' CONNECTION LIMIT 20;
ALTER ROLE :"role" SET default_transaction_read_only = on;
ALTER ROLE :"role" SET statement_timeout = '30s';
GRANT CONNECT ON DATABASE :"database" TO :"role";
INSERT INTO panels.readers (role, tenant) VALUES (:'role', :'tenant')
    ON CONFLICT (role) DO UPDATE SET tenant = excluded.tenant;
COMMIT;
\echo the password of :role, which reads the tenant :tenant, is :password
