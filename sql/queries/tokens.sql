-- Tokens that were handed out; the token itself is never stored.

-- name: insert_token
-- $1: tenant; $2: id; $3: subject; $4: role; $5: agents, JSON list; $6: expires at. Index: tokens_pkey.
INSERT INTO tokens (tenant_id, id, subject, role, agents, expires_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6);

-- name: list_tokens
-- $1: tenant. Newest first. Index: tokens_pkey.
SELECT id, subject, role, agents, created_at, expires_at, revoked_at
FROM tokens
WHERE tenant_id = $1
ORDER BY id DESC;

-- name: revoke_token
-- $1: tenant; $2: id. A second time keeps the first instant. Index: tokens_pkey.
UPDATE tokens
SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = $1
  AND id = $2
RETURNING id, subject, role, agents, created_at, expires_at, revoked_at;

-- name: list_revoked_tokens
-- Ids of revoked tokens that have not expired, of every tenant: ids are unique among them, and a
-- server refuses any. Tenant: all (column tenant_id). Index: none, a small table read every 5 s.
SELECT id
FROM tokens
WHERE revoked_at IS NOT NULL
  AND expires_at > now() - interval '1 minute';
