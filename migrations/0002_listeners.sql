-- listeners made or changed through the API; `config` is the JSON object of the listener without its type and name
CREATE TABLE listeners (
    id TEXT PRIMARY KEY,
    config TEXT NOT NULL
) STRICT;
