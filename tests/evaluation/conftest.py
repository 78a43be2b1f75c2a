"""Small judged collections in BEIR form, cut from the bundled one, and a loaded pico."""

import json

import pytest

NUM_CHARACTERS = 160  # of a passage: encoding takes most of the time of these tests
NUM_QUERIES, NUM_PASSAGES = 8, 60


def write_beir(folder, passages, queries, qrels):
    """Writes a collection as people keep it; returns its folder."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in passages.items())
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in queries.items())
    )
    lines = [
        f"{query_id}\t{passage_id}\t{relevance}\n"
        for query_id, judged in qrels.items()
        for passage_id, relevance in judged.items()
    ]
    (folder / "qrels" / "test.tsv").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def pico():
    """Float32 everywhere, so that numbers do not depend on the processor."""
    from kalm_reranker import KaLMReranker

    return KaLMReranker("pico", dtype="float32", engine="eager")


@pytest.fixture(scope="session")
def small_sets(tmp_path_factory):
    """Two folders in BEIR form: `first`, and `second` with ids of its own."""
    from kalm_reranker.evaluation.data.bundled import load_demo_collection

    whole = load_demo_collection()
    folder = tmp_path_factory.mktemp("sets")
    ids = list(whole.queries)
    for name, chosen in (("first", ids[:NUM_QUERIES]), ("second", ids[NUM_QUERIES:][:4])):
        judged = dict.fromkeys(key for query in chosen for key in whole.qrels[query])
        kept = dict.fromkeys([*judged, *whole.passages])
        passages = {
            f"{name}-{key}": whole.passages[key][:NUM_CHARACTERS]
            for key in list(kept)[:NUM_PASSAGES]
            if key in whole.passages
        }
        write_beir(
            folder / name,
            passages,
            {query: whole.queries[query] for query in chosen},
            {
                query: {f"{name}-{key}": value for key, value in whole.qrels[query].items()}
                for query in chosen
            },
        )
    return folder
