-- E-mail and what else came with it: how often a message was deferred, and what a handset sends that is no text.

ALTER TABLE sends ADD COLUMN tries INTEGER NOT NULL DEFAULT 0; -- that came to nothing, and were not the provider's fault
ALTER TABLE inbound ADD COLUMN special BLOB;                     -- sealed: its specialContent, JSON

-- Every closing and reopening of a channel, for good: subject as in opt_outs; change: closed, opened.
CREATE TABLE opt_out_changes (
    id INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    channel TEXT NOT NULL,
    change TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX opt_out_changes_subject ON opt_out_changes (subject, id);
INSERT INTO opt_out_changes (subject, at, channel, change, reason)
SELECT subject, closed_at, channel, 'closed', reason FROM opt_outs;
