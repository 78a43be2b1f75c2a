"""What the compared runtimes read and how they answer; needs no torch.

Shape letters: Q queries, B candidates of a query, T prompt tokens, C slots, D hidden width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INPUTS = "inputs.npz"

Step = Callable[[int], np.ndarray]  # query number -> logits [B, 2] of yes and no, float32


@dataclass(frozen=True)
class Inputs:
    """The decoder's inputs, float32 numbers that bfloat16 holds exactly, and the head.

    Attributes:
        prompts: [Q, 1, T, D], embedded.
        states: [Q, B, C, D].
        rows: [2, D], the head's rows of "yes" and "no".
        softcap: Logits are squashed to +-this; 0 for not at all.
    """

    prompts: np.ndarray
    states: np.ndarray
    rows: np.ndarray
    softcap: np.ndarray

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """[B, D] -> [B, 2]: the head stays in float32 whatever a runtime quantizes."""
        logits: np.ndarray = hidden.astype(np.float32) @ self.rows.T
        return np.tanh(logits / self.softcap) * self.softcap if self.softcap else logits

    def save(self, folder: Path) -> None:
        """Writes the file that `load` reads."""
        np.savez(folder / INPUTS, **vars(self))

    @classmethod
    def load(cls, folder: Path) -> "Inputs":
        """Reads a problem's folder."""
        with np.load(folder / INPUTS) as arrays:
            return cls(**arrays)
