-- What agents mean, for SearchAgents: one vector each, so that a server that starts need not compute
-- what another one has computed. Words need no table: each server keeps an index in memory.
-- Live: a new table only. The foreign key reads agents for an instant.

CREATE TABLE agent_embeddings (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    revision bigint NOT NULL,
    model text NOT NULL,
    embedding halfvec(256) NOT NULL,
    CONSTRAINT agent_embeddings_pkey PRIMARY KEY (tenant_id, agent_id),
    CONSTRAINT agent_embeddings_tenant_id_agent_id_fkey FOREIGN KEY (tenant_id, agent_id)
    REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);

-- For the whole catalogue; up to a few thousand agents are compared one by one, which is exact.
CREATE INDEX agent_embeddings_embedding_idx ON agent_embeddings USING hnsw (embedding halfvec_cosine_ops);

COMMENT ON TABLE agent_embeddings IS 'Written by whichever server is first to see that an agent changed.';
COMMENT ON COLUMN agent_embeddings.revision IS 'Of the agent whose texts were embedded: if it has another one, the vector is old.';
COMMENT ON COLUMN agent_embeddings.model IS 'What computed it: vectors of two models cannot be compared.';
COMMENT ON COLUMN agent_embeddings.embedding IS 'Unit length.';
