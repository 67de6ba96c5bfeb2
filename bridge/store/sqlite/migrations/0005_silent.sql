-- Messages that the provider took and whose end is overdue, or may soon be: the provider is asked what became of them.

CREATE TABLE silent (
    message_id BLOB PRIMARY KEY,
    provider TEXT NOT NULL,
    due_at INTEGER NOT NULL,          -- when it is looked at; who takes it on moves that, so that it comes again
    news_at INTEGER NOT NULL,         -- the last news of the message that was known when this was written
    lookups INTEGER NOT NULL DEFAULT 0 -- questions that brought no usable answer
) WITHOUT ROWID;
CREATE INDEX silent_due ON silent (provider, due_at, message_id);
