-- Who changed what, and why. $1 is the tenant.

-- name: insert_audit_entries
-- One entry per changed row, in the transaction of the change. $1: tenant; $2: actor;
-- $3: action; $4: kind of entity; $5: ids; $6: reason; $7: details as JSON texts, one per id.
-- Index: none, inserts only.
INSERT INTO audit_entries (tenant_id, actor, action, entity_type, entity_id, reason, details)
SELECT $1, $2, $3, $4, changed.entity_id, $6, changed.details::jsonb
FROM unnest($5::uuid[], $7::text[]) AS changed (entity_id, details);
