"""Search at the terminal: is it what the logs say, and building it anew."""
