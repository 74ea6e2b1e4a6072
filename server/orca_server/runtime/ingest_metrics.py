"""The metrics of ingest, by kind of rows: telemetry or events."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("orca_ingest_records", "Records by kind and outcome.", ["kind", "outcome"])
SHED = Counter("orca_ingest_shed", "Requests turned away because the queue was full.", ["kind"])
BATCH = Histogram(
    "orca_ingest_batch_records",
    "Records per statement.",
    ["kind"],
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
)
COMMIT = Histogram(
    "orca_ingest_commit_seconds", "Seconds from taking a batch to its commit.", ["kind"]
)
QUEUED = Gauge("orca_ingest_queued_records", "Records waiting for a batch.", ["kind"])


class IngestMetrics:
    """The metrics of one kind: looked up once."""

    def __init__(self, kind: str) -> None:
        """Those of `kind`."""
        self.accepted = RECORDS.labels(kind, "accepted")
        self.duplicates = RECORDS.labels(kind, "duplicate")
        self.refused = RECORDS.labels(kind, "refused")
        self.shed = SHED.labels(kind)
        self.batch = BATCH.labels(kind)
        self.commit = COMMIT.labels(kind)
        self.queued = QUEUED.labels(kind)
