"""What a ranker makes of a task."""


def scored(ranker, task):
    """All scores, after `prepare`, query by query as an evaluation asks for them."""
    ranker.prepare(task)
    return {
        query_id: ranker.score(query_id, task.queries[query_id], list(found))
        for query_id, found in task.candidates.items()
    }


def assert_same_scores(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for query_id, scores in expected.items():
        assert found[query_id].keys() == scores.keys()
        for passage_id, score in scores.items():
            assert abs(found[query_id][passage_id] - score) <= tolerance, (query_id, passage_id)
