"""What runs beside our services on one machine: real servers for tests and for local runs, no Docker."""
