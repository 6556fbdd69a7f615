-- dead_letter_actions: the way back. The audit trail is lost, and every letter in the topics is open again.
DROP TABLE dead_letter_actions;
