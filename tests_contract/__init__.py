"""Real clients, unmodified, against a live server; `scripts/test-clients` runs them."""
