"""Stored passages: requests that make sense, and answers."""

from kalm_reranker.server.calls import AddResult, PassageInput
from kalm_reranker.server.wire.passage_request import read_passages
from kalm_reranker.server.wire.passage_response import (
    PassageList,
    PassagesAdded,
    PassagesDeleted,
    StoredPassage,
    render_added,
    render_deleted,
    render_passage,
    render_passages,
)
from kalm_reranker.store.passage import Passage
from tests.server.wire.results import assert_fits


def test_several_passages_or_one():
    one = {"id": "a/b", "text": "A", "metadata": {"year": 2024, "tags": ["x", None]}}
    expected = PassageInput(id="a/b", text="A", metadata=one["metadata"])
    assert read_passages(one, max_passages=1) == (expected,)
    assert read_passages({**one, "passages": None}, max_passages=1) == (expected,)
    several = {"passages": [one, {"id": "c", "text": "", "metadata": None, "title": "x"}]}
    assert read_passages(several, max_passages=2) == (expected, PassageInput(id="c", text=""))


def test_answers():
    added = render_added(
        AddResult(
            added=1, replaced=2, metadata_updated=3, unchanged=4, truncated=5, notes=("note",)
        )
    )
    assert_fits(added, PassagesAdded)
    assert added["meta"] == {"warnings": ["note"]}
    assert (added["added"], added["replaced"], added["truncated"]) == (1, 2, 5)
    passage = render_passage(Passage("a", "A", {"year": 1}))
    assert_fits(passage, StoredPassage)
    assert passage == {"object": "passage", "id": "a", "text": "A", "metadata": {"year": 1}}
    assert_fits(render_passages([Passage("a", "A"), Passage("b", "")]), PassageList)
    assert_fits(render_deleted(2), PassagesDeleted)
