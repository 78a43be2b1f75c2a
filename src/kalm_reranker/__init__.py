"""KaLM-Reranker-V1, fast: passages are encoded once, queries are scored against their states."""
