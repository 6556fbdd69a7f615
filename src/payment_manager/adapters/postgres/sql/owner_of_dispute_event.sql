-- owner_of_dispute_event: the dispute that an event is about, if it has its row.
LEFT JOIN disputes AS d ON d.dispute_id = e.dispute_id
