"""Fixtures for checkpoints in directories and on a hub."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints.tiny_checkpoints import checkpoint_files

MakeCheckpoint = Callable[..., Path]


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """Writes a checkpoint and returns its directory; `without` leaves files out."""

    def make(
        name: str = "model",
        *,
        num_shards: int = 1,
        settings: object = None,
        without: tuple[str, ...] = (),
    ) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        for file, content in checkpoint_files(num_shards=num_shards, settings=settings).items():
            if file not in without:
                (directory / file).write_bytes(content)
        return directory

    return make
