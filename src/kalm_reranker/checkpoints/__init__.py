"""Where a model comes from (bundled, directory, hub) and what it is (fingerprint)."""
