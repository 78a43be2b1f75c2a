"""An index answers as the reranker would, from states that were stored."""

import collections
import itertools
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from kalm_reranker import KaLMReranker
from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidOptionError,
    InvalidRatioError,
    InvalidTextError,
    StatesMismatchError,
    StoreBusyError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
    TextTypeError,
    UnknownPassageError,
)
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.search import tantivy_bm25
from kalm_reranker.search.derived_index import DerivedIndex
from kalm_reranker.store.passage import Passage
from tests.index.conftest import PASSAGES

QUERY = "What is the capital of China?"


def margins(results):
    return {result.id: result.margin for result in results}


def test_margins_are_those_of_the_reranker_with_the_texts_at_hand(index, reranker):
    results = index.search(QUERY, cascade=None, fuse=False)
    assert {"beijing", "paris", "long"} <= {result.id for result in results}
    expected = reranker.rank(
        QUERY, [result.text for result in results], return_margin=True, return_documents=True
    )
    assert [result.text for result in results] == [item["text"] for item in expected]
    for result, item in zip(results, expected, strict=True):
        assert result.margin == pytest.approx(item["margin"], abs=1e-4)
        assert result.score == pytest.approx(item["score"], abs=1e-4)


def test_results_carry_what_was_added(index):
    (result,) = index.rerank(QUERY, ["paris"])
    assert result.id == "paris"
    assert result.rank == 1
    assert result.text == "Paris The capital of France is Paris."
    assert result.metadata == {"title": "Paris", "lang": "en"}
    assert result.compression_ratio == 2
    assert result.first_stage_rank == 1
    assert result.first_stage_score is None
    assert result.blended is None


@pytest.mark.parametrize("ratio", [2, 4, 32])
def test_a_coarser_ratio_scores_as_if_encoded_at_it(index, reranker, ratio):
    results = index.rerank(QUERY, ["beijing", "long", "empty"], compression_ratio=ratio)
    texts = {result.id: result.text for result in results}
    expected = reranker.predict(
        [(QUERY, text) for text in texts.values()], return_margin=True, compression_ratio=ratio
    )
    for result, pair in zip(results, expected, strict=True):
        assert result.margin == pytest.approx(pair.margin, abs=1e-4)
        assert result.compression_ratio == ratio


def test_a_ratio_that_cannot_be_had_is_refused(index):
    with pytest.raises(InvalidRatioError, match=r"must be a multiple of 2, .*; got 3"):
        index.search(QUERY, compression_ratio=3)


def test_with_a_cascade_rescored_passages_come_first_and_say_their_ratio(index, reranker):
    ids = [passage["id"] for passage in PASSAGES]
    cascade = CascadeSettings(coarse_ratio=8, fine_ratio=None, fine_count=2)
    results = index.rerank(QUERY, ids, cascade=cascade)
    coarse = margins(index.rerank(QUERY, ids, compression_ratio=8))
    fine = margins(index.rerank(QUERY, ids, compression_ratio=2))
    assert [result.compression_ratio for result in results] == [2, 2, 8, 8, 8, 8]
    best = sorted(coarse, key=lambda name: -coarse[name])[:2]
    assert {result.id for result in results[:2]} == set(best)
    for group, at in ((results[:2], fine), (results[2:], coarse)):
        assert [result.margin for result in group] == sorted(
            (result.margin for result in group), reverse=True
        )
        for result in group:
            assert result.margin == pytest.approx(at[result.id], abs=1e-4)
    names = [stage.name for stage in results.stages]
    assert names == ["read states r=8", "score r=8", "read states r=2", "score r=2", "read texts"]


def test_the_checkpoints_cascade_is_the_default(index, reranker):
    # A checkpoint without settings has the official one: all at 32, the best 20 at the base.
    assert reranker.checkpoint.settings.cascade.coarse_ratio == 32
    index.add([(f"more{i}", f"The capital number {i}.") for i in range(30)])
    results = index.search("capital", top_k=40, candidates=40)
    assert [result.compression_ratio for result in results] == [2] * 20 + [32] * 13


def test_few_candidates_are_scored_at_the_fine_ratio_at_once(index):
    results = index.search(QUERY)
    assert {result.compression_ratio for result in results} == {2}
    assert "score r=32" not in [stage.name for stage in results.stages]


def test_a_blend_orders_by_both_rankers(index):
    scores = {"beijing": 3.0, "gravity": 2.0, "paris": 1.0}
    results = index.rerank(QUERY, scores, fuse=True)
    for first, second in itertools.pairwise(results):
        assert first.blended >= second.blended
    assert sum(result.blended for result in results) == pytest.approx(0, abs=1e-9)
    assert {result.id: result.first_stage_rank for result in results} == {
        "beijing": 1,
        "gravity": 2,
        "paris": 3,
    }
    with pytest.raises(InvalidOptionError, match="fuse needs first-stage scores"):
        index.rerank(QUERY, list(scores), fuse=True)


def test_pico_blends_by_default_and_has_no_cascade(tmp_path):
    with PassageIndex.create(tmp_path / "pico", "pico", dtype="float32") as index:
        index.add(PASSAGES)
        assert index.header.codec == "float32"
        assert index.header.compression_ratio == 2
        results = index.search(QUERY)
        assert results[0].id == "beijing"
        assert all(result.blended is not None for result in results)
        assert index.rerank(QUERY, ["paris"])[0].blended is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lang": "en"}, {"beijing", "paris", "long"}),
        ({"year": {"$gte": 1900}}, {"beijing"}),
        ({"title": "Paris"}, {"paris"}),
        ({"lang": ["ja", "de"]}, set()),
        (lambda metadata: "year" not in metadata, {"paris", "long"}),
    ],
)
def test_a_filter_leaves_only_what_matches(index, given, expected):
    assert {result.id for result in index.search("capital", filter=given)} == expected


def test_a_filter_looks_as_deep_as_it_must(index):
    index.add([(f"noise{i}", "capital capital capital") for i in range(300)])
    found = index.search("capital", candidates=2, top_k=2, filter={"lang": "en"})
    assert {result.id for result in found} <= {"beijing", "paris", "long"}
    assert len(found) == 2
    assert found.stages[0].counts["looked_at"] > 300


def test_languages_without_spaces_are_found(index):
    assert index.search("日本の首都")[0].id == "tokyo"


def test_a_query_without_a_match_gives_nothing(index):
    results = index.search("zzzz qqqq")
    assert len(results) == 0
    assert results.num_candidates == 0


def test_what_was_deleted_is_not_found_and_can_come_back(index):
    assert index.delete("beijing") == 1
    assert "beijing" not in index
    assert "beijing" not in margins(index.search(QUERY))
    with pytest.raises(UnknownPassageError, match=r"1 of 1 ids are not in the index .*'beijing'"):
        index.get("beijing")
    report = index.add([PASSAGES[0]])
    assert (report.added, report.replaced) == (1, 0)
    assert "beijing" in margins(index.search(QUERY))


def test_a_deletion_of_what_is_not_there_deletes_nothing(index):
    with pytest.raises(UnknownPassageError, match="1 of 2 ids"):
        index.delete(["beijing", "nowhere"])
    assert "beijing" in index
    assert index.delete(["beijing", "nowhere"], missing_ok=True) == 1


def test_a_replaced_text_is_scored_anew_though_its_states_were_hot(index, reranker):
    index.rerank(QUERY, ["gravity"])
    index.add([("gravity", "China has the capital Beijing.")])
    (result,) = index.rerank(QUERY, ["gravity"])
    (expected,) = reranker.predict([(QUERY, "China has the capital Beijing.")], return_margin=True)
    assert result.margin == pytest.approx(expected.margin, abs=1e-4)
    assert result.text == "China has the capital Beijing."


def test_another_handle_on_the_index_sees_the_change(index, tmp_path, reranker):
    with PassageIndex.open(tmp_path / "index", reranker) as other:
        other.rerank(QUERY, ["gravity"], compression_ratio=8)
        index.add([("gravity", "China has the capital Beijing.")])
        again = other.rerank(QUERY, ["gravity"], compression_ratio=8)
        assert again[0].text == "China has the capital Beijing."
        (expected,) = reranker.predict(
            [(QUERY, again[0].text)], return_margin=True, compression_ratio=8
        )
        assert again[0].margin == pytest.approx(expected.margin, abs=1e-4)
        assert "gravity" in margins(other.search("capital of China"))


def test_unknown_candidates_are_an_error_or_a_note(index):
    with pytest.raises(UnknownPassageError, match="the first is 'nowhere'"):
        index.rerank(QUERY, ["paris", "nowhere"])
    results = index.rerank(QUERY, ["paris", "nowhere"], missing_ok=True)
    assert [result.id for result in results] == ["paris"]
    assert results.notes == ("1 of 2 ids are not in the index",)


def test_the_hot_tier_counts_and_keeps_its_budget(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker, hot_bytes=24_000) as index:
        index.add(PASSAGES)
        ids = [passage["id"] for passage in PASSAGES]
        index.rerank(QUERY, ids)
        first = index.stats().hot_tier
        assert (first.hits, first.misses) == (0, 6)
        assert 0 < first.used_bytes <= first.budget_bytes == 24_000
        index.rerank(QUERY, ["tokyo", "paris"])
        assert index.stats().hot_tier.hits == 2


def test_get_returns_what_was_added(index):
    assert index.get("beijing") == Passage(
        "beijing", "Beijing is the capital of China.", {"lang": "en", "year": 2020}
    )
    assert [p.id for p in index.get_many(["tokyo", "beijing"])] == ["tokyo", "beijing"]
    assert list(index.ids()) == [passage["id"] for passage in PASSAGES]
    assert len(index) == 6


def test_it_is_the_same_after_opening_it_again(index, tmp_path, reranker, tiny_checkpoint):
    before = margins(index.search(QUERY))
    index.close()
    with PassageIndex.open(tmp_path / "index") as again:
        assert again.header.model == str(tiny_checkpoint)
        assert margins(again.search(QUERY)) == pytest.approx(before, abs=1e-4)
        assert again.reranker.options.max_length == 128


def test_the_index_can_be_moved(index, tmp_path):
    before = margins(index.search(QUERY))
    index.close()
    shutil.move(tmp_path / "index", tmp_path / "elsewhere")
    with PassageIndex.open(tmp_path / "elsewhere") as again:
        assert margins(again.search(QUERY)) == pytest.approx(before, abs=1e-4)


def test_another_model_is_refused_with_both_fingerprints(index, tmp_path, other_checkpoint):
    other = KaLMReranker(other_checkpoint, dtype="float32", chunk_size=2, max_length=128)
    ours, theirs = (
        index.header.provenance.model_fingerprint,
        other.provenance.model_fingerprint,
    )
    opened = PassageIndex.open(tmp_path / "index", other)
    for use in (lambda: opened.search(QUERY), lambda: opened.add([("x", "y")])):
        with pytest.raises(StatesMismatchError, match=f"{ours}.*{theirs}.*kalm index add NEW"):
            use()
    assert len(opened) == 6


def test_scoring_in_another_dtype_still_adds_in_the_old_one(index, tmp_path):
    index.close()
    with PassageIndex.open(tmp_path / "index", dtype="bfloat16") as again:
        assert again.add([("new", "The capital of Peru is Lima.")]).added == 1
        assert again.reranker.provenance.dtype == "bfloat16"
        again.search(QUERY)
    with PassageIndex.open(tmp_path / "index") as exact:
        assert exact.reranker.provenance.dtype == "float32"
        (result,) = exact.rerank(QUERY, ["new"])
        (expected,) = exact.reranker.predict(
            [(QUERY, "The capital of Peru is Lima.")], return_margin=True
        )
        assert result.margin == pytest.approx(expected.margin, abs=1e-4)


def test_cuts_are_said(tmp_path):
    with PassageIndex.create(tmp_path / "pico", "pico", max_length=16) as made:
        made.add(PASSAGES)
        results = made.rerank("capital " * 40, ["beijing", "long"])
        assert {result.id: result.truncated for result in results} == {
            "beijing": False,
            "long": True,
        }
        assert results.notes == ("the query was cut at 26 tokens, this model's limit",)
        assert made.search("capital").notes == ()


def test_many_candidates_are_scored_in_blocks(index, monkeypatch):
    names = [passage["id"] for passage in PASSAGES]
    together = margins(index.rerank(QUERY, names))
    monkeypatch.setattr("kalm_reranker.search.rescoring._BLOCK_BYTES", 2 * 128 * 64 * 4)
    results = index.rerank(QUERY, names)
    assert [stage.name for stage in results.stages].count("score r=2") == 3
    assert margins(results) == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 64}, "made with max_length=128; the reranker has max_length=64"),
        ({"dtype": "bfloat16"}, "made with dtype='float32'; the reranker has dtype='bfloat16'"),
    ],
)
def test_adding_with_other_settings_is_refused_searching_is_not(
    index, tmp_path, tiny_checkpoint, settings, message
):
    given = {"dtype": "float32", "chunk_size": 2, "max_length": 128} | settings
    opened = PassageIndex.open(tmp_path / "index", KaLMReranker(tiny_checkpoint, **given))
    opened.search(QUERY)
    with pytest.raises(StatesMismatchError, match=message):
        opened.add([("x", "y")])


def reading(special_tokens, tiny_checkpoint):
    return KaLMReranker(
        tiny_checkpoint,
        dtype="float32",
        chunk_size=2,
        max_length=128,
        special_tokens=special_tokens,
    )


def test_what_comes_from_others_may_be_read_as_text_in_any_index(index, tmp_path, tiny_checkpoint):
    """Harmless texts have the same states either way; others keep what they say."""
    harmless = index.rerank(QUERY, ["paris"])[0].margin
    with PassageIndex.open(tmp_path / "index", reading("text", tiny_checkpoint)) as opened:
        opened.add([("tokens", "a <bos> b")])
        assert opened.rerank(QUERY, ["paris"])[0].margin == pytest.approx(harmless, abs=1e-5)
        as_text = opened.states(["tokens"])
    assert (
        as_text.token_counts
        > reading("control", tiny_checkpoint).encode(["a <bos> b"]).token_counts
    )


def test_an_index_that_keeps_special_tokens_as_text_does_not_let_control_tokens_in(
    tmp_path, tiny_checkpoint
):
    with PassageIndex.create(tmp_path / "index", reading("text", tiny_checkpoint)) as index:
        index.add(PASSAGES)
    with PassageIndex.open(tmp_path / "index", reading("control", tiny_checkpoint)) as opened:
        assert len(opened.search(QUERY)) > 0
        with pytest.raises(StatesMismatchError, match="made with special_tokens='text'"):
            opened.add([("x", "y")])


def test_states_are_those_that_are_scored(index):
    states = index.states(["paris", "beijing"], compression_ratio=4)
    margins = [pair.margin for pair in index.reranker.score(QUERY, states, return_margin=True)]
    ranked = {
        result.id: result.margin
        for result in index.rerank(QUERY, ["beijing", "paris"], cascade=None, compression_ratio=4)
    }
    assert margins == pytest.approx([ranked["paris"], ranked["beijing"]], abs=1e-5)
    with pytest.raises(UnknownPassageError, match="'nobody'"):
        index.states(["paris", "nobody"])


def test_without_texts_only_own_candidates_can_be_ranked(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker, keep_text=False) as index:
        index.add(PASSAGES)
        (result,) = index.rerank(QUERY, ["beijing"])
        assert result.text is None
        with pytest.raises(InvalidOptionError, match="made without them"):
            index.search(QUERY)
        assert index.add(PASSAGES).unchanged == 6


def test_there_is_one_index_in_a_folder(index, tmp_path, reranker):
    with pytest.raises(StoreExistsError, match="There is an index in"):
        PassageIndex.create(tmp_path / "index", reranker)
    with pytest.raises(StoreNotFoundError, match=r"passages\.sqlite is missing.*kalm index create"):
        PassageIndex.open(tmp_path / "nowhere")


def test_an_index_that_is_there_can_be_opened_if_it_was_made_alike(index, tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker, exist_ok=True) as again:
        assert len(again) == 6
        assert again.header == index.header
    with PassageIndex.create(tmp_path / "new", reranker, exist_ok=True) as new:
        assert len(new) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression_ratio": 4}, "made with compression_ratio=2; asked for is compression_rat"),
        ({"codec": "int8"}, "made with codec='float32'; asked for is codec='int8'"),
        ({"keep_text": False}, "made with keep_text=True"),
        ({"language": "other"}, "made with language='auto'; asked for is language='other'"),
    ],
)
def test_an_index_made_otherwise_is_not_opened_for_it(index, tmp_path, reranker, options, message):
    with pytest.raises(StoreExistsError, match=message):
        PassageIndex.create(tmp_path / "index", reranker, exist_ok=True, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i: i.search(""), InvalidTextError, "query must hold some text"),
        (lambda i: i.search(QUERY, top_k=0), InvalidOptionError, "top_k must be a positive"),
        (lambda i: i.search(QUERY, candidates=0), InvalidOptionError, "candidates must be"),
        (lambda i: i.search(QUERY, first_stage="x"), InvalidOptionError, "must be one of 'bm25'"),
        (lambda i: i.search(QUERY, first_stage="dense"), InvalidOptionError, "without them"),
        (lambda i: i.search(QUERY, fuse=1), InvalidOptionError, "fuse must be True, False or None"),
        (lambda i: i.search(QUERY, filter=3), InvalidOptionError, "filter must be a mapping"),
        (lambda i: i.search(QUERY, cascade=32), InvalidOptionError, "cascade must be a Cascade"),
        (
            lambda i: i.search(
                QUERY,
                compression_ratio=4,
                cascade=CascadeSettings(coarse_ratio=8, fine_ratio=2, fine_count=3),
            ),
            InvalidOptionError,
            "exclude each other",
        ),
        (lambda i: i.rerank(QUERY, ["a", "a"]), InvalidOptionError, "got 'a' twice"),
        (lambda i: i.rerank(QUERY, [3]), TextTypeError, r"ids\[0\] must be a string; .* number 3"),
        (lambda i: i.get(""), InvalidTextError, r"must hold at least one character"),
        (lambda i: i.delete(7), TextTypeError, "ids must be an id or a list of ids; got int"),
        (lambda i: i.add(7), TextTypeError, "passages must be a location or an iterable"),
        (lambda i: i.add([], wait_s="a"), InvalidOptionError, "wait_s must be a number of seconds"),
        (lambda i: PassageIndex.open(None), InvalidOptionError, "folder must be a path or a name"),
        (
            lambda i: PassageIndex.open(i.folder, i.reranker, device="cpu"),
            InvalidOptionError,
            "device belong to the reranker",
        ),
        (
            lambda i: PassageIndex.open(i.folder, i._models.reranker, quantization="int8"),
            InvalidOptionError,
            "quantization belong to the reranker",
        ),
        (
            lambda i: PassageIndex.open(i.folder, prefix_cache_bytes=-1),
            InvalidOptionError,
            "prefix_cache_bytes must be a whole number of bytes",
        ),
        (
            lambda i: PassageIndex.create(i.folder / "x", None),
            InvalidOptionError,
            "model must be a path or a name; got None",
        ),
    ],
)
def test_bad_calls(index, call, error, message):
    with pytest.raises(error, match=message):
        call(index)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "fp8"}, "codec must be one of 'float32', 'bf16', 'int8', 'int4'; got 'fp8'"),
        ({"language": "klingon"}, "language must be one of"),
        ({"keep_text": 1}, "keep_text must be True or False"),
        ({"hot_bytes": -1}, "hot_bytes must be a whole number of bytes"),
        ({"dtype": "float32"}, "dtype belong to the reranker"),
        ({"dense": 3}, "dense must be a path or a name; got 3"),
    ],
)
def test_bad_settings_make_nothing(tmp_path, reranker, options, message):
    with pytest.raises(InvalidOptionError, match=message):
        PassageIndex.create(tmp_path / "index", reranker, **options)
    assert not (tmp_path / "index" / "passages.sqlite").exists()


@pytest.mark.parametrize(("codec", "bound"), [("float32", 1e-4), ("bf16", 0.2), ("int8", 0.2)])
def test_every_codec_keeps_margins_near(tmp_path, reranker, codec, bound):
    with PassageIndex.create(tmp_path / codec, reranker, codec=codec) as index:
        index.add(PASSAGES)
        ids = [passage["id"] for passage in PASSAGES]
        found = margins(index.rerank(QUERY, ids))
        texts = {passage.id: passage.text for passage in index.get_many(ids)}
        pairs = reranker.predict([(QUERY, text) for text in texts.values()], return_margin=True)
        for name, pair in zip(texts, pairs, strict=True):
            assert found[name] == pytest.approx(pair.margin, abs=bound)


def test_threads_search_while_one_adds(index):
    expected = margins(index.rerank(QUERY, ["beijing", "paris"]))
    problems = []
    done = threading.Event()

    def search():
        try:
            while not done.is_set():
                found = margins(index.rerank(QUERY, ["beijing", "paris"]))
                assert found == pytest.approx(expected, abs=1e-3)
                index.search("capital", top_k=3)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        index.add([(f"new{number}", f"A capital text, number {number}.")])
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(index) == 16


def test_an_older_copy_of_the_store_is_not_searched_with_newer_words(tmp_path, reranker):
    folder = tmp_path / "index"
    with PassageIndex.create(folder, reranker) as index:
        index.add([("a", "alpha one"), ("b", "alpha two")])
    backup = (folder / "passages.sqlite").read_bytes()
    with PassageIndex.open(folder, reranker) as index:
        index.add([("c", "beta one"), ("d", "beta two"), ("e", "beta three")])
    (folder / "passages.sqlite").write_bytes(backup)
    with PassageIndex.open(folder, reranker) as index:
        index.add([(name, f"gamma {name}") for name in "vwxyz"])
        assert sorted(result.id for result in index.search("gamma")) == list("vwxyz")
        assert len(index.search("beta")) == 0


def test_threads_share_one_first_stage(index):
    shutil.rmtree(index.folder / "bm25")
    index.close()
    start = threading.Barrier(8)

    def search():
        start.wait()
        results = index.search("capital")
        return {result.id for result in results}, results.notes

    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(search) for _ in range(8)]]
    assert found == [({"beijing", "paris", "long"}, ())] * 8


def test_get_returns_a_passage_for_each_id(index):
    assert [p.id for p in index.get_many(["paris", "beijing", "paris"])] == [
        "paris",
        "beijing",
        "paris",
    ]


def test_what_cannot_be_an_id_is_not_there(index):
    assert [name in index for name in ("paris", "", "\ud800", 3, None)] == [True, *[False] * 4]


@pytest.mark.parametrize("score", [None, "3", float("nan"), True])
def test_first_stage_scores_are_numbers(index, score):
    with pytest.raises(InvalidOptionError, match="score of 'paris' must be a finite number"):
        index.rerank("capital", {"paris": score, "beijing": 1.0})


@pytest.mark.parametrize("times", [1, 9])
def test_a_text_replaced_while_it_was_scored_is_scored_again(
    index, reranker, tmp_path, monkeypatch, times
):
    writer = PassageIndex.open(tmp_path / "index", reranker)
    texts = iter([f"Another text, number {number}." for number in range(times)])
    score = reranker.score

    def slow_score(*arguments, **options):
        scores = score(*arguments, **options)
        if (text := next(texts, None)) is not None:
            writer.add([("paris", text)])
        return scores

    monkeypatch.setattr(reranker, "score", slow_score)
    results = index.search("capital", cascade=None, fuse=False)
    monkeypatch.undo()
    (found,) = [result for result in results if result.id == "paris"]
    if times == 1:
        assert found.text == "Another text, number 0."
        alone = index.rerank("capital", ["paris"], fuse=False)[0]
        assert found.margin == pytest.approx(alone.margin, abs=1e-4)
        assert results.notes == ()
    else:
        assert "passages change faster than they are scored" in results.notes[-1]
    writer.close()


def test_a_first_stage_that_cannot_be_written_is_searched_as_it_is(index, monkeypatch):
    def catch_up(*arguments, **options):
        raise StoreWriteError("The disk is full.")

    index.search("capital")
    index.delete("paris")
    monkeypatch.setattr(tantivy_bm25, "catch_up", catch_up)
    results = index.search("capital")
    assert {result.id for result in results} == {"beijing", "long"}
    assert "BM25 is 1 changes behind: The disk is full." in results.notes
    monkeypatch.undo()
    assert index.search("capital").notes == ()


def test_a_damaged_candidate_that_cannot_be_filtered_is_said(index):
    connection = sqlite3.connect(index.folder / "passages.sqlite")
    with connection:
        connection.execute("UPDATE passages SET metadata = '{}' WHERE id = 'paris'")
    connection.close()
    results = index.search("capital", filter={"lang": "en"})
    assert {result.id for result in results} == {"beijing", "long"}
    assert results.notes[0].startswith("passage 'paris': ")
    assert results.notes[0].endswith("it cannot be filtered and was left out")


def test_a_file_is_no_index(tmp_path):
    (tmp_path / "file.jsonl").write_text("{}")
    with pytest.raises(StoreNotFoundError, match=r"file\.jsonl is no folder"):
        PassageIndex.open(tmp_path / "file.jsonl")


def test_ids_that_cannot_be_read_are_told_of(index):
    path = index.folder / "passages.sqlite"
    index.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"Gravity attracts")] ^= 1
    path.write_bytes(content)
    found = []
    with pytest.raises(DamagedStoreError, match="passage 'gravity'"):
        collections.deque(map(found.append, index.ids()), maxlen=0)
    assert found == [p["id"] for p in PASSAGES if p["id"] != "gravity"]


def test_a_search_waits_for_a_first_stage_that_another_process_is_building(
    tmp_path, reranker, monkeypatch
):
    folder = tmp_path / "index"
    with PassageIndex.create(folder, reranker) as index:
        index.add(PASSAGES)
    shutil.rmtree(folder / "bm25")
    (folder / "bm25").mkdir()
    lock = FileLock(folder / "bm25" / "lock", thread_local=False)
    lock.acquire()
    try:
        with PassageIndex.open(folder, reranker) as index:
            threading.Timer(0.5, lock.release).start()
            assert len(index.search(QUERY)) > 0
            shutil.rmtree(folder / "bm25")
            (folder / "bm25").mkdir()
        lock.acquire()
        monkeypatch.setattr(DerivedIndex.sync, "__kwdefaults__", SOON)
        with PassageIndex.open(folder, reranker) as index:
            with pytest.raises(
                StoreBusyError, match=r"being built by another process; waited 0\.2"
            ):
                index.search(QUERY)
            report = index.add([("new", "A capital.")])  # needs no first stage
            assert report.added == 1
            assert "the first stage is not up to date" in report.notes[0]
    finally:
        lock.release(force=True)


SOON = DerivedIndex.sync.__kwdefaults__ | {"wait_s": 0.2}


def test_the_way_of_execution_is_the_rerankers(index):
    options = {"engine": "eager", "prefix_cache_bytes": 2**24, "dtype": "float32"}
    with PassageIndex.open(index.folder, **options) as opened:
        reranker = opened._models.reranker
        assert reranker.engine.name == "eager"
        assert reranker.prefix_cache_stats.budget_bytes == 2**24
        results = opened.rerank(QUERY, list(index.ids()))
        again = opened.rerank(QUERY, list(index.ids()))
    assert [result.margin for result in again] == [result.margin for result in results]
    hits = [stage.counts["prefix_hits"] for stage in again.stages if "score" in stage.name]
    assert hits == [len(index)]


def test_a_replaced_passage_is_read_anew(index):
    name = next(index.ids())
    before = {result.id: result.margin for result in index.rerank(QUERY, list(index.ids()))}
    index.add([{"id": name, "text": "Bread is made of flour, water, salt and time."}])
    after = {result.id: result.margin for result in index.rerank(QUERY, list(index.ids()))}
    assert after[name] != before[name]
    index.rerank("another query", list(index.ids()))
    assert {r.id: r.margin for r in index.rerank(QUERY, list(index.ids()))} == after
