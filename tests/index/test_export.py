"""An export holds all that is in an index, in files that other software reads."""

import json

import pytest
import torch
from safetensors.torch import load_file

from kalm_reranker.errors import DamagedStoreError, StoreExistsError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader
from tests.index.conftest import PASSAGES


@pytest.mark.parametrize("codec", ["float32", "bf16", "int8", "int4"])
def test_everything_is_in_the_export(tmp_path, reranker, codec):
    with PassageIndex.create(tmp_path / "index", reranker, codec=codec) as index:
        index.add(PASSAGES)
        index.delete("gravity")
        report = index.export(tmp_path / "export")
    assert (report.num_passages, report.num_shards) == (5, 1)
    about = json.loads((tmp_path / "export" / "export.json").read_text())
    assert about["header"]["codec"] == codec
    (shard,) = about["shards"]
    lines = (tmp_path / "export" / shard["passages"]).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["id"] for record in records] == ["beijing", "paris", "tokyo", "long", "empty"]
    assert records[1]["metadata"] == {"title": "Paris", "lang": "en"}
    tensors = load_file(tmp_path / "export" / shard["states"])
    store = SQLiteStore.open(tmp_path / "index")
    read = StatesReader(store, HotTier(0), tensors["slots"].dtype).read([1, 3, 4, 5, 6])
    assert torch.equal(tensors["slots"], read.states.slots)
    assert tensors["token_counts"].tolist() == list(read.states.token_counts)
    assert tensors["truncated"].tolist() == [False, False, False, True, False]
    assert tensors["slots"].dtype == (torch.bfloat16 if codec == "bf16" else torch.float32)


def test_an_export_overwrites_nothing(index, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.txt").write_text("mine")
    with pytest.raises(StoreExistsError, match="is no empty folder"):
        index.export(tmp_path / "export")


def test_an_empty_index_can_be_exported(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        assert index.export(tmp_path / "export").num_shards == 0
    assert json.loads((tmp_path / "export" / "export.json").read_text())["shards"] == []


def test_an_export_that_fails_leaves_nothing_behind(index, tmp_path):
    path = index.folder / "passages.sqlite"
    index.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"Gravity attracts")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedStoreError, match="passage 'gravity'"):
        index.export(tmp_path / "export")
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_an_export_goes_into_an_empty_folder(index, tmp_path):
    (tmp_path / "export").mkdir()
    assert index.export(tmp_path / "export").num_passages == 6
    assert (tmp_path / "export" / "export.json").exists()
