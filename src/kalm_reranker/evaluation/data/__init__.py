"""Judged collections: where they come from, how they are read, what is wrong with them."""
