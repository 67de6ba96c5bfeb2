-- The statements that PostgreSQL needs otherwise than `bridge/store/queries.sql` has them: because several instances
-- share the database (rows are locked before they are changed, claims are leases), or because a function has another
-- name. Everything else runs from the shared text. Beside the values of the caller there are :owner (this instance; NULL
-- where it does no work), :lease (milliseconds) and :clock (the time of the database, in milliseconds).

-- ===== another name =====

-- name: database_bytes
SELECT pg_database_size(current_database())

-- ===== another name; and who is erased at this moment is erased after the message is stored =====

-- name: reach
SELECT ext_user_id, phone, phone_hash, phone_masked, email, email_hash, email_masked, EXISTS (
    SELECT 1 FROM opt_outs
    WHERE channel = :channel AND subject IN (
        'user:' || contacts.ext_user_id, 'address:' || encode(contacts.phone_hash, 'hex'),
        'address:' || encode(contacts.email_hash, 'hex')))
FROM contacts WHERE ext_user_id IN (:list) ORDER BY ext_user_id FOR KEY SHARE

-- ===== locked until the transaction ends; in the order of the key, so that two instances do not wait for each other =====

-- name: load_messages
SELECT id, gateway, type, channel, provider, lane, callback_url, state, marks, owed, negatives, provider_message_id,
       created_at, submitted_at, delivered_at, error_code, error_text
FROM messages WHERE id IN (:list) ORDER BY id FOR UPDATE

-- name: sends_now
SELECT message_id, phase, provider, handed_at FROM sends WHERE message_id IN (:list) ORDER BY message_id FOR UPDATE

-- name: sends_of_user
SELECT s.message_id, s.phase, s.provider FROM messages AS m JOIN sends AS s ON s.message_id = m.id
WHERE m.ext_user_id = :ext_user_id ORDER BY s.message_id FOR UPDATE OF s

-- name: left_sends
SELECT message_id FROM sends
WHERE provider = :provider AND phase IN ('handed', 'lookup') AND handed_at <= :until
    AND (leased_until IS NULL OR leased_until <= :clock)
ORDER BY message_id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: expired_sends
SELECT message_id FROM sends
WHERE provider = :provider AND phase = 'queued' AND expires_at <= :now
ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: pending_statuses
SELECT message_id, status FROM reports
WHERE message_id IN (:list) AND state = 'pending' ORDER BY message_id, status FOR UPDATE

-- name: lock_reviews
SELECT id FROM review_items WHERE id IN (:list) ORDER BY id FOR UPDATE

-- name: pending_forwards
SELECT id, source FROM forwards WHERE id IN (:list) AND state = 'pending' ORDER BY key, kind, id FOR UPDATE

-- name: get_forward
SELECT kind, key FROM forwards WHERE id = :id FOR UPDATE

-- name: due_forward_of_key
SELECT id FROM forwards WHERE key = :key AND kind = :kind AND state = 'pending' AND due_at IS NOT NULL FOR UPDATE

-- name: old_orphans
SELECT provider, root, digest, batch_id, position, raw, received_at FROM orphans AS o
WHERE in_review = 0 AND received_at <= :until AND NOT EXISTS (
    SELECT 1 FROM provider_messages AS p WHERE p.provider_message_id = o.root AND p.provider = o.provider)
ORDER BY received_at LIMIT :limit FOR UPDATE OF o SKIP LOCKED

-- name: untied_communications
SELECT id, login, channel, sent_at, received_at, tie_at FROM communications
WHERE tie_at IS NOT NULL AND tie_at <= :now ORDER BY tie_at LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: silent_now
SELECT message_id, lookups FROM silent WHERE message_id IN (:list) ORDER BY message_id FOR UPDATE

-- ===== claims =====

-- name: due_silent
SELECT s.message_id, s.news_at, s.lookups, m.state, m.updated_at
FROM silent AS s LEFT JOIN messages AS m ON m.id = s.message_id
WHERE s.provider = :provider AND s.due_at <= :now
ORDER BY s.due_at, s.message_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED

-- name: due_sends
SELECT s.message_id, s.gateway, m.channel, s.destination, m.sender, t.body, s.handed_at, s.lookups, m.created_at,
       s.tries, m.type, m.ext_user_id
FROM sends AS s JOIN messages AS m ON m.id = s.message_id LEFT JOIN texts AS t ON t.message_id = s.message_id
WHERE s.provider = :provider AND s.phase = :phase AND s.due_at <= :now
    AND (s.phase <> 'queued' OR s.expires_at > :now)
    AND (s.phase = 'queued' OR s.leased_until IS NULL OR s.leased_until <= :clock)
ORDER BY s.due_at, s.message_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED

-- name: hand_send
UPDATE sends SET phase = 'handed', handed_at = :now, owner = :owner, leased_until = :clock + :lease
WHERE message_id = :message_id

-- name: look_up_send
UPDATE sends SET phase = 'lookup', due_at = :due_at, lookups = :lookups, owner = NULL, leased_until = NULL
WHERE message_id = :message_id

-- name: handed_sends
SELECT message_id FROM sends
WHERE provider = :provider AND phase = 'handed' AND leased_until <= :clock
ORDER BY message_id LIMIT 1000 FOR UPDATE SKIP LOCKED

-- name: waiting_sizes
SELECT id, elements, length(body) FROM batches
WHERE state = 'waiting' AND (leased_until IS NULL OR leased_until <= :clock OR owner = :owner)
ORDER BY received_at, id LIMIT :limit

-- name: take_batches
SELECT id FROM batches
WHERE id IN (:list) AND state = 'waiting' AND (leased_until IS NULL OR leased_until <= :clock OR owner = :owner)
FOR UPDATE SKIP LOCKED

-- name: add_report
INSERT INTO reports (message_id, status, seq, lane, state, due_at, owed_at, owner, leased_until)
VALUES (:message_id, :status, :seq, :lane, 'pending', :due_at, :owed_at, :owner, :clock + :lease)
ON CONFLICT (message_id, status) DO NOTHING

-- name: due_reports
SELECT r.message_id, r.status, r.seq, r.due_at, r.owed_at, r.attempts, r.retries, r.refusals, r.not_founds,
       r.lane, m.gateway, m.type, m.callback_url,
       (SELECT max(c.received_at) FROM callbacks AS c
        WHERE c.message_id = r.message_id AND c.received_at <= r.owed_at)
FROM reports AS r JOIN messages AS m ON m.id = r.message_id
WHERE r.lane = :lane AND r.state = 'pending' AND r.due_at IS NOT NULL AND r.due_at <= :now
    AND (r.leased_until IS NULL OR r.leased_until <= :clock OR r.owner = :owner)
ORDER BY r.due_at LIMIT :limit FOR UPDATE OF r SKIP LOCKED

-- name: release_reports
UPDATE reports AS r SET due_at = :now, owner = :owner, leased_until = :clock + :lease
FROM (SELECT DISTINCT ON (message_id) message_id, status, due_at FROM reports
      WHERE message_id IN (:list) AND state = 'pending'
      ORDER BY message_id, due_at IS NULL, seq) AS first -- the one that is due already, else the oldest
WHERE r.message_id = first.message_id AND r.status = first.status AND first.due_at IS NULL
RETURNING r.message_id, r.status, r.seq, r.due_at, r.owed_at, r.attempts, r.retries, r.refusals, r.not_founds,
       (SELECT max(c.received_at) FROM callbacks AS c
        WHERE c.message_id = r.message_id AND c.received_at <= r.owed_at)

-- name: postpone_report
UPDATE reports SET
    due_at = :due_at, attempts = attempts + :attempts, retries = :retries, refusals = :refusals,
    not_founds = :not_founds, last_error = :last_error, owner = NULL, leased_until = NULL
WHERE message_id = :message_id AND status = :status AND state = 'pending' AND owner = :owner

-- name: due_forwards
SELECT id, kind, source, key, due_at, owed_at, attempts, retries FROM forwards
WHERE kind = :kind AND state = 'pending' AND due_at IS NOT NULL AND due_at <= :now
    AND (leased_until IS NULL OR leased_until <= :clock)
ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: postpone_forward
UPDATE forwards SET
    due_at = :due_at, attempts = attempts + :attempts, retries = :retries, last_error = :last_error,
    owner = NULL, leased_until = NULL
WHERE id = :id AND source = :source AND state = 'pending' AND owner = :owner

-- name: revive_forward
UPDATE forwards SET
    state = 'pending', due_at = NULL, owed_at = :now, retries = 0, finished_at = NULL, owner = NULL, leased_until = NULL
WHERE id = :id AND state = 'dead'

-- ===== leases =====

-- name: lease_sends
UPDATE sends SET owner = :owner, leased_until = :clock + :lease WHERE message_id IN (:list)

-- name: lease_batches
UPDATE batches SET owner = :owner, leased_until = :clock + :lease WHERE id IN (:list)

-- name: lease_reports
UPDATE reports SET owner = :owner, leased_until = :clock + :lease
WHERE message_id IN (:list) AND state = 'pending' AND due_at IS NOT NULL

-- name: lease_forwards
UPDATE forwards SET owner = :owner, leased_until = :clock + :lease + :longer
WHERE id IN (:list) AND state = 'pending' AND due_at IS NOT NULL

-- name: own_claims
SELECT message_id FROM sends
WHERE provider = :provider AND phase = 'handed' AND owner = :owner AND handed_at IN (:list)
ORDER BY message_id FOR UPDATE

-- name: let_go_reports
UPDATE reports SET owner = NULL, leased_until = NULL
WHERE message_id IN (:list) AND owner = :owner AND state = 'pending' AND due_at IS NOT NULL

-- name: give_back_sends
UPDATE sends SET leased_until = 0 WHERE owner = :owner AND phase IN ('handed', 'lookup') AND leased_until > :clock

-- name: give_back_batches
UPDATE batches SET owner = NULL, leased_until = NULL WHERE owner = :owner AND state = 'waiting'

-- name: give_back_reports
UPDATE reports SET owner = NULL, leased_until = NULL
WHERE owner = :owner AND state = 'pending' AND due_at IS NOT NULL

-- name: give_back_forwards
UPDATE forwards SET owner = NULL, leased_until = NULL
WHERE owner = :owner AND state = 'pending' AND due_at IS NOT NULL

-- name: renew_sends
UPDATE sends SET leased_until = :clock + :lease
WHERE message_id IN (:list) AND owner = :owner AND phase IN ('handed', 'lookup')
RETURNING message_id

-- name: renew_reports
UPDATE reports SET leased_until = :clock + :lease
WHERE message_id IN (:list) AND owner = :owner AND state = 'pending' AND due_at IS NOT NULL
RETURNING message_id

-- ===== pruning: what another instance is at is left to it =====

-- name: old_texts
SELECT t.message_id, (SELECT 1 FROM sends AS s WHERE s.message_id = t.message_id) IS NULL
FROM texts AS t WHERE t.message_id > :after AND t.message_id < :before ORDER BY t.message_id LIMIT :limit
FOR UPDATE OF t SKIP LOCKED

-- name: old_messages
SELECT id FROM messages WHERE id > :after AND id < :before ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: next_batches
SELECT b.id, b.received_at, b.state, length(b.body), coalesce(
    (SELECT 1 FROM review_members AS v WHERE v.batch_id = b.id LIMIT 1),
    (SELECT 1 FROM orphans AS o WHERE o.in_review = 0 AND o.received_at = b.received_at AND o.batch_id = b.id LIMIT 1),
    0)
FROM batches AS b WHERE b.id > :after ORDER BY b.id LIMIT :limit FOR UPDATE OF b SKIP LOCKED

-- name: next_orphans
SELECT o.provider, o.root, o.digest, o.received_at <= :until AND o.in_review = 1
    AND (SELECT 1 FROM review_members AS v WHERE v.subject = o.digest LIMIT 1) IS NULL
FROM orphans AS o WHERE (o.provider, o.root, o.digest) > (:provider, :root, :digest)
ORDER BY o.provider, o.root, o.digest LIMIT :limit FOR UPDATE OF o SKIP LOCKED

-- name: next_inbound
SELECT i.provider, i.provider_message_id, i.received_at <= :until
    AND (SELECT 1 FROM messages AS m WHERE m.id = i.message_id) IS NULL
FROM inbound AS i WHERE (i.provider, i.provider_message_id) > (:provider, :provider_message_id)
ORDER BY i.provider, i.provider_message_id LIMIT :limit FOR UPDATE OF i SKIP LOCKED

-- name: next_review_items
SELECT id, state <> 'open' AND last_at <= :until FROM review_items WHERE id > :after
ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: next_audit_lines
SELECT id, at FROM audit WHERE id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: old_communications
SELECT id FROM communications WHERE id > :after AND id < :before ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: next_forwards
SELECT id, state, finished_at FROM forwards WHERE id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
