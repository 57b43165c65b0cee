-- The server's own store: users, API keys, and the objects made through the API.
-- Migrations are ordered and append-only: never change this file, add another.

CREATE TABLE users (
    username TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    description TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    name TEXT PRIMARY KEY,
    api_key TEXT NOT NULL UNIQUE,
    secret_hash TEXT NOT NULL,
    description TEXT NOT NULL,
    role TEXT NOT NULL,
    enable INTEGER NOT NULL,
    expires_at_ms INTEGER,
    created_at_ms INTEGER NOT NULL
) STRICT;

-- connectors, actions and rules; `config` is the JSON object as it was given, secrets included
CREATE TABLE objects (
    class TEXT NOT NULL,
    id TEXT NOT NULL,
    config TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    last_modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (class, id)
) STRICT;
