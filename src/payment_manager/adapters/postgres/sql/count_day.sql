-- count_day: the rows of a day.
SELECT count(*) FROM {partition}
