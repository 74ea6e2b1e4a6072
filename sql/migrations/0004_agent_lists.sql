-- orca: no-transaction
-- Indexes of the inventory's lists. Agents are written by people and registries, not by
-- telemetry, so each index costs little.
-- Live: CONCURRENTLY, so neither reads nor writes of agents wait.

-- The fleet without the catalogue, which may be a hundred times as large: pages by id, and totals.
CREATE INDEX CONCURRENTLY agents_fleet_idx ON agents (tenant_id, id) WHERE state <> 'CATALOG';

CREATE INDEX CONCURRENTLY agents_tenant_id_name_id_idx ON agents (tenant_id, name, id);

CREATE INDEX CONCURRENTLY agents_tenant_id_updated_at_id_idx ON agents (tenant_id, updated_at, id);

-- Servers of the registry file, which a sync compares with it.
CREATE INDEX CONCURRENTLY agents_file_idx ON agents (tenant_id, type) WHERE source = 'file';
