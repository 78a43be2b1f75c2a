"""What a benchmark ran on; the package's own, so that `kalm bench` says the same."""

from kalm_reranker.machine import Machine, describe, this_machine

__all__ = ["Machine", "describe", "this_machine"]
