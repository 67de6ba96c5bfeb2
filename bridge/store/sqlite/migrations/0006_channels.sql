-- Channels are closed, and looked up, in capitals.

UPDATE OR IGNORE opt_outs SET channel = upper(channel) WHERE channel <> upper(channel);
DELETE FROM opt_outs WHERE channel <> upper(channel);
