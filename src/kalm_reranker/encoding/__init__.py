"""Texts to token ids to passage states."""
