"""States of candidates: encoded once, read at any ratio and codec as an index would hold them."""

import logging
import sqlite3

import pytest
import torch

from kalm_reranker.errors import DamagedStoreError, StoreError
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.kalm import KaLMModel, KaLMRanker
from kalm_reranker.evaluation.rankers.states import CandidateStates, base_ratio
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader

PASSAGES = {
    "beijing": "Beijing is the capital of China, and has been so for a long time.",
    "gravity": "Gravity attracts bodies toward one another, apples for example.",
    "id with space": "The capital of France is Paris.",
    "empty": "",
    "日本": "東京は日本の首都です。",
}
IDS = list(PASSAGES)
QUERIES = {"q1": "capital of China", "q2": "what attracts bodies"}
CODECS = ("bf16", "int8", "int4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states") / "kept"


@pytest.fixture(scope="module")
def states(folder, pico):
    found = CandidateStates(folder, pico, PASSAGES, [4, 8, 16])
    yield found
    found.close()


def opened(folder, pico, passages=PASSAGES, ratios=(4,)):
    states = CandidateStates(folder, pico, passages, ratios)
    states.close()
    return states


def indexed(folder, pico, ratio, codec):
    """What a real index at this ratio with this codec holds, in order."""
    with PassageIndex.create(folder, pico, compression_ratio=ratio, codec=codec) as index:
        index.add(PASSAGES.items(), show_progress=False)
    store = SQLiteStore.open(folder)
    try:
        keys = store.keys_of(IDS)
        reader = StatesReader(store, HotTier(0), pico.dtype)
        return reader.read([keys[name] for name in IDS], ratio).states
    finally:
        store.close()


def test_passages_are_encoded_once(folder, states, pico):
    assert states.report.added == len(PASSAGES)
    assert states.base_ratio == 4
    before = pico.stats.passages_encoded
    for ratios in ([4, 8, 16], [8], [64, 12]):  # each a multiple of what is there
        again = opened(folder, pico, ratios=ratios)
        assert (again.report.unchanged, again.report.num_passages) == (len(PASSAGES),) * 2
        assert again.base_ratio == 4
    assert pico.stats.passages_encoded == before


def test_new_and_changed_passages_are_encoded_and_no_others(tmp_path, pico):
    opened(tmp_path, pico)
    before = pico.stats.passages_encoded
    changed = {**PASSAGES, "gravity": "Gravity is a force.", "new": "A new passage."}
    report = opened(tmp_path, pico, changed).report
    assert (report.added, report.replaced, report.unchanged) == (1, 1, len(PASSAGES) - 1)
    assert pico.stats.passages_encoded == before + 2
    states = CandidateStates(tmp_path, pico, changed, [4])
    fresh = pico.encode(list(changed.values()), compression_ratio=4)
    torch.testing.assert_close(states.read(list(changed), 4).slots, fresh.slots)
    states.close()


def test_a_finer_ratio_is_encoded_beside_the_coarser_one_and_says_so(tmp_path, pico, caplog):
    opened(tmp_path, pico, ratios=[4])
    before = pico.stats.passages_encoded
    with caplog.at_level(logging.WARNING):
        finer = opened(tmp_path, pico, ratios=[2, 8])
    assert finer.report.added == len(PASSAGES)
    assert pico.stats.passages_encoded == before + len(PASSAGES)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r2", "r4"]
    assert "ratio 4, from which ratio 2 cannot be had" in caplog.text
    assert opened(tmp_path, pico, ratios=[8]).base_ratio == 4


def test_the_base_ratio_divides_all_that_are_wanted(tmp_path):
    assert base_ratio(tmp_path / "missing", [8, 32]) == 8
    assert base_ratio(tmp_path, [8, 12]) == 4
    for name in ("r1", "r2", "r0", "r4x", "other"):
        (tmp_path / name).mkdir()
    assert base_ratio(tmp_path, [8, 32]) == 2
    assert base_ratio(tmp_path, [3]) == 1


def test_states_without_a_codec_are_what_the_encoder_makes(states, pico):
    texts = [PASSAGES[key] for key in IDS]
    for ratio in (4, 8, 16):
        fresh = pico.encode(texts, compression_ratio=ratio)
        read = states.read(IDS, ratio)
        assert read.token_counts == fresh.token_counts
        assert read.provenance == fresh.provenance
        torch.testing.assert_close(read.slots, fresh.slots, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("codec", CODECS)
def test_at_the_base_ratio_a_codec_gives_the_bits_of_an_index(tmp_path, states, pico, codec):
    held = indexed(tmp_path / "index", pico, 4, codec)
    read = states.read(IDS, 4, codec)
    assert torch.equal(read.slots, held.slots)
    assert (read.token_counts, read.provenance) == (held.token_counts, held.provenance)
    assert not torch.equal(read.slots, states.read(IDS, 4).slots)
    query = QUERIES["q1"]
    ours, theirs = (pico.score(query, one, return_margin=True) for one in (read, held))
    assert [pair.margin for pair in ours] == [pair.margin for pair in theirs]


@pytest.mark.parametrize("codec", CODECS)
def test_pooled_states_go_through_a_codec_as_in_an_index_of_that_ratio(
    tmp_path, states, pico, codec
):
    held = indexed(tmp_path / "index", pico, 8, codec)
    read = states.read(IDS, 8, codec)
    # Pooled from other means, a value may be rounded to the next step of a codec.
    step = {"bf16": 2**-7, "int8": 1 / 100, "int4": 1 / 6}[codec]
    scale = held.slots.abs().amax(1, keepdim=True)
    assert ((read.slots - held.slots).abs() <= step * scale).all()
    torch.testing.assert_close(read.slots, held.slots, rtol=0, atol=step, check_stride=False)
    query = QUERIES["q1"]
    ours, theirs = (pico.score(query, one, return_margin=True) for one in (read, held))
    assert [pair.margin for pair in ours] == pytest.approx(
        [pair.margin for pair in theirs], abs=0.05
    )


@pytest.mark.parametrize("codec", [None, *CODECS])
def test_bytes_are_those_that_an_index_stores(tmp_path, states, pico, codec):
    folder = tmp_path / "index"
    indexed(folder, pico, 8, codec)
    store = SQLiteStore.open(folder)
    found = store.read_states(list(store.keys_of(IDS).values())).found.values()
    assert states.bytes_per_passage(8, codec) == sum(one.num_bytes for one in found) / len(IDS)
    store.close()


def test_passages_come_in_the_order_asked_for(states):
    there = states.read(["gravity", "beijing"], 4)
    back = states.read(["beijing", "gravity"], 4)
    assert torch.equal(there.slots_of(0), back.slots_of(1))
    assert torch.equal(there.slots_of(1), back.slots_of(0))
    assert not torch.equal(there.slots_of(0)[:2], back.slots_of(0)[:2])


def test_blocks_are_all_passages_in_order(states, monkeypatch):
    assert [list(block) for block in states.blocks(IDS, 4)] == [IDS]
    monkeypatch.setattr("kalm_reranker.evaluation.rankers.states._BLOCK_BYTES", 1)
    assert [list(block) for block in states.blocks(IDS, 4)] == [[key] for key in IDS]


def test_the_prefix_cache_never_takes_one_codec_or_ratio_for_another(states, pico):
    def margins(ratio, codec):
        read = states.read(IDS, ratio, codec)
        assert read.identities is not None
        scored = pico.score(QUERIES["q1"], read, return_margin=True)
        return [pair.margin for pair in scored]

    ways = [(ratio, codec) for ratio in (4, 8) for codec in (None, "int8")]
    names = [states.read(IDS, *way).identities for way in ways]
    assert len({(way[0], name) for way, names in zip(ways, names, strict=True) for name in names}) \
        == len(ways) * len(IDS)  # fmt: skip
    before = {way: margins(*way) for way in ways}
    assert len(set(map(tuple, before.values()))) == len(ways)
    hits = pico.prefix_cache_stats.hits
    for way in reversed(ways):
        assert margins(*way) == before[way]
    assert pico.prefix_cache_stats.hits == hits + len(ways) * len(IDS)


def test_damaged_states_are_an_error_that_says_what_to_do(tmp_path, pico):
    states = CandidateStates(tmp_path, pico, PASSAGES, [4])
    states.close()
    with sqlite3.connect(tmp_path / "r4" / "passages.sqlite") as connection:
        changed = connection.execute("UPDATE states SET slots = zeroblob(length(slots))").rowcount
    connection.close()
    assert changed == len(PASSAGES)
    states = CandidateStates(tmp_path, pico, PASSAGES, [4])
    with pytest.raises(
        DamagedStoreError, match=r"5 of 5 states in .* are damaged or gone"
    ) as raised:
        states.read(IDS, 4)
    assert "Delete that folder" in raised.value.hint
    states.close()


def test_a_folder_that_cannot_be_written_is_a_typed_error(tmp_path, pico):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        CandidateStates(tmp_path / "file", pico, PASSAGES, [4])


@pytest.fixture
def model(folder, states, pico):
    """Over the same folder as `states`: nothing is encoded."""
    task = RankingTask(
        dataset="toy",
        instruction=None,
        passages=PASSAGES,
        queries=QUERIES,
        candidates={"q1": dict.fromkeys(IDS, 1.0), "q2": {"gravity": 1.0}},
        folder=folder.parent / "of the model",
    )
    model = KaLMModel(pico, "pico", [4, 8])
    model.prepare(task)
    yield model
    model.close()


def test_margins_are_those_of_freshly_encoded_passages(model, pico):
    fresh = pico.encode(list(PASSAGES.values()), compression_ratio=8)
    for instruction in (None, "Find the capital."):
        expected = pico.score(QUERIES["q1"], fresh, instruction, return_margin=True)
        model.prepare(RankingTask(**{**vars(model.task), "instruction": instruction}))
        found = KaLMRanker(model, 8).score("q1", QUERIES["q1"], IDS)
        assert found == pytest.approx(
            {key: pair.margin for key, pair in zip(IDS, expected, strict=True)}, abs=1e-4
        )


def test_each_query_is_asked_with_its_own_instruction(model, pico):
    own = "Find what is about physics."
    task = RankingTask(**{**vars(model.task), "query_instructions": {"q2": own}})
    model.prepare(task)
    ranker = KaLMRanker(model, 4)
    states = model.states.read(["gravity"], 4)
    for query_id, instruction in (("q1", None), ("q2", own)):
        (expected,) = pico.score(QUERIES[query_id], states, instruction, return_margin=True)
        assert ranker.score(query_id, QUERIES[query_id], ["gravity"]) == {
            "gravity": expected.margin
        }


def test_passages_scored_in_blocks_have_the_same_margins(model, monkeypatch):
    ranker = KaLMRanker(model, 4, "int8")
    whole = ranker.score("q1", QUERIES["q1"], IDS)
    monkeypatch.setattr("kalm_reranker.evaluation.rankers.states._BLOCK_BYTES", 1)
    assert ranker.score("q1", QUERIES["q1"], IDS) == pytest.approx(whole, abs=1e-4)
    assert list(whole) == IDS


def test_states_that_nothing_is_kept_of_score_alike(model, pico):
    read = model.states.read(IDS, 4)
    cached = model.margins("q1", IDS, 4, None)
    read.identities = None
    hits = pico.prefix_cache_stats.hits
    assert model.margins_of_states("q1", IDS, read) == pytest.approx(cached, abs=1e-4)
    assert pico.prefix_cache_stats.hits == hits


def test_rankers_say_what_they_are(model, pico):
    plain, lossy = KaLMRanker(model, 4, "float32"), KaLMRanker(model, 8, "int4")
    assert (plain.info.name, plain.codec, plain.info.codec) == ("pico r=4", None, "float32")
    assert (lossy.info.name, lossy.codec, lossy.info.codec) == ("pico r=8 int4", "int4", "int4")
    settings = plain.info.settings
    assert settings["model_fingerprint"] == pico.provenance.model_fingerprint
    assert (settings["dtype"], settings["engine"], settings["max_length"]) == (
        *("float32", "eager"),
        pico.options.max_length,
    )
    assert plain.bytes_per_passage() > 4 * lossy.bytes_per_passage()


def test_what_is_cut_is_said(tmp_path, pico):
    long = {"long": "word " * 600, "short": "word"}
    task = RankingTask(
        dataset="toy",
        instruction=None,
        passages=long,
        queries={"q": "many words " * 40, "other": "few"},
        candidates={"q": dict.fromkeys(long, 0.0)},
        folder=tmp_path,
    )
    model = KaLMModel(pico, "pico", [32])
    model.prepare(task)
    of_query, of_passage = model.notes
    assert (
        of_query
        == f"pico reads {pico.options.query_max_length} tokens of a query: 1 of 2 are longer."
    )
    assert "pico reads 512 tokens of a passage: 1 of 2" in of_passage
    model.close()
