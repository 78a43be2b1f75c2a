"""`kalm bench`: the three ways to rerank, timed on the user's own machine."""
