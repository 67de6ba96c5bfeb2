-- Every statement of the store, by name (see queries.py). `:name` marks a value, `(:list)` any number of keys.
-- Written for SQLite 3.40 and up and for PostgreSQL; where that needs another text it is in postgres/queries.sql.

-- ===== meta =====

-- name: get_meta
SELECT value FROM meta WHERE key = :key

-- name: set_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: delete_meta
DELETE FROM meta WHERE key = :key

-- name: clear_error_texts
DELETE FROM error_texts

-- name: add_error_text
INSERT INTO error_texts (provider, code, text) VALUES (:provider, :code, :text)
ON CONFLICT (provider, code) DO UPDATE SET text = excluded.text

-- name: add_audit
INSERT INTO audit (at, actor, action, detail) VALUES (:at, :actor, :action, :detail)

-- name: audit_lines
SELECT id, at, actor, action, detail FROM audit WHERE id < :before ORDER BY id DESC LIMIT :limit

-- ===== sessions of the pages =====

-- name: add_session
INSERT INTO sessions (id, operator, token, created_at, seen_at) VALUES (:id, :operator, :token, :now, :now)

-- name: get_session
SELECT operator, token, created_at, seen_at FROM sessions WHERE id = :id

-- name: touch_session
UPDATE sessions SET seen_at = :now WHERE id = :id

-- name: end_session
DELETE FROM sessions WHERE id = :id

-- name: prune_sessions
DELETE FROM sessions WHERE created_at <= :created_until OR seen_at <= :seen_until

-- name: database_bytes
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()

-- ===== contacts =====

-- name: any_contact
SELECT 1 FROM contacts LIMIT 1

-- name: get_contact
SELECT ext_user_id, phone, phone_hash, phone_masked, email, email_hash, email_masked, updated_at
FROM contacts WHERE ext_user_id = :ext_user_id

-- name: reach
SELECT ext_user_id, phone, phone_hash, phone_masked, email, email_hash, email_masked, EXISTS (
    SELECT 1 FROM opt_outs
    WHERE channel = :channel AND subject IN (
        'user:' || contacts.ext_user_id, 'address:' || lower(hex(contacts.phone_hash)),
        'address:' || lower(hex(contacts.email_hash))))
FROM contacts WHERE ext_user_id IN (:list)

-- name: closed_subjects
SELECT subject FROM opt_outs WHERE channel = :channel AND subject IN (:list)

-- name: put_contact
INSERT INTO contacts
    (ext_user_id, phone, phone_hash, phone_masked, email, email_hash, email_masked, updated_at)
VALUES
    (:ext_user_id, :phone, :phone_hash, :phone_masked, :email, :email_hash, :email_masked, :updated_at)
ON CONFLICT (ext_user_id) DO UPDATE SET
    phone = excluded.phone, phone_hash = excluded.phone_hash, phone_masked = excluded.phone_masked,
    email = excluded.email, email_hash = excluded.email_hash, email_masked = excluded.email_masked,
    updated_at = excluded.updated_at

-- name: delete_contact
DELETE FROM contacts WHERE ext_user_id = :ext_user_id

-- name: contacts_with_address
SELECT ext_user_id FROM contacts WHERE phone_hash = :hash
UNION
SELECT ext_user_id FROM contacts WHERE email_hash = :hash

-- name: get_opt_outs
SELECT channel, closed_at, reason FROM opt_outs WHERE subject = :subject ORDER BY channel

-- name: close_channel
INSERT INTO opt_outs (subject, channel, closed_at, reason) VALUES (:subject, :channel, :closed_at, :reason)
ON CONFLICT (subject, channel) DO NOTHING

-- name: add_opt_out_change
INSERT INTO opt_out_changes (subject, at, channel, change, reason) VALUES (:subject, :at, :channel, :change, :reason)

-- name: opt_out_changes_of
SELECT at, channel, change, reason FROM opt_out_changes WHERE subject IN (:list)

-- name: forget_opt_out_changes
DELETE FROM opt_out_changes WHERE subject = :subject

-- name: open_channel
DELETE FROM opt_outs WHERE subject = :subject AND channel = :channel

-- name: open_all_channels
DELETE FROM opt_outs WHERE subject = :subject

-- ===== messages =====

-- name: message_by_uid
SELECT id FROM messages WHERE gateway = :gateway AND smartico_uid = :uid

-- name: add_message
INSERT INTO messages
    (id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender, address_hash, address_masked,
     callback_url, lane, state, created_at, updated_at)
VALUES
    (:id, :gateway, :type, :channel, :provider, :smartico_uid, :ext_user_id, :sender, :address_hash,
     :address_masked, :callback_url, :lane, 'queued', :created_at, :created_at)
ON CONFLICT (smartico_uid, gateway) DO NOTHING

-- name: known_messages
SELECT id FROM messages WHERE id IN (:list)

-- name: add_text
INSERT INTO texts (message_id, body) VALUES (:message_id, :body)

-- name: load_messages
SELECT id, gateway, type, channel, provider, lane, callback_url, state, marks, owed, negatives, provider_message_id,
       created_at, submitted_at, delivered_at, error_code, error_text
FROM messages WHERE id IN (:list)

-- name: save_message
UPDATE messages SET
    state = :state, marks = :marks, owed = :owed, negatives = :negatives, provider_message_id = :provider_message_id,
    submitted_at = :submitted_at, delivered_at = :delivered_at, error_code = :error_code, error_text = :error_text,
    updated_at = :updated_at
WHERE id = :id

-- name: person_of_message
SELECT ext_user_id, address_hash FROM messages WHERE id = :id

-- name: newest_message_to_address
SELECT id FROM messages
WHERE address_hash = :address_hash AND channel = :channel AND created_at <= :until
ORDER BY id DESC LIMIT 1

-- name: set_message_price
UPDATE messages SET parts = :parts, price = :price, currency = :currency, updated_at = :now WHERE id = :id

-- name: count_messages
SELECT state, count(*) FROM messages GROUP BY state

-- name: add_step
INSERT INTO steps (message_id, at, kind, detail, actor) VALUES (:message_id, :at, :kind, :detail, :actor)

-- ===== sends =====

-- name: add_send
INSERT INTO sends (message_id, provider, gateway, phase, destination, due_at, expires_at)
VALUES (:message_id, :provider, :gateway, 'queued', :destination, :due_at, :expires_at)

-- name: due_sends
SELECT s.message_id, s.gateway, m.channel, s.destination, m.sender, t.body, s.handed_at, s.lookups, m.created_at,
       s.tries, m.type, m.ext_user_id
FROM sends AS s JOIN messages AS m ON m.id = s.message_id LEFT JOIN texts AS t ON t.message_id = s.message_id
WHERE s.provider = :provider AND s.phase = :phase AND s.due_at <= :now
    AND (s.phase <> 'queued' OR s.expires_at > :now)
ORDER BY s.due_at, s.message_id LIMIT :limit

-- name: get_send
SELECT s.message_id, s.gateway, m.channel, s.destination, m.sender, t.body, s.handed_at, s.lookups, m.created_at,
       s.tries, m.type, m.ext_user_id
FROM sends AS s JOIN messages AS m ON m.id = s.message_id LEFT JOIN texts AS t ON t.message_id = s.message_id
WHERE s.message_id = :message_id

-- name: next_send_due
SELECT min(due_at) FROM sends
WHERE provider = :provider AND phase = :phase AND due_at > :after AND (phase <> 'queued' OR expires_at > :now)

-- name: hand_send
UPDATE sends SET phase = 'handed', handed_at = :now WHERE message_id = :message_id

-- name: requeue_send
UPDATE sends SET phase = 'queued', due_at = :due_at, handed_at = NULL, tries = :tries WHERE message_id = :message_id

-- name: look_up_send
UPDATE sends SET phase = 'lookup', due_at = :due_at, lookups = :lookups WHERE message_id = :message_id

-- name: review_send
UPDATE sends SET phase = 'review' WHERE message_id = :message_id

-- name: delete_send
DELETE FROM sends WHERE message_id = :message_id

-- name: give_up_send
DELETE FROM sends WHERE message_id = :message_id AND phase = 'review'

-- name: sends_now
SELECT message_id, phase, provider, handed_at FROM sends WHERE message_id IN (:list)

-- name: handed_sends
SELECT message_id FROM sends WHERE provider = :provider AND phase = 'handed'

-- name: left_sends
SELECT message_id FROM sends
WHERE provider = :provider AND phase IN ('handed', 'lookup') AND handed_at <= :until ORDER BY message_id LIMIT :limit

-- name: expired_sends
SELECT message_id FROM sends
WHERE provider = :provider AND phase = 'queued' AND expires_at <= :now ORDER BY due_at LIMIT :limit

-- name: sends_of_user
SELECT s.message_id, s.phase, s.provider FROM messages AS m JOIN sends AS s ON s.message_id = m.id
WHERE m.ext_user_id = :ext_user_id

-- name: forget_destination
UPDATE sends SET destination = :nothing WHERE message_id = :message_id

-- name: forget_inbound
DELETE FROM inbound WHERE handset_hash = :handset_hash

-- name: forget_text
DELETE FROM texts WHERE message_id = :message_id

-- name: forget_address
UPDATE messages SET address_hash = NULL, address_masked = NULL WHERE ext_user_id = :ext_user_id

-- name: addresses_of_messages
SELECT DISTINCT address_hash FROM messages WHERE ext_user_id = :ext_user_id AND address_hash IS NOT NULL

-- name: message_of_another
SELECT 1 FROM messages WHERE address_hash = :hash AND ext_user_id <> :ext_user_id LIMIT 1

-- name: texts_of_user
SELECT t.message_id FROM texts AS t JOIN messages AS m ON m.id = t.message_id WHERE m.ext_user_id = :ext_user_id

-- name: next_provider
SELECT provider FROM sends WHERE provider > :after ORDER BY provider LIMIT 1

-- name: count_sends
SELECT gateway, phase, count(*) FROM sends GROUP BY gateway, phase

-- name: oldest_send
SELECT message_id FROM sends WHERE gateway = :gateway AND phase <> 'review' ORDER BY message_id LIMIT 1

-- ===== provider ids =====

-- name: add_provider_message
INSERT INTO provider_messages (provider, provider_message_id, message_id, step)
VALUES (:provider, :provider_message_id, :message_id, :step)
ON CONFLICT (provider, provider_message_id) DO NOTHING

-- name: messages_of_provider_ids
SELECT provider_message_id, message_id FROM provider_messages
WHERE provider = :provider AND provider_message_id IN (:list)

-- name: price_of
SELECT parts, price, currency, price_at FROM provider_messages
WHERE provider = :provider AND provider_message_id = :provider_message_id

-- name: set_price
UPDATE provider_messages SET parts = :parts, price = :price, currency = :currency, price_at = :price_at
WHERE provider = :provider AND provider_message_id = :provider_message_id

-- name: prices_of_message
SELECT parts, price, currency FROM provider_messages WHERE message_id = :message_id AND price IS NOT NULL

-- ===== inbox =====

-- name: add_batch
INSERT INTO batches (provider, digest, state, elements, received_at, body)
VALUES (:provider, :digest, :state, :elements, :received_at, :body)
ON CONFLICT (provider, digest) DO NOTHING RETURNING id

-- name: add_new_batch
INSERT INTO batches (provider, digest, state, elements, received_at, body)
VALUES (:provider, :digest, :state, :elements, :received_at, :body)
ON CONFLICT (provider, digest) DO NOTHING

-- name: known_batches
SELECT digest FROM batches WHERE provider = :provider AND digest IN (:list)

-- name: waiting_sizes
SELECT id, elements, length(body) FROM batches WHERE state = 'waiting' ORDER BY id LIMIT :limit

-- name: get_batches
SELECT id, provider, body, received_at, elements FROM batches WHERE id IN (:list)

-- name: count_waiting
SELECT CAST(coalesce(sum(elements), 0) AS BIGINT), min(received_at) FROM batches WHERE state = 'waiting'

-- name: finish_batch
UPDATE batches SET state = 'done' WHERE id = :id

-- name: callback_outcomes
SELECT message_id, digest, outcome FROM callbacks WHERE message_id IN (:list)

-- name: put_callback
INSERT INTO callbacks
    (message_id, digest, batch_id, position, provider_message_id, event, status, outcome, step, error_code, link,
     parts, price, currency, provider_at, received_at)
VALUES
    (:message_id, :digest, :batch_id, :position, :provider_message_id, :event, :status, :outcome, :step, :error_code,
     :link, :parts, :price, :currency, :provider_at, :received_at)
ON CONFLICT (message_id, digest) DO UPDATE SET outcome = excluded.outcome

-- name: add_orphan
INSERT INTO orphans (provider, root, digest, batch_id, position, raw, received_at)
VALUES (:provider, :root, :digest, :batch_id, :position, :raw, :received_at)
ON CONFLICT (provider, root, digest) DO NOTHING RETURNING 1

-- name: awaited_roots
SELECT DISTINCT root FROM orphans WHERE provider = :provider AND root IN (:list)

-- name: take_orphans
DELETE FROM orphans WHERE provider = :provider AND root = :root
RETURNING received_at, batch_id, position, digest, raw

-- name: orphan_raw
SELECT root FROM orphans WHERE provider = :provider AND digest = :digest

-- name: old_orphans
SELECT provider, root, digest, batch_id, position, raw, received_at FROM orphans AS o
WHERE in_review = 0 AND received_at <= :until AND NOT EXISTS (
    SELECT 1 FROM provider_messages AS p WHERE p.provider_message_id = o.root AND p.provider = o.provider)
ORDER BY received_at LIMIT :limit

-- name: stragglers
SELECT DISTINCT o.provider, o.root
FROM orphans AS o JOIN provider_messages AS p ON p.provider_message_id = o.root AND p.provider = o.provider
WHERE o.in_review = 0 LIMIT :limit

-- name: mark_orphan
UPDATE orphans SET in_review = 1 WHERE provider = :provider AND root = :root AND digest = :digest

-- name: add_inbound
INSERT INTO inbound
    (provider, provider_message_id, channel, handset_hash, handset_masked, text, special, keyword, message_id,
     provider_at, received_at)
VALUES
    (:provider, :provider_message_id, :channel, :handset_hash, :handset_masked, :text, :special, :keyword, :message_id,
     :provider_at, :received_at)
ON CONFLICT (provider, provider_message_id) DO NOTHING RETURNING 1

-- ===== reports =====

-- name: pending_statuses
SELECT message_id, status FROM reports WHERE message_id IN (:list) AND state = 'pending'

-- name: add_report
INSERT INTO reports (message_id, status, seq, lane, state, due_at, owed_at)
VALUES (:message_id, :status, :seq, :lane, 'pending', :due_at, :owed_at)
ON CONFLICT (message_id, status) DO NOTHING

-- name: due_reports
SELECT r.message_id, r.status, r.seq, r.due_at, r.owed_at, r.attempts, r.retries, r.refusals, r.not_founds,
       r.lane, m.gateway, m.type, m.callback_url,
       (SELECT max(c.received_at) FROM callbacks AS c
        WHERE c.message_id = r.message_id AND c.received_at <= r.owed_at)
FROM reports AS r JOIN messages AS m ON m.id = r.message_id
WHERE r.lane = :lane AND r.state = 'pending' AND r.due_at IS NOT NULL AND r.due_at <= :now
ORDER BY r.due_at LIMIT :limit

-- name: next_report_due
SELECT min(due_at) FROM reports WHERE lane = :lane AND state = 'pending' AND due_at > :after

-- name: next_lane
SELECT lane FROM reports WHERE state = 'pending' AND due_at IS NOT NULL AND lane > :after ORDER BY lane LIMIT 1

-- name: finish_report
UPDATE reports SET
    state = :state, due_at = NULL, attempts = attempts + :attempts, finished_at = :finished_at,
    latency_ms = :latency_ms, last_error = :last_error
WHERE message_id = :message_id AND status = :status
    AND (state = 'pending' OR (state = 'dead' AND :state = 'done')) -- buried for its age while it was on its way

-- name: postpone_report
UPDATE reports SET
    due_at = :due_at, attempts = attempts + :attempts, retries = :retries, refusals = :refusals,
    not_founds = :not_founds, last_error = :last_error
WHERE message_id = :message_id AND status = :status AND state = 'pending'

-- name: release_reports
UPDATE reports SET due_at = :now
WHERE message_id IN (:list) AND state = 'pending' AND due_at IS NULL
    AND seq = (SELECT min(o.seq) FROM reports AS o WHERE o.message_id = reports.message_id AND o.state = 'pending')
    AND NOT EXISTS (SELECT 1 FROM reports AS o
                    WHERE o.message_id = reports.message_id AND o.state = 'pending' AND o.due_at IS NOT NULL)
RETURNING message_id, status, seq, due_at, owed_at, attempts, retries, refusals, not_founds,
       (SELECT max(c.received_at) FROM callbacks AS c
        WHERE c.message_id = reports.message_id AND c.received_at <= reports.owed_at)

-- name: revive_report
UPDATE reports SET
    state = 'pending', due_at = NULL, owed_at = :now, retries = 0, refusals = 0, not_founds = 0, finished_at = NULL
WHERE message_id = :message_id AND status = :status AND state = 'dead'

-- name: later_reports
SELECT due_at FROM reports WHERE lane = :lane AND state = 'pending' AND due_at > :after ORDER BY due_at LIMIT :limit

-- name: hasten_reports
UPDATE reports SET due_at = CASE WHEN due_at - :by > :now THEN due_at - :by ELSE :now END
WHERE lane = :lane AND state = 'pending' AND due_at > :after AND due_at <= :until

-- name: hasten_sends
UPDATE sends SET due_at = CASE WHEN due_at - :by > :now THEN due_at - :by ELSE :now END WHERE due_at > :now

-- name: hasten_lookups
UPDATE sends SET handed_at = CASE WHEN handed_at - :by < :now THEN handed_at - :by ELSE :now END
WHERE phase = 'lookup' AND handed_at > :now

-- name: hasten_forwards
UPDATE forwards SET due_at = CASE WHEN due_at - :by > :now THEN due_at - :by ELSE :now END
WHERE state = 'pending' AND due_at > :now

-- name: aged_reports
SELECT message_id, status, lane FROM reports
WHERE state = 'pending' AND due_at IS NOT NULL AND owed_at <= :until LIMIT :limit

-- name: count_pending_reports
SELECT lane, count(*), min(due_at), count(CASE WHEN due_at > :later THEN 1 END)
FROM reports WHERE state = 'pending' AND due_at IS NOT NULL GROUP BY lane

-- name: count_reports
SELECT state, count(*) FROM reports GROUP BY state

-- name: count_dead_reports
SELECT count(*) FROM reports WHERE state = 'dead'

-- ===== review =====

-- name: open_review
INSERT INTO review_items (kind, cause, provider, state, first_at, last_at, sample)
VALUES (:kind, :cause, :provider, 'open', :at, :at, :sample)
ON CONFLICT (kind, provider, cause) WHERE state = 'open' DO UPDATE SET
    last_at = CASE WHEN excluded.last_at > review_items.last_at THEN excluded.last_at ELSE review_items.last_at END
RETURNING id

-- name: add_member
INSERT INTO review_members (review_id, subject, batch_id, position)
VALUES (:review_id, :subject, :batch_id, :position)
ON CONFLICT (review_id, subject) DO NOTHING

-- name: subjects_in_review
SELECT DISTINCT subject FROM review_members WHERE subject IN (:list)

-- name: reviews_of_subject
SELECT review_id FROM review_members WHERE subject = :subject

-- name: delete_member
DELETE FROM review_members WHERE subject = :subject

-- name: delete_one_member
DELETE FROM review_members WHERE review_id = :review_id AND subject = :subject

-- name: has_members
SELECT 1 FROM review_members WHERE review_id = :review_id LIMIT 1

-- name: members_of
SELECT subject, batch_id, position FROM review_members
WHERE review_id = :review_id AND subject > :after ORDER BY subject LIMIT :limit

-- name: settle_review
UPDATE review_items SET
    state = :state, settled_by = :actor, note = :note, last_at = CASE WHEN last_at > :at THEN last_at ELSE :at END
WHERE id = :id AND state = 'open'

-- name: get_review
SELECT i.id, i.kind, i.cause, i.provider, i.state, i.first_at, i.last_at, i.sample,
       (SELECT count(*) FROM review_members AS m WHERE m.review_id = i.id)
FROM review_items AS i WHERE i.id = :id

-- name: list_reviews
SELECT i.id, i.kind, i.cause, i.provider, i.state, i.first_at, i.last_at, i.sample,
       (SELECT count(*) FROM review_members AS m WHERE m.review_id = i.id)
FROM review_items AS i WHERE i.state = 'open' AND i.id < :before ORDER BY i.id DESC LIMIT :limit

-- name: count_reviews
SELECT kind, count(*) FROM review_items WHERE state = 'open' GROUP BY kind

-- ===== timeline =====

-- name: message_callbacks
SELECT digest, batch_id, position, provider_message_id, event, status, outcome, step, error_code, link, parts, price,
       currency, provider_at, received_at
FROM callbacks WHERE message_id = :message_id ORDER BY received_at, batch_id, position

-- name: message_reports
SELECT status, seq, state, due_at, owed_at, attempts, finished_at, latency_ms, last_error
FROM reports WHERE message_id = :message_id ORDER BY seq

-- name: message_steps
SELECT at, kind, detail, actor FROM steps WHERE message_id = :message_id ORDER BY id

-- name: message_inbound
SELECT received_at, provider_at, keyword, text, special, channel FROM inbound WHERE message_id = :message_id

-- name: inbound_of_handset
SELECT received_at, provider_at, keyword, text, special, channel FROM inbound
WHERE handset_hash = :handset_hash ORDER BY received_at DESC LIMIT :limit

-- name: inbound_of_user
SELECT i.received_at, i.provider_at, i.keyword, i.text, i.special, i.channel
FROM messages AS m JOIN inbound AS i ON i.message_id = m.id
WHERE m.ext_user_id = :ext_user_id ORDER BY i.received_at DESC LIMIT :limit

-- name: error_text
SELECT text FROM error_texts WHERE provider = :provider AND code = :code

-- name: renew_send
UPDATE sends SET expires_at = :expires_at WHERE message_id = :message_id

-- ===== silent messages =====

-- name: messages_between
SELECT id, state, provider, updated_at FROM messages WHERE id > :after AND id < :before ORDER BY id LIMIT :limit

-- name: told_silent
SELECT DISTINCT message_id FROM steps WHERE message_id IN (:list) AND kind = 'silent'

-- name: add_silent
INSERT INTO silent (message_id, provider, due_at, news_at) VALUES (:message_id, :provider, :due_at, :news_at)
ON CONFLICT (message_id) DO NOTHING

-- name: due_silent
SELECT s.message_id, s.news_at, s.lookups, m.state, m.updated_at
FROM silent AS s LEFT JOIN messages AS m ON m.id = s.message_id
WHERE s.provider = :provider AND s.due_at <= :now ORDER BY s.due_at, s.message_id LIMIT :limit

-- name: postpone_silent
UPDATE silent SET due_at = :due_at, news_at = :news_at, lookups = :lookups WHERE message_id = :message_id

-- name: silent_now
SELECT message_id, lookups FROM silent WHERE message_id IN (:list)

-- name: delete_silent
DELETE FROM silent WHERE message_id IN (:list)

-- name: next_silent_due
SELECT min(due_at) FROM silent WHERE provider = :provider

-- name: ids_at_provider
SELECT message_id, provider_message_id, step FROM provider_messages WHERE message_id IN (:list) AND provider = :provider

-- ===== asset notifications =====

-- name: known_communications
SELECT digest FROM communications WHERE digest IN (:list)

-- name: add_communication
INSERT INTO communications
    (id, digest, login, channel, campaign_name, sent_at, received_at, view_url, body, message_id, tie_at)
VALUES
    (:id, :digest, :login, :channel, :campaign_name, :sent_at, :received_at, :view_url, :body, :message_id, :tie_at)
ON CONFLICT (digest) WHERE digest IS NOT NULL DO NOTHING

-- name: stored_communications
SELECT id FROM communications WHERE id IN (:list)

-- name: messages_of_user
SELECT m.id, m.channel, m.type, m.created_at,
       (SELECT 1 FROM communications AS c WHERE c.message_id = m.id LIMIT 1) IS NOT NULL
FROM messages AS m WHERE m.ext_user_id = :login AND m.id >= :first AND m.id < :last ORDER BY m.id LIMIT :limit

-- name: untied_communications
SELECT id, login, channel, sent_at, received_at, tie_at FROM communications
WHERE tie_at IS NOT NULL AND tie_at <= :now ORDER BY tie_at LIMIT :limit

-- name: tie_communication
UPDATE communications SET message_id = :message_id, tie_at = :tie_at WHERE id = :id

-- name: message_communications
SELECT received_at, sent_at, channel, campaign_name, view_url
FROM communications WHERE message_id = :message_id ORDER BY id

-- name: campaigns
SELECT campaign_name, channel, count(*), count(message_id), max(received_at) AS newest FROM communications
WHERE id >= :since AND id < :until GROUP BY campaign_name, channel ORDER BY newest DESC LIMIT :limit

-- name: forget_communications
DELETE FROM communications WHERE login = :login

-- ===== what is passed on =====

-- name: add_forward
INSERT INTO forwards (kind, source, key, payload, state, due_at, owed_at)
VALUES (:kind, :source, :key, :payload, 'pending', :now, :now)
ON CONFLICT (key, kind) WHERE state = 'pending' AND due_at IS NOT NULL
    DO UPDATE SET attempts = forwards.attempts -- changes nothing, and locks the one that is waited for
RETURNING source

-- name: add_waiting_forward
INSERT INTO forwards (kind, source, key, payload, state, owed_at)
VALUES (:kind, :source, :key, :payload, 'pending', :now)

-- name: due_forwards
SELECT id, kind, source, key, due_at, owed_at, attempts, retries FROM forwards
WHERE kind = :kind AND state = 'pending' AND due_at IS NOT NULL AND due_at <= :now ORDER BY due_at LIMIT :limit

-- name: forward_payloads
SELECT id, payload FROM forwards WHERE id IN (:list)

-- name: next_forward_due
SELECT min(due_at) FROM forwards WHERE kind = :kind AND state = 'pending' AND due_at > :after

-- name: pending_forwards
SELECT id, source FROM forwards WHERE id IN (:list) AND state = 'pending'

-- name: finish_forward
UPDATE forwards SET
    state = 'done', due_at = NULL, attempts = attempts + :attempts, finished_at = :finished_at,
    latency_ms = :latency_ms, last_error = NULL, payload = :nothing
WHERE id = :id AND source = :source AND state <> 'done' -- also one that was buried for its age while it was on its way

-- name: bury_forward
UPDATE forwards SET
    state = 'dead', due_at = NULL, attempts = attempts + :attempts, finished_at = :finished_at,
    last_error = :last_error
WHERE id = :id AND source = :source AND state = 'pending'

-- name: postpone_forward
UPDATE forwards SET
    due_at = :due_at, attempts = attempts + :attempts, retries = :retries, last_error = :last_error
WHERE id = :id AND source = :source AND state = 'pending'

-- name: release_forward
UPDATE forwards SET due_at = :now
WHERE id = (SELECT min(o.id) FROM forwards AS o WHERE o.key = :key AND o.kind = :kind AND o.state = 'pending')
    AND NOT EXISTS (SELECT 1 FROM forwards AS o
                    WHERE o.key = :key AND o.kind = :kind AND o.state = 'pending' AND o.due_at IS NOT NULL)

-- name: get_forward
SELECT kind, key FROM forwards WHERE id = :id

-- name: revive_forward
UPDATE forwards SET state = 'pending', due_at = NULL, owed_at = :now, retries = 0, finished_at = NULL
WHERE id = :id AND state = 'dead'

-- name: aged_forwards
SELECT id, kind, source, key FROM forwards
WHERE state = 'pending' AND due_at IS NOT NULL AND owed_at <= :until LIMIT :limit

-- name: forwards_of_sources
SELECT source, state, attempts, due_at, last_error FROM forwards
WHERE source IN (:list) AND kind = :kind ORDER BY id

-- name: due_forward_of_key
SELECT id FROM forwards WHERE key = :key AND kind = :kind AND state = 'pending' AND due_at IS NOT NULL

-- name: forget_forwards
DELETE FROM forwards WHERE key = :key AND kind = :kind RETURNING id

-- name: count_pending_forwards
SELECT kind, count(*), count(CASE WHEN due_at > :later THEN 1 END)
FROM forwards WHERE state = 'pending' GROUP BY kind

-- name: count_dead_forwards
SELECT count(*) FROM review_items AS i JOIN review_members AS m ON m.review_id = i.id
WHERE i.state = 'open' AND i.kind = 'dead_forward'

-- ===== pruning =====
-- What may go is looked for in the order of a key, after the place that was come to. `bridge/store/pruning.py` has the rules.
-- Look-ups row by row are scalar: of EXISTS in a list of columns PostgreSQL may make a hash of the whole other table.

-- name: old_texts
SELECT t.message_id, (SELECT 1 FROM sends AS s WHERE s.message_id = t.message_id) IS NULL
FROM texts AS t WHERE t.message_id > :after AND t.message_id < :before ORDER BY t.message_id LIMIT :limit

-- name: old_messages
SELECT id FROM messages WHERE id > :after AND id < :before ORDER BY id LIMIT :limit

-- name: quiet_messages
SELECT m.id, m.state, m.updated_at FROM messages AS m
WHERE m.id IN (:list) AND m.updated_at <= :until
    AND NOT EXISTS (SELECT 1 FROM sends AS s WHERE s.message_id = m.id)
    AND NOT EXISTS (
        SELECT 1 FROM reports AS r WHERE r.message_id = m.id AND (r.state <> 'done' OR r.finished_at > :until))
    AND NOT EXISTS (
        SELECT 1 FROM callbacks AS c WHERE c.message_id = m.id AND (
            c.received_at > :until OR EXISTS (SELECT 1 FROM review_members AS v WHERE v.subject = c.digest)))
    AND NOT EXISTS (SELECT 1 FROM steps AS t WHERE t.message_id = m.id AND t.at > :until)
    AND NOT EXISTS (SELECT 1 FROM inbound AS i WHERE i.message_id = m.id AND i.received_at > :until)
    AND NOT EXISTS (SELECT 1 FROM review_members AS v WHERE v.subject = m.id)

-- name: next_batches
SELECT b.id, b.received_at, b.state, length(b.body), coalesce(
    (SELECT 1 FROM review_members AS v WHERE v.batch_id = b.id LIMIT 1),
    (SELECT 1 FROM orphans AS o WHERE o.in_review = 0 AND o.received_at = b.received_at AND o.batch_id = b.id LIMIT 1),
    0)
FROM batches AS b WHERE b.id > :after ORDER BY b.id LIMIT :limit

-- name: next_orphans
SELECT o.provider, o.root, o.digest, o.received_at <= :until AND o.in_review = 1
    AND (SELECT 1 FROM review_members AS v WHERE v.subject = o.digest LIMIT 1) IS NULL
FROM orphans AS o WHERE (o.provider, o.root, o.digest) > (:provider, :root, :digest)
ORDER BY o.provider, o.root, o.digest LIMIT :limit

-- name: next_inbound
SELECT i.provider, i.provider_message_id, i.received_at <= :until
    AND (SELECT 1 FROM messages AS m WHERE m.id = i.message_id) IS NULL
FROM inbound AS i WHERE (i.provider, i.provider_message_id) > (:provider, :provider_message_id)
ORDER BY i.provider, i.provider_message_id LIMIT :limit

-- name: next_review_items
SELECT id, state <> 'open' AND last_at <= :until FROM review_items WHERE id > :after ORDER BY id LIMIT :limit

-- name: next_audit_lines
SELECT id, at FROM audit WHERE id > :after ORDER BY id LIMIT :limit

-- name: old_communications
SELECT id FROM communications WHERE id > :after AND id < :before ORDER BY id LIMIT :limit

-- name: next_forwards
SELECT id, state, finished_at FROM forwards WHERE id > :after ORDER BY id LIMIT :limit

-- name: prune_texts
DELETE FROM texts WHERE message_id IN (:list)

-- name: prune_bodies
UPDATE batches SET body = :nothing WHERE id IN (:list)

-- name: prune_batches
DELETE FROM batches WHERE id IN (:list)

-- name: prune_provider_messages
DELETE FROM provider_messages WHERE message_id IN (:list)

-- name: prune_callbacks
DELETE FROM callbacks WHERE message_id IN (:list)

-- name: prune_reports
DELETE FROM reports WHERE message_id IN (:list)

-- name: prune_steps
DELETE FROM steps WHERE message_id IN (:list)

-- name: prune_answers
DELETE FROM inbound WHERE message_id IN (:list)

-- name: prune_messages
DELETE FROM messages WHERE id IN (:list)

-- name: prune_orphan
DELETE FROM orphans WHERE provider = :provider AND root = :root AND digest = :digest

-- name: prune_inbound
DELETE FROM inbound WHERE provider = :provider AND provider_message_id = :provider_message_id

-- name: prune_communications
DELETE FROM communications WHERE id IN (:list)

-- name: prune_forwards
DELETE FROM forwards WHERE id IN (:list)

-- name: prune_review_items
DELETE FROM review_items WHERE id IN (:list)

-- name: prune_audit_lines
DELETE FROM audit WHERE id IN (:list)

-- ===== sealed anew under another key: only what nobody changed since it was read =====

-- name: reseal_contact_phone
UPDATE contacts SET phone = :sealed WHERE ext_user_id = :ext_user_id AND phone = :before

-- name: reseal_contact_email
UPDATE contacts SET email = :sealed WHERE ext_user_id = :ext_user_id AND email = :before

-- name: reseal_message_callback_url
UPDATE messages SET callback_url = :sealed WHERE id = :id AND callback_url = :before

-- name: reseal_text_body
UPDATE texts SET body = :sealed WHERE message_id = :message_id AND body = :before

-- name: reseal_batch_body
UPDATE batches SET body = :sealed WHERE id = :id AND body = :before

-- name: reseal_orphan_raw
UPDATE orphans SET raw = :sealed WHERE provider = :provider AND root = :root AND digest = :digest AND raw = :before

-- name: reseal_inbound_text
UPDATE inbound SET text = :sealed WHERE provider = :provider AND provider_message_id = :provider_message_id AND text = :before

-- name: reseal_inbound_special
UPDATE inbound SET special = :sealed WHERE provider = :provider AND provider_message_id = :provider_message_id AND special = :before

-- name: reseal_review_sample
UPDATE review_items SET sample = :sealed WHERE id = :id AND sample = :before

-- name: reseal_communication_view_url
UPDATE communications SET view_url = :sealed WHERE id = :id AND view_url = :before

-- name: reseal_communication_body
UPDATE communications SET body = :sealed WHERE id = :id AND body = :before

-- name: reseal_forward_payload
UPDATE forwards SET payload = :sealed WHERE id = :id AND payload = :before

-- name: reseal_send_destination
UPDATE sends SET destination = :sealed WHERE message_id = :message_id AND destination = :before
