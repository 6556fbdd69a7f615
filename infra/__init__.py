"""What runs beside our services: real servers for tests and local runs, and what starts them."""
