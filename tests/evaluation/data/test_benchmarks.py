import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.data.benchmarks import (
    BENCHMARKS,
    LMEB_FAMILIES,
    PARTS,
    benchmark_parts,
    known_parts,
    of_languages,
    of_subset,
)
from kalm_reranker.evaluation.data.from_mteb import mteb_subsets
from kalm_reranker.evaluation.data.instructions import published_instructions


def test_the_sizes_of_the_paper():
    assert len(benchmark_parts("beir")) == 13
    assert len(benchmark_parts("miracl")) == 18
    lmeb = benchmark_parts("lmeb")
    assert len({part.task for part in lmeb}) == 22
    assert len(lmeb) == 193
    assert [len({p.task for p in lmeb if p.family == one}) for one in LMEB_FAMILIES] == [2, 6, 8, 6]
    assert len({part.name for part in PARTS}) == len(PARTS) == 13 + 18 + 193


def test_names_splits_and_subsets_are_those_of_mteb():
    for task in dict.fromkeys(part.task for part in PARTS):
        ours = known_parts(task)
        theirs = mteb_subsets(task)
        assert {part.subset for part in ours} == {one.subset for one in theirs}, task
        for one in theirs:
            assert {part.split for part in ours} == set(one.splits), task
            assert {part.excludes_own_id for part in ours} == {one.excludes_own_id}, task
            assert {part.is_only for part in ours} == {one.is_only}, task


def test_the_families_of_lmeb_are_those_of_mteb():
    import mteb

    grouping = mteb.get_benchmark("LMEB").aggregations[1]
    theirs = {
        group.label.lower(): {t.metadata.name for t in group.tasks} for group in grouping.groups
    }
    ours = {one: {part.task for part in PARTS if part.family == one} for one in LMEB_FAMILIES}
    assert ours == theirs


def test_beir_is_mtebs_but_for_ms_marco_and_cqadupstack():
    import mteb

    theirs = {task.metadata.name for task in mteb.get_benchmark("BEIR").tasks}
    ours = {part.task for part in benchmark_parts("beir")}
    assert theirs - ours == {"MSMARCO", "CQADupstackRetrieval"}
    assert ours <= theirs


def test_sizes_are_those_mteb_counted():
    import mteb

    for part in PARTS:
        if part.num_passages is None:
            continue
        counted = mteb.get_task(part.task).metadata.descriptive_stats[part.split]
        if part.subset != "default":
            counted = counted["hf_subset_descriptive_stats"][part.subset]
        # Some tasks have no count of their passages alone, but of all texts.
        passages = counted.get("num_documents", counted["num_samples"] - part.num_queries)
        assert passages == part.num_passages, part.name
        assert counted.get("num_queries", part.num_queries) == part.num_queries, part.name


@pytest.mark.parametrize("benchmark", ["beir", "miracl", "lmeb"])
def test_every_part_has_an_instruction_with_its_source(benchmark):
    instructions = published_instructions(benchmark)
    used = set()
    for part in benchmark_parts(benchmark):
        found = instructions.find(part.task, part.subset)
        assert found is not None, part.name
        assert found.source.startswith("github.com/"), part.name
        used.add((found.task, found.subset))
    assert len(used) == len(instructions)  # no entry is misspelt


def test_parts_by_task_subset_and_alias():
    names = [part.name for part in benchmark_parts("lmeb", tasks=["mldr", "LongMemEval"])]
    assert names == [
        "LongMemEval/knowledge_update",
        "LongMemEval/multi_session",
        "LongMemEval/single_session_assistant",
        "LongMemEval/single_session_preference",
        "LongMemEval/single_session_user",
        "LongMemEval/temporal_reasoning",
        "LMEBMLDR",
    ]
    one = benchmark_parts("lmeb-episodic", tasks=["epbench/sci_fi_claude_long/Times"])
    assert [part.name for part in one] == ["EPBench/sci_fi_claude_long__Times"]
    assert one[0].group == ("lmeb", "episodic", "EPBench")


def test_parts_by_language():
    assert [p.subset for p in benchmark_parts("miracl", languages=["zh", "AR"])] == ["ar", "zh"]
    assert len(benchmark_parts("beir", languages=["en"])) == 13


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda: benchmark_parts("lemb"), r"benchmark must be one of beir, .*got 'lemb'", "'lmeb'"),
        (
            lambda: benchmark_parts("beir", tasks=["Scifat"]),
            "beir has no task 'Scifat'",
            "'SciFact'",
        ),
        (lambda: benchmark_parts("beir", tasks=["Banking"]), "'Banking'", "mteb:Banking"),
        (lambda: benchmark_parts("lmeb-semantic", tasks=["LoCoMo"]), "no task", "of lmeb-dialogue"),
        (lambda: benchmark_parts("lmeb", tasks=["NQ"]), "no task 'NQ'", "NQ is of beir."),
        (lambda: benchmark_parts("miracl", languages=["xx"]), "language must be ar, .*'xx'", "MIR"),
        (lambda: of_subset(known_parts("ReMe"), "appworld_qwen3_8b/x"), "subset of ReMe", "did"),
        (lambda: of_languages(known_parts("NQ"), ["de"]), "language must be en here", "English"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(call, message, hint):
    with pytest.raises(InvalidOptionError, match=message) as caught:
        call()
    assert hint.casefold() in caught.value.hint.casefold()


def test_every_benchmark_has_parts():
    assert all(benchmark_parts(name) for name in BENCHMARKS)
