-- A user for the gateway, which only reads: routing, keys of clients, the ledger's identity. It cannot write, and it cannot
-- read what people said. Run it as the owner of the ledger after `clorad ledger migrate`, and again after an upgrade:
--   psql -v ON_ERROR_STOP=1 -v gateway=clorad_gateway -v password="$PASSWORD" -f deploy/postgres/gateway_role.sql DATABASE
-- Then CLORAD_LEDGER__URL of the gateway alone names this user.
SELECT format('CREATE ROLE %I LOGIN', :'gateway')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'gateway') \gexec
ALTER ROLE :"gateway" PASSWORD :'password' CONNECTION LIMIT 50 NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
ALTER ROLE :"gateway" SET default_transaction_read_only = on;
ALTER ROLE :"gateway" SET statement_timeout = '30s';
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :"gateway";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"gateway";
GRANT SELECT ON access_keys, agents, canary_steps, desired, facts, holds, replicas, versions TO :"gateway";
-- Of decisions, which version nobody judged; their evidence holds texts.
GRANT SELECT (id, agent, number, kind, by) ON decisions TO :"gateway";
