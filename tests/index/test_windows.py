"""An index whose long passages are kept in windows: all of a text is scored, none is cut."""

import json

import pytest
import torch
from safetensors.torch import load_file

from kalm_reranker import KaLMReranker
from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import (
    InvalidOptionError,
    InvalidRatioError,
    InvalidTextError,
    StatesMismatchError,
    StoreExistsError,
)
from kalm_reranker.index.passage_index import PassageIndex
from tests.index.conftest import PASSAGES

QUERY = "What is the capital of China?"
WINDOW = 64
RIVER = "The capital of the long river is far away. "
LONG = {
    "id": "late",
    "text": RIVER * 30 + "Beijing is the capital of China." + f" {RIVER * 10}".rstrip(),
}


@pytest.fixture(scope="module")
def windowed(tiny_checkpoint):
    return KaLMReranker(
        tiny_checkpoint,
        dtype="float32",
        chunk_size=2,
        max_length=WINDOW,
        long_documents="windows",
    )


@pytest.fixture
def index(tmp_path, windowed):
    with PassageIndex.create(tmp_path / "index", windowed) as made:
        made.add([*PASSAGES, LONG])
        yield made


def expected_margins(reranker, results, ratio):
    pairs = [(QUERY, result.text) for result in results]
    scored = reranker.predict(pairs, return_margin=True, compression_ratio=ratio)
    return pytest.approx([pair.margin for pair in scored], abs=1e-4)


@pytest.mark.parametrize("ratio", [2, 4, 32, WINDOW])
def test_stored_passages_score_as_the_reranker_scores_their_texts(index, windowed, ratio):
    ids = [passage["id"] for passage in [*PASSAGES, LONG]]
    for _ in range(2):  # from the file, and from the hot tier
        results = index.rerank(QUERY, ids, compression_ratio=ratio)
        assert [r.margin for r in results] == expected_margins(windowed, results, ratio)
    assert sorted(result.id for result in results) == sorted(ids)
    assert not any(result.truncated for result in results)
    cut = KaLMReranker(
        windowed.checkpoint.directory, dtype="float32", chunk_size=2, max_length=WINDOW
    )
    (late,) = (result for result in results if result.id == "late")
    (shorter,) = cut.predict([(QUERY, LONG["text"])], return_margin=True, compression_ratio=ratio)
    assert late.margin > shorter.margin + 1e-3  # another window than the first is the best


def test_a_search_gives_each_document_once(index, windowed):
    results = index.search(QUERY, cascade=None, fuse=False)
    names = [result.id for result in results]
    assert len(set(names)) == len(names)
    assert {"late", "long", "beijing"} <= set(names)
    assert [r.margin for r in results] == expected_margins(windowed, results, 2)


def test_a_cascade_goes_through_windows_at_both_ratios(index, windowed):
    ids = [passage["id"] for passage in [*PASSAGES, LONG]]
    cascade = CascadeSettings(coarse_ratio=32, fine_ratio=4, fine_count=3)
    results = index.rerank(QUERY, ids, cascade=cascade)
    assert [result.compression_ratio for result in results] == [4] * 3 + [32] * 4
    for ratio, part in ((4, list(results)[:3]), (32, list(results)[3:])):
        assert [r.margin for r in part] == expected_margins(windowed, part, ratio)


def test_ratios_that_do_not_divide_the_windows(index, tmp_path, tiny_checkpoint):
    with pytest.raises(InvalidRatioError, match=r"must divide 64, the tokens of a window.*; got 6"):
        index.search(QUERY, compression_ratio=6)
    folder = tmp_path / "odd"
    odd = {"dtype": "float32", "long_documents": "windows", "max_length": 50}
    with pytest.raises(InvalidRatioError, match="must divide max_length"):
        PassageIndex.create(folder, tiny_checkpoint, **odd)  # its own ratio, 4
    reranker = KaLMReranker(tiny_checkpoint, chunk_size=2, **odd)
    with pytest.raises(InvalidRatioError, match="got 4 and 50"):
        PassageIndex.create(folder, reranker, compression_ratio=4)
    assert not (folder / "passages.sqlite").exists()
    with PassageIndex.create(folder, reranker) as made:
        made.add([LONG])
        results = made.search("capital")
        assert results[0].id == "late"
        assert any("32 does not divide windows of 50 tokens" in note for note in results.notes)


def test_adding_says_what_was_split_and_skips_what_is_there(index, windowed, tmp_path):
    (windows,) = windowed._pipeline.tokenizer.encode_windows([LONG["text"]], WINDOW)
    report = index.add([LONG, {"id": "again", "text": LONG["text"]}])
    assert (report.unchanged, report.added, report.truncated) == (1, 1, 0)
    assert (report.split, report.windows) == (1, len(windows))
    assert report.num_tokens == sum(map(len, windows))
    replaced = index.add([{"id": "late", "text": "Beijing."}])
    assert (replaced.replaced, replaced.split, replaced.windows) == (1, 0, 0)
    assert index.stats().store.num_truncated == 0
    assert index.verify().ok


def test_it_is_the_same_after_opening_it_again(index, tmp_path, windowed):
    ids = [passage["id"] for passage in [*PASSAGES, LONG]]
    before = {result.id: result.margin for result in index.rerank(QUERY, ids)}
    index.close()
    with PassageIndex.open(tmp_path / "index") as again:
        assert again.header.provenance.window == WINDOW
        after = {result.id: result.margin for result in again.rerank(QUERY, ids)}
        assert after == pytest.approx(before, abs=1e-4)
        assert again.reranker.options.long_documents == "windows"
        assert again.add([{"id": "more", "text": LONG["text"]}]).split == 1  # in the index's mode
        (more,) = again.rerank(QUERY, ["more"])
        assert more.margin == pytest.approx(before["late"], abs=1e-4)
    # An index is a source of texts for one of the other kind.
    with PassageIndex.create(tmp_path / "cut", windowed.checkpoint.directory, max_length=64) as cut:
        assert cut.header.provenance.window is None
        assert cut.add(str(tmp_path / "index")).truncated == 3


def test_only_a_reranker_that_reads_alike_may_add(index, tmp_path, tiny_checkpoint):
    other = KaLMReranker(tiny_checkpoint, dtype="float32", chunk_size=2, max_length=WINDOW)
    expected = {result.id: result.margin for result in index.search(QUERY)}
    with PassageIndex.open(tmp_path / "index", other) as opened:
        found = {result.id: result.margin for result in opened.search(QUERY)}
        assert found == pytest.approx(expected, abs=1e-4)  # scored as they were made
        with pytest.raises(
            StatesMismatchError, match="made with long_documents='windows'; the reranker has"
        ):
            opened.add([("x", "y")])
    with pytest.raises(StoreExistsError, match="long_documents='windows'"):
        PassageIndex.create(tmp_path / "index", other, exist_ok=True)


def test_the_setting_belongs_to_the_reranker_where_one_is_given(tmp_path, windowed):
    with pytest.raises(InvalidOptionError, match="long_documents belong to the reranker"):
        PassageIndex.create(tmp_path / "index", windowed, long_documents="windows")
    with pytest.raises(InvalidOptionError, match=r"long_documents must be one of .*; got 'x'"):
        PassageIndex.create(tmp_path / "index", "pico", long_documents="x")


@pytest.mark.parametrize("ratio", [2, 8])
def test_candidates_are_read_in_blocks_by_their_windows(index, monkeypatch, ratio):
    names = [passage["id"] for passage in [LONG, *PASSAGES]]
    together = {r.id: r.margin for r in index.rerank(QUERY, names, compression_ratio=ratio)}
    # Room for three windows, as stored and as pooled: "late" and "long" have more.
    of_a_window = (WINDOW // 2 + WINDOW // ratio) * index.header.width * 4
    monkeypatch.setattr("kalm_reranker.search.rescoring._BLOCK_BYTES", 3 * of_a_window)
    results = index.rerank(QUERY, names, compression_ratio=ratio)
    sizes = [s.counts["pairs"] for s in results.stages if s.name == f"score r={ratio}"]
    assert sizes == [1, 3, 1, 1, 1]  # late; beijing, gravity, paris; tokyo; long; empty
    assert {r.id: r.margin for r in results} == pytest.approx(together, abs=1e-4)


def test_blocks_of_an_add_are_bounded_by_text(tmp_path, windowed, monkeypatch):
    # The states of four windows: some 256 characters, less than any of these texts.
    of_a_window = WINDOW // 2 * windowed.width * 4
    monkeypatch.setattr("kalm_reranker.index.adding._BLOCK_STATES_BYTES", 4 * of_a_window)
    blocks = []
    encode = windowed.encode
    monkeypatch.setattr(
        windowed, "encode", lambda texts, **kw: blocks.append(len(texts)) or encode(texts, **kw)
    )
    with PassageIndex.create(tmp_path / "index", windowed) as index:
        index.add([(str(i), RIVER * 8) for i in range(5)])
    assert blocks == [1] * 5


def test_states_beyond_what_a_row_holds_are_refused(tmp_path, windowed, monkeypatch):
    monkeypatch.setattr("kalm_reranker.index.adding._MOST_STATES_BYTES", 40_000)
    with PassageIndex.create(tmp_path / "index", windowed) as index:
        with pytest.raises(InvalidTextError, match=r"of passage 'late' take .* at most 40,000"):
            index.add([LONG])
        assert len(index) == 0
        index.add(PASSAGES[:2])
        assert len(index) == 2


def test_an_export_holds_all_windows_and_says_so(index, windowed, tmp_path):
    index.export(tmp_path / "export")
    about = json.loads((tmp_path / "export" / "export.json").read_text())
    assert about["header"]["provenance"]["long_documents"] == "windows"
    tensors = load_file(tmp_path / "export" / about["shards"][0]["states"])
    states = windowed.encode([LONG["text"]])
    count = states.token_counts[0]
    assert tensors["token_counts"].tolist()[-1] == count
    exported = tensors["slots"][-states.slot_counts[0] :]
    torch.testing.assert_close(exported, states.slots, atol=1e-5, rtol=1e-5)
    assert not tensors["truncated"].any()


def test_a_lossy_codec_pools_windows_like_any_states(tmp_path, windowed):
    with PassageIndex.create(tmp_path / "index", windowed, codec="int8") as index:
        index.add([LONG])
        (exact,) = windowed.predict([(QUERY, LONG["text"])], return_margin=True)
        (stored,) = index.rerank(QUERY, ["late"], cascade=None)
        assert stored.margin == pytest.approx(exact.margin, abs=0.3)
