"""`payment-manager archive`: days that left the logs."""
