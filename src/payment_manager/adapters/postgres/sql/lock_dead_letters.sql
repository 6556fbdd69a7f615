-- lock_dead_letters: one at a time acts on dead letters, until the transaction ends.
SELECT pg_advisory_xact_lock(8230617003)
