-- The views for people and BI tools. Made anew by every migration; addresses are masked, times are RFC 3339 in UTC.

DROP VIEW IF EXISTS v_messages;
CREATE VIEW v_messages AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-'
        || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS ext_message_id,
    gateway, type, channel, state, marks, owed AS statuses_owed, smartico_uid, ext_user_id, provider,
    provider_message_id, sender, parts, price, currency, error_code, error_text, address_masked,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', submitted_at / 1000.0, 'unixepoch') AS submitted_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', delivered_at / 1000.0, 'unixepoch') AS delivered_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at
FROM messages;

DROP VIEW IF EXISTS v_reports;
CREATE VIEW v_reports AS
SELECT
    lower(substr(hex(r.message_id), 1, 8) || '-' || substr(hex(r.message_id), 9, 4) || '-'
        || substr(hex(r.message_id), 13, 4) || '-' || substr(hex(r.message_id), 17, 4) || '-'
        || substr(hex(r.message_id), 21)) AS ext_message_id,
    m.gateway, m.type, r.status, r.seq, r.state, r.attempts, r.last_error, r.latency_ms,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.owed_at / 1000.0, 'unixepoch') AS owed_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.due_at / 1000.0, 'unixepoch') AS next_attempt_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1000.0, 'unixepoch') AS finished_at
FROM reports AS r JOIN messages AS m ON m.id = r.message_id;

DROP VIEW IF EXISTS v_callbacks;
CREATE VIEW v_callbacks AS
SELECT
    lower(substr(hex(c.message_id), 1, 8) || '-' || substr(hex(c.message_id), 9, 4) || '-'
        || substr(hex(c.message_id), 13, 4) || '-' || substr(hex(c.message_id), 17, 4) || '-'
        || substr(hex(c.message_id), 21)) AS ext_message_id,
    m.gateway, m.provider, m.channel, c.provider_message_id, c.event, c.status, c.outcome, c.step,
    c.error_code, t.text AS error_text, c.link, c.parts, c.price, c.currency,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.provider_at / 1000.0, 'unixepoch') AS provider_time,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.received_at / 1000.0, 'unixepoch') AS received_at
FROM callbacks AS c JOIN messages AS m ON m.id = c.message_id
LEFT JOIN error_texts AS t ON t.provider = m.provider AND t.code = c.error_code;

DROP VIEW IF EXISTS v_costs;
CREATE VIEW v_costs AS
SELECT
    lower(substr(hex(p.message_id), 1, 8) || '-' || substr(hex(p.message_id), 9, 4) || '-'
        || substr(hex(p.message_id), 13, 4) || '-' || substr(hex(p.message_id), 17, 4) || '-'
        || substr(hex(p.message_id), 21)) AS ext_message_id,
    m.gateway, m.channel, m.sender, m.state, p.provider, p.provider_message_id, p.step, p.parts, p.price, p.currency,
    strftime('%Y-%m-%dT%H:%M:%fZ', m.created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', p.price_at / 1000.0, 'unixepoch') AS price_time
FROM provider_messages AS p JOIN messages AS m ON m.id = p.message_id
WHERE p.price IS NOT NULL;
