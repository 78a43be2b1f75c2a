"""`PassageIndex`: a store of passage states with a first stage and a reranker around it."""
