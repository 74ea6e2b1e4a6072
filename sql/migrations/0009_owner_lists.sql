-- orca: no-transaction
-- Lists by owner, which is what people ask for most: a page and its total read only what they show.
-- Live: CONCURRENTLY, so neither reads nor writes of agents and workflows wait; both are written by
-- people and registries, not by telemetry, so each index costs little.

CREATE INDEX CONCURRENTLY agents_tenant_id_owner_id_idx ON agents (tenant_id, owner, id);

CREATE INDEX CONCURRENTLY workflows_tenant_id_owner_id_idx ON workflows (tenant_id, owner, id);
