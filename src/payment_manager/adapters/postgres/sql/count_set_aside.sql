-- count_set_aside: how many documents the search server would not take of a build.
SELECT count(*) FROM projection_rejects WHERE build = %(build)s
