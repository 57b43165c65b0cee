-- Who may not connect: `kind` is the `as` of the API, `until_ms` is NULL for a ban without an end.

CREATE TABLE bans (
    kind TEXT NOT NULL,
    who TEXT NOT NULL,
    made_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    until_ms INTEGER,
    PRIMARY KEY (kind, who)
) STRICT;
