"""Judged collections and ranking metrics."""
