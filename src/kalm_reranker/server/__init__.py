"""Serves the reranker over HTTP, in the shapes that rerank clients speak already."""
