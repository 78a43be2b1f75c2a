"""A store whose file is gone takes nothing more: it would be lost without a word."""

import shutil

import pytest

from kalm_reranker import PassageIndex
from kalm_reranker.errors import StoreNotFoundError


@pytest.mark.parametrize("is_replaced", [False, True])
def test_nothing_is_written_into_a_file_without_a_name(tmp_path, is_replaced):
    folder = tmp_path / "index"
    with PassageIndex.create(folder, "pico", dtype="float32") as index:
        index.add([("a", "The capital of China is Beijing.")])
        if is_replaced:
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            shutil.rmtree(folder)
            copy.rename(folder)
        else:
            shutil.rmtree(folder)
        with pytest.raises(StoreNotFoundError, match="deleted or replaced since it was opened"):
            index.add([("b", "Gravity attracts bodies.")])
        index.close()
        if is_replaced:  # what is opened again is what is there
            assert index.add([("b", "Gravity attracts bodies.")]).added == 1
