-- Drops everything the core made, the log included.
DROP TABLE parked_webhooks, webhook_ids, dispute_events, order_events, provider_intents, evidence, disputes, orders;
DROP SEQUENCE order_events_position, dispute_events_position;
