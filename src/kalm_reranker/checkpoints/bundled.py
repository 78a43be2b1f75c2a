"""The model inside this package."""

from pathlib import Path

from kalm_reranker.checkpoints.checkpoint import Checkpoint, checkpoint_from_directory

BUNDLED_NAME = "pico"


def bundled_checkpoint() -> Checkpoint:
    """Returns pico: small, always there, for demonstration and tests.

    Raises:
        InvalidCheckpointError: The installation lost files.
    """
    directory = Path(__file__).parent / BUNDLED_NAME
    return checkpoint_from_directory(directory, name=BUNDLED_NAME, source="bundled")
