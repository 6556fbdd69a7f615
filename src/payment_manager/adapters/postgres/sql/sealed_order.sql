-- sealed_order: how the rows of a sealed day lie: what a question by kind reads stands together.
kind, created_at, event_id
