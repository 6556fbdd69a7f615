-- event_batches: the way back. Search is built from nothing when the version comes again.
DROP TABLE projection_rejects, projections, event_batches;
