"""The command of upkeep, and what it prints."""
