"""Dead letters at the terminal: commands, what they print, and what a message says."""
