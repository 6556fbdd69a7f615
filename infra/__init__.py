"""Real servers on this machine, without Docker: for tests, labs and local runs."""
