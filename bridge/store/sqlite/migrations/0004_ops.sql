-- The pages of the operations room: who is signed in, and what a page lists without walking through everything.

-- id: SHA-256 of what the browser keeps; operator: the name in the settings; token: a digest of the operator's token, so
-- that a session ends when the token is changed.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    operator TEXT NOT NULL,
    token BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages that are failed or rejected, or once were (a later delivery wins): a list of them walks through no others.
-- It is no partial index on messages, since an index that depends on the state makes every change of a state dearer
-- (on PostgreSQL every index would be written instead of none). Triggers write it; what goes well costs nothing.
CREATE TABLE negative_ends (
    state TEXT NOT NULL,
    message_id BLOB NOT NULL,
    gateway TEXT NOT NULL,
    PRIMARY KEY (state, message_id)
) WITHOUT ROWID;
INSERT INTO negative_ends (state, message_id, gateway)
SELECT state, id, gateway FROM messages WHERE state IN ('failed', 'rejected');

CREATE TRIGGER messages_ended AFTER UPDATE OF state ON messages
WHEN new.state IN ('failed', 'rejected') AND new.state <> old.state
BEGIN
    INSERT INTO negative_ends (state, message_id, gateway) VALUES (new.state, new.id, new.gateway)
    ON CONFLICT (state, message_id) DO NOTHING;
END;

CREATE TRIGGER messages_deleted AFTER DELETE ON messages
BEGIN
    DELETE FROM negative_ends WHERE state IN ('failed', 'rejected') AND message_id = old.id;
END;

-- A list of one gateway's messages, also where it has few among very many.
CREATE INDEX messages_gateway ON messages (gateway, id);
