-- The views for people and BI tools. Made anew by every migration; addresses are masked, times are RFC 3339 in UTC.

DROP VIEW IF EXISTS v_messages;
CREATE VIEW v_messages AS
SELECT
    CAST(CAST(encode(id, 'hex') AS UUID) AS TEXT) AS ext_message_id,
    gateway, type, channel, state, marks, owed AS statuses_owed, smartico_uid, ext_user_id, provider,
    provider_message_id, sender, parts, price, currency, error_code, error_text, address_masked,
    to_char(to_timestamp(created_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
    to_char(to_timestamp(submitted_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS submitted_at,
    to_char(to_timestamp(delivered_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS delivered_at,
    to_char(to_timestamp(updated_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at
FROM messages;

DROP VIEW IF EXISTS v_reports;
CREATE VIEW v_reports AS
SELECT
    CAST(CAST(encode(r.message_id, 'hex') AS UUID) AS TEXT) AS ext_message_id,
    m.gateway, m.type, r.status, r.seq, r.state, r.attempts, r.last_error, r.latency_ms,
    to_char(to_timestamp(r.owed_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS owed_at,
    to_char(to_timestamp(r.due_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS next_attempt_at,
    to_char(to_timestamp(r.finished_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS finished_at
FROM reports AS r JOIN messages AS m ON m.id = r.message_id;

DROP VIEW IF EXISTS v_callbacks;
CREATE VIEW v_callbacks AS
SELECT
    CAST(CAST(encode(c.message_id, 'hex') AS UUID) AS TEXT) AS ext_message_id,
    m.gateway, m.provider, m.channel, c.provider_message_id, c.event, c.status, c.outcome, c.step,
    c.error_code, t.text AS error_text, c.link, c.parts, c.price, c.currency,
    to_char(to_timestamp(c.provider_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS provider_time,
    to_char(to_timestamp(c.received_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS received_at
FROM callbacks AS c JOIN messages AS m ON m.id = c.message_id
LEFT JOIN error_texts AS t ON t.provider = m.provider AND t.code = c.error_code;

DROP VIEW IF EXISTS v_costs;
CREATE VIEW v_costs AS
SELECT
    CAST(CAST(encode(p.message_id, 'hex') AS UUID) AS TEXT) AS ext_message_id,
    m.gateway, m.channel, m.sender, m.state, p.provider, p.provider_message_id, p.step, p.parts, p.price, p.currency,
    to_char(to_timestamp(m.created_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
    to_char(to_timestamp(p.price_at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS price_time
FROM provider_messages AS p JOIN messages AS m ON m.id = p.message_id
WHERE p.price IS NOT NULL;
