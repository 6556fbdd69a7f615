-- What a service of the first version left behind: some orders' and disputes' lives over five days, with something of
-- everything. The 5th of November is missing in the log of orders, the 7th in that of disputes: their events are in the default
-- partitions. A record of that version, not to be changed: what it held then is what every later version has to keep.
CREATE TABLE order_events_p20261103 PARTITION OF order_events FOR VALUES FROM ('2026-11-03 00:00:00+00') TO ('2026-11-04 00:00:00+00');
CREATE TABLE order_events_p20261104 PARTITION OF order_events FOR VALUES FROM ('2026-11-04 00:00:00+00') TO ('2026-11-05 00:00:00+00');
CREATE TABLE order_events_p20261106 PARTITION OF order_events FOR VALUES FROM ('2026-11-06 00:00:00+00') TO ('2026-11-07 00:00:00+00');
CREATE TABLE order_events_p20261107 PARTITION OF order_events FOR VALUES FROM ('2026-11-07 00:00:00+00') TO ('2026-11-08 00:00:00+00');
CREATE TABLE order_events_p20261108 PARTITION OF order_events FOR VALUES FROM ('2026-11-08 00:00:00+00') TO ('2026-11-09 00:00:00+00');
CREATE TABLE dispute_events_p20261103 PARTITION OF dispute_events FOR VALUES FROM ('2026-11-03 00:00:00+00') TO ('2026-11-04 00:00:00+00');
CREATE TABLE dispute_events_p20261104 PARTITION OF dispute_events FOR VALUES FROM ('2026-11-04 00:00:00+00') TO ('2026-11-05 00:00:00+00');
CREATE TABLE dispute_events_p20261105 PARTITION OF dispute_events FOR VALUES FROM ('2026-11-05 00:00:00+00') TO ('2026-11-06 00:00:00+00');
CREATE TABLE dispute_events_p20261106 PARTITION OF dispute_events FOR VALUES FROM ('2026-11-06 00:00:00+00') TO ('2026-11-07 00:00:00+00');
CREATE TABLE dispute_events_p20261108 PARTITION OF dispute_events FOR VALUES FROM ('2026-11-08 00:00:00+00') TO ('2026-11-09 00:00:00+00');
COPY orders (order_id, user_id, status, created_at, updated_at, amount_minor, currency, hold_reason, hold_changed_at, provenance, sequence, first_event_at, last_event_at) FROM stdin;
captured	11111111-1111-1111-1111-111111111111	created	2026-01-02 10:00:00+00	2026-01-02 10:00:00+00	10050	USD	\N	\N	[[0,"2026-01-02T10:00:00Z",0,"evt-6"],[0,"2026-01-02T10:00:00Z",0,"evt-6"]]	5	2026-11-05 03:00:00+00	2026-11-05 12:00:00.000003+00
capturing	11111111-1111-1111-1111-111111111111	created	2026-01-02 10:00:00+00	2026-01-02 10:00:00+00	10050	USD	\N	\N	[[0,"2026-01-02T10:00:00Z",0,"evt-7"],[0,"2026-01-02T10:00:00Z",0,"evt-7"]]	2	2026-11-05 03:00:00+00	2026-11-05 21:00:00+00
decided	11111111-1111-1111-1111-111111111111	created	2026-01-02 10:00:00+00	2026-01-02 10:00:00+00	10050	USD	\N	\N	[[0,"2026-01-02T10:00:00Z",0,"evt-11"],[0,"2026-01-02T10:00:00Z",0,"evt-11"]]	1	2026-11-07 09:00:00+00	2026-11-07 09:00:00+00
disputed	11111111-1111-1111-1111-111111111111	created	2026-01-02 10:00:00+00	2026-01-02 10:00:00+00	10050	USD	\N	\N	[[0,"2026-01-02T10:00:00Z",0,"evt-9"],[0,"2026-01-02T10:00:00Z",0,"evt-9"]]	1	2026-11-06 15:00:00+00	2026-11-06 15:00:00+00
held	11111111-1111-1111-1111-111111111111	updated	2026-01-02 10:00:00+00	2026-01-02 10:00:00+00	10050	USD	risk	2026-11-04 18:00:00+00	[[0,"2026-01-02T10:00:00Z",1,"evt-5"],[0,"2026-01-02T10:00:00Z",1,"evt-5"]]	2	2026-11-04 09:00:00+00	2026-11-04 18:00:00+00
plain	11111111-1111-1111-1111-111111111111	success	2026-01-02 10:00:00+00	2026-01-02 10:09:00+00	10050	USD	\N	\N	[[2,"2026-01-02T10:09:00Z",1,"evt-2"],[2,"2026-01-02T10:09:00Z",1,"evt-2"]]	4	2026-11-03 15:00:00+00	2026-11-04 00:00:00.000001+00
\.
COPY disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency, opened_at, evidence_due_at, closed_at, provenance, sequence, first_event_at, last_event_at) FROM stdin;
965d73d3-8299-55f5-b10d-8c2ae011a382	decided	won	open	fraud	10050	USD	2026-01-02 10:01:00+00	\N	2026-01-02 10:05:00+00	[[2,"2026-01-02T10:05:00Z",2,"evt-13"],[0,"2026-01-02T10:01:00Z",0,"evt-12"],null]	3	2026-11-07 09:00:00+00	2026-11-07 09:00:00.000002+00
a8c28860-177f-536d-b50e-36a4994ae737	disputed	\N	under_review	fraud	10050	USD	2026-01-02 10:00:00+00	2026-02-01 00:00:00+00	\N	[[0,"2026-01-02T10:00:00Z",0,"evt-8"],[0,"2026-01-02T10:00:00Z",0,"evt-8"],[0,"2026-01-02T10:00:00Z",0,"evt-8"]]	5	2026-11-06 15:00:00+00	2026-11-07 00:00:00.000003+00
\.
COPY evidence (dispute_id, fields, files, updated_at) FROM stdin;
a8c28860-177f-536d-b50e-36a4994ae737	{"note":"delivered"}	[{"file_id":"file-1","name":"a.pdf","content_type":"application/pdf","size":12}]	2026-11-07 00:00:00+00
\.
COPY provider_intents (space, order_id, key, amount_minor, currency, file_ids, fields, status, requested_at, settled_at, reference, error, correlation_id, asked, next_attempt_at) FROM stdin;
dispute	disputed	s-1	\N	\N	["file-1"]	{"note":"delivered"}	failed	2026-11-07 00:00:00.000001+00	\N	\N	File not ready	test	0	2026-11-07 00:00:00+00
dispute	disputed	s-2	\N	\N	["file-1"]	{"note":"delivered"}	pending	2026-11-07 00:00:00.000003+00	\N	\N	\N	test	0	2026-11-07 00:00:00+00
order	captured	k-1	500	USD	\N	\N	failed	2026-11-05 12:00:00+00	\N	txn-0	declined	test	0	2026-11-05 12:00:00+00
order	captured	k-2	500	USD	\N	\N	success	2026-11-05 12:00:00.000002+00	2026-11-05 12:00:00.000003+00	txn-1	\N	test	0	2026-11-05 12:00:00+00
order	capturing	k	500	USD	\N	\N	pending	2026-11-05 21:00:00+00	\N	\N	\N	test	0	2026-11-05 21:00:00+00
\.
COPY order_events (event_id, order_id, sequence, kind, provider_event_id, data, created_at, correlation_id, transaction_id, position) FROM stdin;
00000000-0001-7000-8000-000000000000	plain	1	webhook_received	evt-1	{"outcome":"applied","payload":{"provider_event_id": "evt-1", "order_id": "plain", "user_id": "11111111-1111-1111-1111-111111111111", "status": "created", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-03 15:00:00+00	test	1736	1
00000000-0002-7000-8000-000000000000	plain	2	webhook_received	evt-2	{"outcome":"applied","payload":{"provider_event_id": "evt-2", "order_id": "plain", "user_id": "11111111-1111-1111-1111-111111111111", "status": "success", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:09:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-03 15:00:00.000001+00	test	1736	2
00000000-0003-7000-8000-000000000000	plain	3	webhook_received	evt-3	{"outcome":"stale","payload":{"provider_event_id": "evt-3", "order_id": "plain", "user_id": "11111111-1111-1111-1111-111111111111", "status": "updated", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:05:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-04 00:00:00+00	test	1737	3
00000000-0004-7000-8000-000000000000	plain	4	webhook_rejected	evt-4	{"outcome":"rejected","payload":{"provider_event_id": "evt-4", "order_id": "plain", "user_id": "11111111-1111-1111-1111-111111111111", "status": "failed", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-04 00:00:00.000001+00	test	1737	4
00000000-0005-7000-8000-000000000000	held	1	webhook_received	evt-5	{"outcome":"applied","payload":{"provider_event_id": "evt-5", "order_id": "held", "user_id": "11111111-1111-1111-1111-111111111111", "status": "updated", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-04 09:00:00+00	test	1738	5
00000000-0006-7000-8000-000000000000	held	2	hold_set	\N	{"actor":"ann","reason":"risk"}	2026-11-04 18:00:00+00	test	1739	6
00000000-0007-7000-8000-000000000000	captured	1	webhook_received	evt-6	{"outcome":"applied","payload":{"provider_event_id": "evt-6", "order_id": "captured", "user_id": "11111111-1111-1111-1111-111111111111", "status": "created", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-05 03:00:00+00	test	1740	7
00000000-0008-7000-8000-000000000000	capturing	1	webhook_received	evt-7	{"outcome":"applied","payload":{"provider_event_id": "evt-7", "order_id": "capturing", "user_id": "11111111-1111-1111-1111-111111111111", "status": "created", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-05 03:00:00+00	test	1740	8
00000000-0009-7000-8000-000000000000	captured	2	capture_requested	\N	{"idempotency_key":"k-1","amount":5.00,"currency":"USD","actor":"ann","reason":null}	2026-11-05 12:00:00+00	test	1741	9
00000000-000a-7000-8000-000000000000	captured	3	capture_failed	\N	{"idempotency_key":"k-1","provider_tx_id":"txn-0","error":"declined"}	2026-11-05 12:00:00.000001+00	test	1741	10
00000000-000b-7000-8000-000000000000	captured	4	capture_requested	\N	{"idempotency_key":"k-2","amount":5.00,"currency":"USD","actor":"ann","reason":null}	2026-11-05 12:00:00.000002+00	test	1741	11
00000000-000c-7000-8000-000000000000	captured	5	capture_completed	\N	{"idempotency_key":"k-2","provider_tx_id":"txn-1"}	2026-11-05 12:00:00.000003+00	test	1741	12
00000000-000d-7000-8000-000000000000	capturing	2	capture_requested	\N	{"idempotency_key":"k","amount":5.00,"currency":"USD","actor":"ann","reason":null}	2026-11-05 21:00:00+00	test	1742	13
00000000-000e-7000-8000-000000000000	disputed	1	webhook_received	evt-9	{"outcome":"applied","payload":{"provider_event_id": "evt-9", "order_id": "disputed", "user_id": "11111111-1111-1111-1111-111111111111", "status": "created", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-06 15:00:00+00	test	1744	14
00000000-0014-7000-8000-000000000000	decided	1	webhook_received	evt-11	{"outcome":"applied","payload":{"provider_event_id": "evt-11", "order_id": "decided", "user_id": "11111111-1111-1111-1111-111111111111", "status": "created", "created_at": "2026-01-02T10:00:00Z", "updated_at": "2026-01-02T10:00:00Z", "meta": {"amount": "100.50", "currency": "USD"}}}	2026-11-07 09:00:00+00	test	1746	15
\.
COPY dispute_events (event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id, transaction_id, position) FROM stdin;
00000000-000f-7000-8000-000000000000	a8c28860-177f-536d-b50e-36a4994ae737	1	webhook_opened	evt-8	{"outcome":"applied","payload":{"provider_event_id": "evt-8", "order_id": "disputed", "user_id": "11111111-1111-1111-1111-111111111111", "status": "opened", "reason": "fraud", "amount": 100.5, "currency": "USD", "occurred_at": "2026-01-02T10:00:00Z", "meta": {}, "evidence_due_at": "2026-02-01T00:00:00Z"},"parked_at":"2026-11-06T06:00:00Z"}	2026-11-06 15:00:00+00	test	1744	1
00000000-0010-7000-8000-000000000000	a8c28860-177f-536d-b50e-36a4994ae737	2	evidence_added	\N	{"fields":{"note":"delivered"},"files":[{"file_id":"file-1","name":"a.pdf","content_type":"application/pdf","size":12}],"actor":"bob","reason":null}	2026-11-07 00:00:00+00	test	1745	2
00000000-0011-7000-8000-000000000000	a8c28860-177f-536d-b50e-36a4994ae737	3	submission_requested	\N	{"idempotency_key":"s-1","file_ids":["file-1"],"fields":{"note":"delivered"},"actor":"bob","reason":null}	2026-11-07 00:00:00.000001+00	test	1745	3
00000000-0012-7000-8000-000000000000	a8c28860-177f-536d-b50e-36a4994ae737	4	submission_failed	\N	{"idempotency_key":"s-1","error":"File not ready"}	2026-11-07 00:00:00.000002+00	test	1745	4
00000000-0013-7000-8000-000000000000	a8c28860-177f-536d-b50e-36a4994ae737	5	submission_requested	\N	{"idempotency_key":"s-2","file_ids":["file-1"],"fields":{"note":"delivered"},"actor":"bob","reason":null}	2026-11-07 00:00:00.000003+00	test	1745	5
00000000-0015-7000-8000-000000000000	965d73d3-8299-55f5-b10d-8c2ae011a382	1	webhook_opened	evt-12	{"outcome":"applied","payload":{"provider_event_id": "evt-12", "order_id": "decided", "user_id": "11111111-1111-1111-1111-111111111111", "status": "opened", "reason": "fraud", "amount": 100.5, "currency": "USD", "occurred_at": "2026-01-02T10:01:00Z", "meta": {}}}	2026-11-07 09:00:00+00	test	1746	6
00000000-0016-7000-8000-000000000000	965d73d3-8299-55f5-b10d-8c2ae011a382	2	provider_decision	evt-13	{"outcome":"applied","payload":{"provider_event_id": "evt-13", "order_id": "decided", "user_id": "11111111-1111-1111-1111-111111111111", "status": "closed", "reason": "fraud", "amount": 100.5, "currency": "USD", "occurred_at": "2026-01-02T10:05:00Z", "meta": {"resolution": "won"}}}	2026-11-07 09:00:00.000001+00	test	1746	7
00000000-0017-7000-8000-000000000000	965d73d3-8299-55f5-b10d-8c2ae011a382	3	webhook_rejected	evt-14	{"outcome":"rejected","payload":{"provider_event_id": "evt-14", "order_id": "decided", "user_id": "11111111-1111-1111-1111-111111111111", "status": "closed", "reason": "fraud", "amount": 100.5, "currency": "USD", "occurred_at": "2026-01-02T10:06:00Z", "meta": {"resolution": "lost"}}}	2026-11-07 09:00:00.000002+00	test	1746	8
\.
COPY webhook_ids (order_id, provider_event_id, space, content_hash, rejected_over, taken_at) FROM stdin;
captured	evt-6	order	\\x09370f60f76720678fd20fd417024469	\N	2026-11-05 03:00:00+00
capturing	evt-7	order	\\x5c501be5524fbdadc976a8d57fbf9d0b	\N	2026-11-05 03:00:00+00
decided	evt-11	order	\\x914caa43a358c78adf2a6d7eec2ee39c	\N	2026-11-07 09:00:00+00
decided	evt-12	dispute	\\x0856f943128c9bdbb4b11bdcc0c44d91	\N	2026-11-07 09:00:00+00
decided	evt-13	dispute	\\xc582d38f5d13262a7806ba1552ec16ac	\N	2026-11-07 09:00:00+00
decided	evt-14	dispute	\\x2ed0055ee6bf34ed653c8c1c3520d4e0	won	2026-11-07 09:00:00+00
disputed	evt-8	dispute	\\x48e51ea9093940bbf696794c677886cc	\N	2026-11-06 06:00:00+00
disputed	evt-9	order	\\xc7fa1cd57f82b2ee9af841c9386f8055	\N	2026-11-06 15:00:00+00
held	evt-5	order	\\xd73ada8953a675953a084c73b7bcc6f5	\N	2026-11-04 09:00:00+00
plain	evt-1	order	\\x88416041aed29eea0694ca7d0a6fcb89	\N	2026-11-03 15:00:00+00
plain	evt-2	order	\\x73158848cb6bf5e44453072b4fa241f0	\N	2026-11-03 15:00:00+00
plain	evt-3	order	\\xb707d8ea1d3760d6a4a85481765a0356	\N	2026-11-04 00:00:00+00
plain	evt-4	order	\\x1f776eac682131af93e806605307765b	success	2026-11-04 00:00:00+00
waits	evt-10	dispute	\\x278c00ca177aae56a8e7a6b810ed3c9c	\N	2026-11-06 15:00:00+00
\.
COPY parked_webhooks (position, order_id, provider_event_id, payload, content_hash, parked_at, correlation_id) FROM stdin;
2	waits	evt-10	{"provider_event_id": "evt-10", "order_id": "waits", "user_id": "11111111-1111-1111-1111-111111111111", "status": "opened", "reason": "fraud", "amount": 100.5, "currency": "USD", "occurred_at": "2026-01-02T10:00:00Z", "meta": {}}	\\x278c00ca177aae56a8e7a6b810ed3c9c	2026-11-06 15:00:00+00	test
\.
SELECT setval('order_events_position', 15);
SELECT setval('dispute_events_position', 8);
SELECT setval('parked_webhooks_position_seq', 2);
