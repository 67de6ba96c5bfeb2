-- The first schema. Times are milliseconds since 1970 (UTC); ids of messages are the 16 bytes of a UUIDv7, so that new
-- rows land at the end of every tree that begins with one. "sealed" columns hold what bridge.pii.Vault.seal made.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- ext_user_id -> address
CREATE TABLE contacts (
    ext_user_id TEXT PRIMARY KEY,
    phone BLOB,                       -- sealed, E.164
    phone_hash BLOB,
    phone_masked TEXT,
    email BLOB,                       -- sealed
    email_hash BLOB,
    email_masked TEXT,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX contacts_phone ON contacts (phone_hash) WHERE phone_hash IS NOT NULL;
CREATE INDEX contacts_email ON contacts (email_hash) WHERE email_hash IS NOT NULL;

-- Closed channels, of a contact (subject: user:<ext_user_id>) or of an address (address:<its keyed hash in hex>).
CREATE TABLE opt_outs (
    subject TEXT NOT NULL,
    channel TEXT NOT NULL,
    closed_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (subject, channel)
) WITHOUT ROWID;

CREATE TABLE messages (
    id BLOB PRIMARY KEY,
    gateway TEXT NOT NULL,
    type TEXT NOT NULL,
    channel TEXT NOT NULL,
    provider TEXT NOT NULL,
    smartico_uid TEXT NOT NULL,
    ext_user_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    address_hash BLOB,
    address_masked TEXT,
    callback_url BLOB NOT NULL,       -- sealed
    lane TEXT NOT NULL,               -- gateway@host of the callback_url: reports of one lane share a fate
    state TEXT NOT NULL,
    marks TEXT NOT NULL DEFAULT '',   -- words, separated by spaces
    owed TEXT NOT NULL DEFAULT '',    -- statuses owed to Smartico so far, separated by spaces, in order
    negatives TEXT NOT NULL DEFAULT '', -- of cascades: step=state, separated by spaces
    provider_message_id TEXT,
    error_code TEXT,
    error_text TEXT,
    parts INTEGER,
    price TEXT,
    currency TEXT,
    created_at INTEGER NOT NULL,
    submitted_at INTEGER,
    delivered_at INTEGER,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX messages_uid ON messages (smartico_uid, gateway);
CREATE INDEX messages_user ON messages (ext_user_id, id);
CREATE INDEX messages_address ON messages (address_hash, id) WHERE address_hash IS NOT NULL;

-- The text of a message, until raw_retention_days after it is no longer needed.
CREATE TABLE texts (
    message_id BLOB PRIMARY KEY,
    body BLOB NOT NULL                -- sealed
) WITHOUT ROWID;

-- The outbox of messages not yet settled with the provider. phase: queued (nothing left), handed (perhaps sent, the
-- request is on its way), lookup (perhaps sent, the provider is being asked), review (a person has to decide).
CREATE TABLE sends (
    message_id BLOB PRIMARY KEY,
    provider TEXT NOT NULL,
    gateway TEXT NOT NULL,
    phase TEXT NOT NULL,
    destination BLOB NOT NULL,        -- sealed
    due_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    handed_at INTEGER,
    lookups INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX sends_due ON sends (provider, phase, due_at, message_id);

-- Every id under which a provider knows a message: one, or one a step of a cascade.
CREATE TABLE provider_messages (
    provider TEXT NOT NULL,
    provider_message_id TEXT NOT NULL,
    message_id BLOB NOT NULL,
    step INTEGER,
    parts INTEGER,
    price TEXT,
    currency TEXT,
    price_at INTEGER,
    PRIMARY KEY (provider_message_id, provider)
) WITHOUT ROWID;
CREATE INDEX provider_messages_message ON provider_messages (message_id);

-- The inbox: callback bodies as they came. state: waiting, done, unreadable.
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL,
    elements INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL                -- sealed
);
CREATE UNIQUE INDEX batches_digest ON batches (provider, digest);
CREATE INDEX batches_waiting ON batches (id) WHERE state = 'waiting';

-- Understood elements, beside the message that they are about. outcome: applied, noted (known, nothing follows),
-- superseded (came too late), held (one step of a cascade), unmapped.
CREATE TABLE callbacks (
    message_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    batch_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    provider_message_id TEXT NOT NULL,
    event TEXT NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT NOT NULL,
    step INTEGER,
    error_code TEXT,
    link TEXT,
    parts INTEGER,
    price TEXT,
    currency TEXT,
    provider_at INTEGER,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (message_id, digest)
) WITHOUT ROWID;

-- Elements whose message is not known (yet). root: the id of the cascade's first message, or the message's own.
CREATE TABLE orphans (
    provider TEXT NOT NULL,
    root TEXT NOT NULL,
    digest BLOB NOT NULL,
    batch_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    raw BLOB NOT NULL,                -- sealed
    received_at INTEGER NOT NULL,
    in_review INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, root, digest)
) WITHOUT ROWID;
CREATE INDEX orphans_age ON orphans (received_at) WHERE in_review = 0;

-- Messages from handsets.
CREATE TABLE inbound (
    provider TEXT NOT NULL,
    provider_message_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    handset_hash BLOB NOT NULL,
    handset_masked TEXT NOT NULL,
    text BLOB NOT NULL,               -- sealed
    keyword TEXT NOT NULL DEFAULT '', -- the opt-out keyword that it began with
    message_id BLOB,                  -- the message that it answers, where that was looked for
    provider_at INTEGER,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (provider, provider_message_id)
) WITHOUT ROWID;
CREATE INDEX inbound_handset ON inbound (handset_hash, received_at);
CREATE INDEX inbound_message ON inbound (message_id) WHERE message_id IS NOT NULL;

-- The outbox of status reports. state: pending, done, dead. Of the pending reports of one message only the oldest
-- has a due_at; the others wait for it.
CREATE TABLE reports (
    message_id BLOB NOT NULL,
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    due_at INTEGER,
    owed_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    not_founds INTEGER NOT NULL DEFAULT 0,
    finished_at INTEGER,
    latency_ms INTEGER,
    last_error TEXT,
    PRIMARY KEY (message_id, status)
) WITHOUT ROWID;
CREATE INDEX reports_due ON reports (lane, due_at) WHERE state = 'pending' AND due_at IS NOT NULL;
CREATE INDEX reports_dead ON reports (message_id, seq) WHERE state = 'dead';

-- Steps of a message that no other table tells: attempts that failed, look-ups, what operators did.
CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    message_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    actor TEXT NOT NULL DEFAULT ''
);
CREATE INDEX steps_message ON steps (message_id, id);

-- What only a person can settle, grouped by cause. state: open, dismissed, resolved.
CREATE TABLE review_items (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    provider TEXT NOT NULL,
    state TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    sample BLOB NOT NULL,             -- sealed
    settled_by TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX review_open ON review_items (kind, provider, cause) WHERE state = 'open';

-- What stands behind a review item. subject: digest of an element, id of a message, or id and status of a report.
CREATE TABLE review_members (
    review_id INTEGER NOT NULL,
    subject BLOB NOT NULL,
    batch_id INTEGER,
    position INTEGER,
    PRIMARY KEY (review_id, subject)
) WITHOUT ROWID;
CREATE INDEX review_members_subject ON review_members (subject);
CREATE INDEX review_members_batch ON review_members (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- The texts of the providers' error codes, from the mapping tables, for v_callbacks. Written anew at every start.
CREATE TABLE error_texts (
    provider TEXT NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (provider, code)
) WITHOUT ROWID;
