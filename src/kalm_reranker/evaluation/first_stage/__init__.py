"""Candidates: how they are found, and kept."""
