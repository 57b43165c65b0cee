-- Topics and filters whose messages are counted; the counters themselves are not kept.

CREATE TABLE topic_metrics (
    filter TEXT PRIMARY KEY,
    created_at_ms INTEGER NOT NULL
) STRICT;
