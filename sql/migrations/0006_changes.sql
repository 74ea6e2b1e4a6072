-- The log of changes: who writes a resource says so in the outbox, in the same transaction; any
-- server moves what is committed into `changes`, under positions without gaps. Transaction ids give
-- no order to read by: a row's last writer may have the older one, and any open transaction would
-- hold up everybody.
-- Live: new tables only.

CREATE TABLE change_outbox (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    kind text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT change_outbox_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT change_outbox_kind_check CHECK (kind IN ('created', 'updated', 'deleted'))
);

COMMENT ON TABLE change_outbox IS 'Changes without a position yet; as a rule empty. Inserted once the row that changed is locked.';
COMMENT ON COLUMN change_outbox.id IS 'Orders the changes of one row, since its lock was held when the id was drawn.';

CREATE TABLE changes (
    tenant_id uuid NOT NULL,
    position bigint NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    kind text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (tenant_id, position),
    CONSTRAINT changes_kind_check CHECK (kind IN ('created', 'updated', 'deleted'))
);

-- Readers follow all tenants at once.
CREATE UNIQUE INDEX changes_position_idx ON changes (position);

COMMENT ON TABLE changes IS 'Committed changes in one order for all readers. The oldest are deleted, never the newest.';
COMMENT ON COLUMN changes.position IS 'Grows by one over all tenants, without gaps.';
COMMENT ON COLUMN changes.created_at IS 'When the transaction that changed it began.';

CREATE TABLE change_epoch (
    single boolean NOT NULL DEFAULT true,
    stored uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT change_epoch_pkey PRIMARY KEY (single),
    CONSTRAINT change_epoch_single_check CHECK (single)
);

COMMENT ON TABLE change_epoch IS 'At most one row, made by the first reader: positions of another epoch mean nothing here. A restore replaces it.';
