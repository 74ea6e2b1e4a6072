-- What SearchAgents reads: the texts for the index in each server's memory, and vectors of meaning.

-- name: list_search_documents
-- Texts of agents of all tenants, by tenant and id, and whether their vector is of these texts.
-- $1 and $2: tenant_id and id of the last one before; $3: at most so many; $4: model.
-- Index: agents_pkey, agent_embeddings_pkey.
SELECT
    agents.tenant_id,
    agents.id,
    agents.revision,
    agents.state = 'CATALOG' AS in_catalog,
    agents.name,
    agents.display_name,
    agents.description,
    agents.capabilities,
    ARRAY(
        SELECT ARRAY[tool ->> 'name', tool ->> 'description']
        FROM jsonb_array_elements(agents.tools) AS tool
    ) AS tools,
    coalesce(agent_embeddings.revision = agents.revision AND agent_embeddings.model = $4, false) AS embedded
FROM agents
LEFT JOIN agent_embeddings
    ON agent_embeddings.tenant_id = agents.tenant_id
    AND agent_embeddings.agent_id = agents.id
WHERE (agents.tenant_id, agents.id) > ($1::uuid, $2::uuid)
ORDER BY agents.tenant_id, agents.id
LIMIT $3;

-- name: find_search_documents
-- The same of certain agents, those that exist. $1: tenants; $2: ids; $3: model.
-- Index: agents_pkey, agent_embeddings_pkey.
SELECT
    agents.tenant_id,
    agents.id,
    agents.revision,
    agents.state = 'CATALOG' AS in_catalog,
    agents.name,
    agents.display_name,
    agents.description,
    agents.capabilities,
    ARRAY(
        SELECT ARRAY[tool ->> 'name', tool ->> 'description']
        FROM jsonb_array_elements(agents.tools) AS tool
    ) AS tools,
    coalesce(agent_embeddings.revision = agents.revision AND agent_embeddings.model = $3, false) AS embedded
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
INNER JOIN agents
    ON agents.tenant_id = wanted.tenant_id
    AND agents.id = wanted.id
LEFT JOIN agent_embeddings
    ON agent_embeddings.tenant_id = agents.tenant_id
    AND agent_embeddings.agent_id = agents.id;

-- name: store_embeddings
-- Keeps vectors of agents that are still as they were read: a slow server never puts the vector of an
-- old text over a newer one. $1: tenants; $2: ids; $3: revisions; $4: model; $5: vectors as text.
-- Index: agents_pkey, agent_embeddings_pkey.
INSERT INTO agent_embeddings (tenant_id, agent_id, revision, model, embedding)
SELECT locked.tenant_id, locked.id, locked.revision, $4, locked.embedding::halfvec
FROM (
    SELECT agents.tenant_id, agents.id, agents.revision, made.embedding
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $5::text[]) AS made (tenant_id, id, revision, embedding)
    INNER JOIN agents
        ON agents.tenant_id = made.tenant_id
        AND agents.id = made.id
        AND agents.revision = made.revision
    ORDER BY agents.tenant_id, agents.id
    FOR SHARE OF agents
) AS locked
ON CONFLICT (tenant_id, agent_id) DO UPDATE SET
    revision = excluded.revision,
    model = excluded.model,
    embedding = excluded.embedding
WHERE agent_embeddings.revision <> excluded.revision OR agent_embeddings.model <> excluded.model;

-- name: match_agents
-- Ids of agents: store/search.py appends the filter. $1: tenant. Index: agents_fleet_idx, agents_pkey.
SELECT agents.id
FROM agents
LEFT JOIN agent_trust
    ON agent_trust.tenant_id = agents.tenant_id
    AND agent_trust.agent_id = agents.id
WHERE agents.tenant_id = $1;

-- name: nearest_among
-- Agents among these, by similarity of meaning: exact, each is compared. $1: tenant; $2: ids; $3: the
-- vector as text; $4: at most so many. Index: agent_embeddings_pkey.
WITH compared AS MATERIALIZED (
    SELECT
        agent_embeddings.agent_id AS id,
        1 - (agent_embeddings.embedding <=> $3::text::halfvec) AS similarity
    FROM agent_embeddings
    WHERE agent_embeddings.tenant_id = $1
        AND agent_embeddings.agent_id = ANY($2::uuid[])
)

SELECT id, similarity
FROM compared
ORDER BY similarity DESC, id
LIMIT $4;

-- name: nearest_agents
-- Agents by similarity of meaning, of many. How far the scan looks is a setting of the connection
-- (store/database.py). A filter judges them afterwards: together, the planner would rather read all
-- agents, since it cannot know how many pass. $1: tenant; $2: the vector as text; $3: at most so many.
-- Index: agent_embeddings_embedding_idx.
SELECT
    agent_id AS id,
    embedding <=> $2::text::halfvec AS distance
FROM agent_embeddings
WHERE tenant_id = $1
ORDER BY distance
LIMIT $3;
