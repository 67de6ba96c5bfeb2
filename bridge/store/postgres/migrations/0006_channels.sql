-- Channels are closed, and looked up, in capitals.

INSERT INTO opt_outs (subject, channel, closed_at, reason)
SELECT DISTINCT ON (subject, upper(channel)) subject, upper(channel), closed_at, reason
FROM opt_outs WHERE channel <> upper(channel) ORDER BY subject, upper(channel), closed_at
ON CONFLICT DO NOTHING;
DELETE FROM opt_outs WHERE channel <> upper(channel);
