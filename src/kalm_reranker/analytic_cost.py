"""The paper's analytic cost of reranking, beside which measured times are shown.

Letters: q tokens that belong to the query, n tokens of a passage, r the compression ratio,
m = ceil(n / r) slots, L layers, d hidden width.

    joint cross-encoder     L ((q + n) d^2 + (q + n)^2 d)
    decoder on stored slots L ((q + m) d^2 + (q + m) q d)

Tokens times d^2 stand for projections and MLP, pairs of tokens times d for attention; every other
constant (heads, MLP width, output head, prompt) is left out. The online cost of a stored passage
is a q-token query that attends to q + m keys, and one projection of each slot.

Source: arXiv 2606.22807. The formula itself is not in what we have of the paper; it is derived
from the numbers published, all of which it gives back (docs/bench.md, tests/test_analytic_cost.py).
"""

from dataclasses import dataclass

# What the published numbers assume.
PAPER_QUERY_TOKENS = 32
PAPER_PASSAGE_TOKENS = 1_024
PAPER_RATIO = 4  # of the table of costs; the curve over lengths is drawn at 16
PAPER_LENGTH_CURVE_RATIO = 16


@dataclass(frozen=True, kw_only=True)
class AnalyticCost:
    """Costs of one model size, in the formula's own unit.

    Args:
        decoder_layers: L of the decoder that scores stored states.
        joint_layers: L of the cross-encoder. "Of the same size" in the paper has the layers of
            encoder and decoder together, twice the decoder's.
        width: d, of both.
        query_tokens: q. The paper counts 32, without the prompt around the query; a comparison
            with measured times counts every token that the decoder reads.
    """

    decoder_layers: int
    joint_layers: int
    width: int
    query_tokens: float

    def joint(self, length: float) -> float:
        """Returns the cost of a cross-encoder that reads `length` passage tokens."""
        tokens = self.query_tokens + length
        return self.joint_layers * tokens * self.width * (self.width + tokens)

    def stored(self, length: float, ratio: float) -> float:
        """Returns the cost of scoring a stored passage; slots are not rounded up."""
        keys = self.query_tokens + length / ratio
        return self.decoder_layers * keys * self.width * (self.width + self.query_tokens)

    def speedup(self, length: float, ratio: float) -> float:
        """Returns how many times cheaper the stored passage is."""
        return self.joint(length) / self.stored(length, ratio)
