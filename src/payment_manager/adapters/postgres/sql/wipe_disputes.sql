-- wipe_disputes: remove the disputes of these orders, with evidence and submissions, before they are written anew.
WITH gone_evidence AS (
    DELETE FROM evidence WHERE dispute_id IN (SELECT dispute_id FROM disputes WHERE order_id = ANY(%(order_ids)s))
), gone_submissions AS (
    DELETE FROM provider_intents WHERE order_id = ANY(%(order_ids)s) AND space = 'dispute'
)
DELETE FROM disputes WHERE order_id = ANY(%(order_ids)s)
