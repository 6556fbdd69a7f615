-- search_amount_range: the place of a dispute's amount among the ranges, from 1. In major units, whose fraction no bound has.
width_bucket(d.amount_minor / CASE {units} ELSE 100 END, ARRAY[{bounds}]::bigint[])
