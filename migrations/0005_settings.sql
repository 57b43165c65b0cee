-- Settings that were changed through the API; `value` is JSON. What stands in the configuration file wins.

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
