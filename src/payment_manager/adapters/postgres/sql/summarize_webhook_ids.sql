-- summarize_webhook_ids: make the index over time anew for one range of pages.
SELECT brin_desummarize_range('webhook_ids_taken', %(range)s::bigint * 128),
       brin_summarize_range('webhook_ids_taken', %(range)s::bigint * 128)
