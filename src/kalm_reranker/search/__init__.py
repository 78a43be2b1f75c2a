"""First-stage retrieval and its combination with the reranker."""
