-- were_set_aside: what the search server would not take of a build, newest first.
SELECT document, document_id, error, set_aside_at
FROM projection_rejects
WHERE build = %(build)s
ORDER BY set_aside_at DESC, document, document_id
