-- Asset notifications of Smartico, and the outbox of what is passed on to the operator's own API.

-- "An asset was sent": what Smartico told of its own communications. id: 16 bytes of a UUIDv7, by the time of arrival.
CREATE TABLE communications (
    id BLOB PRIMARY KEY,
    digest BLOB,                      -- the same for a repeat; NULL where it had no time
    login TEXT NOT NULL,              -- the ext_user_id; empty where it was missing
    channel TEXT NOT NULL,
    campaign_name TEXT NOT NULL,
    sent_at INTEGER,                  -- its own time
    received_at INTEGER NOT NULL,
    view_url BLOB NOT NULL,           -- sealed
    body BLOB NOT NULL,               -- sealed: a JSON object of all other fields
    message_id BLOB,                  -- the message that it tells of, where that was found
    tie_at INTEGER                    -- when that is looked for again
) WITHOUT ROWID;
CREATE UNIQUE INDEX communications_digest ON communications (digest) WHERE digest IS NOT NULL;
CREATE INDEX communications_login ON communications (login, id);
CREATE INDEX communications_campaign ON communications (campaign_name, id);
CREATE INDEX communications_message ON communications (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX communications_tie ON communications (tie_at) WHERE tie_at IS NOT NULL;

-- The outbox of what is passed on. kind: communication, inbound; source: what it is, within its kind; key: whom it is
-- about. state: pending, done, dead. Of the pending ones of one key only the oldest has a due_at; the others wait for it.
CREATE TABLE forwards (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL,            -- sealed; empty once it is done
    state TEXT NOT NULL,
    due_at INTEGER,
    owed_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    finished_at INTEGER,
    latency_ms INTEGER,
    last_error TEXT
);
CREATE UNIQUE INDEX forwards_first ON forwards (key, kind) WHERE state = 'pending' AND due_at IS NOT NULL;
CREATE INDEX forwards_due ON forwards (kind, due_at) WHERE state = 'pending';
CREATE INDEX forwards_key ON forwards (key, kind, state, id);
CREATE INDEX forwards_source ON forwards (source, kind);
