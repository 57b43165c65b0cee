-- Traces: `definition` is JSON, `stopped` says that it has ended. What they have written is in the folder `trace`.

CREATE TABLE traces (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    stopped INTEGER NOT NULL
) STRICT;
