-- The pages of the operations room: who is signed in, and what a page lists without walking through everything.

-- id: SHA-256 of what the browser keeps; operator: the name in the settings; token: a digest of the operator's token, so
-- that a session ends when the token is changed.
CREATE TABLE sessions (
    id BYTEA PRIMARY KEY,
    operator TEXT COLLATE "C" NOT NULL,
    token BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- Messages that are failed or rejected, or once were (a later delivery wins): a list of them walks through no others.
-- It is no partial index on messages, since an index that depends on the state makes every change of a state dearer
-- (every index would be written instead of none: no HOT update). Triggers write it; what goes well costs nothing.
CREATE TABLE negative_ends (
    state TEXT COLLATE "C" NOT NULL,
    message_id BYTEA NOT NULL,
    gateway TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (state, message_id)
);
INSERT INTO negative_ends (state, message_id, gateway)
SELECT state, id, gateway FROM messages WHERE state IN ('failed', 'rejected');

CREATE FUNCTION note_negative_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO negative_ends (state, message_id, gateway) VALUES (new.state, new.id, new.gateway)
    ON CONFLICT (state, message_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_ended AFTER UPDATE OF state ON messages FOR EACH ROW
WHEN (new.state IN ('failed', 'rejected') AND new.state <> old.state) EXECUTE FUNCTION note_negative_end();

CREATE FUNCTION forget_negative_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM negative_ends AS n USING gone
    WHERE n.state IN ('failed', 'rejected') AND n.message_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION forget_negative_ends();

-- A list of one gateway's messages, also where it has few among very many.
CREATE INDEX messages_gateway ON messages (gateway, id);
