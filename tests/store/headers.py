"""Headers of stores that no model was needed for."""

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.store.header import StoreHeader


def a_header(**values):
    """A header with the given values, and others that are allowed."""
    return StoreHeader(
        **{
            "store_id": "0" * 32,
            "model": "pico",
            "revision": None,
            "provenance": a_provenance(),
            "compression_ratio": 2,
            "codec": "float32",
            "width": 4,
            "keep_text": True,
            "language": "auto",
            "dense": None,
            "created_at": "2026-01-01T00:00:00+00:00",
            "created_by": "tests",
            **values,
        }
    )


def a_provenance():
    return Provenance(
        model_fingerprint="f" * 64, template_version=1, max_length=1024, dtype="float32"
    )
