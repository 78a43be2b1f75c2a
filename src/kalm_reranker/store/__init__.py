"""Passage states as bytes that survive: codecs, the SQLite store, integrity, the hot tier."""
