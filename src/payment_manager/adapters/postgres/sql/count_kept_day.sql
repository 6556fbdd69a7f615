-- count_kept_day: what a day that was detached and kept comes to.
SELECT count(*), pg_total_relation_size('{partition}'::regclass) FROM {partition}
