-- event_layout: what a question over many days needs beside sealed days: the disputes that it is about, out of an index alone.
-- The event tables stay as they are: what is packed is a sealed day (sealed_order.sql, indexes_of_log.sql), and decision 19
-- tells what narrower rows and leaner indexes would have bought.
CREATE INDEX disputes_status_reason ON disputes (status, reason) INCLUDE (dispute_id);
