import json

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.data.instructions import published_instructions, read_instructions

SCIFACT = {"task": "SciFact", "instruction": "Given a claim, find proof", "source": "a paper"}


def written(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_file_is_read(tmp_path):
    path = written(
        tmp_path / "mine.json",
        {
            "about": "for readers",
            "instructions": [
                SCIFACT,
                {"task": "EPBench", "instruction": "find events"},
                {"task": "EPBench", "subset": "Times", "instruction": "find times"},
                {"task": "EPBench", "subset": "sci__Times", "instruction": "find ship times"},
            ],
        },
    )
    found = read_instructions(path)
    assert len(found) == 4
    assert found.find("scifact").text == "Given a claim, find proof"
    assert found.find("scifact").source == "a paper"
    assert found.find("SciFact", "default").text == "Given a claim, find proof"
    assert found.find("EPBench", "sci__times").text == "find ship times"
    assert found.find("EPBench", "news__Times").text == "find times"
    assert found.find("EPBench", "news__Spaces").text == "find events"
    assert found.find("EPBench").source == "mine.json"
    assert found.find("FEVER") is None


def test_published_ones_are_kept_word_for_word():
    assert published_instructions("lmeb").find("LoCoMo", "temporal_reasoning").text == (
        "Given a temporally grounded query, retrieve relevant passages that answer the question"
    )
    date_span = published_instructions("lmeb").find("TMD", "date_span_time_qs").text
    assert "(DATE1–DATE2)" in date_span  # noqa: RUF001  (as published)
    prompts = pytest.importorskip("mteb.models.model_implementations.kalm_models")
    for task in ("ArguAna", "SCIDOCS", "TRECCOVID"):
        theirs = prompts.KaLM_Embedding_gemma_3_12b_task_prompts[f"{task}-query"]
        assert published_instructions("beir").find(task).text == theirs


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "line 1: expected JSON; .* at column 2"),
        ([], r'expected an object with a list "instructions"; got \[\]'),
        ({"instructions": {}}, 'expected an object with a list "instructions"'),
        ({"SciFact": "x"}, 'expected an object with a list "instructions"'),
        ({"instructions": [], "more": 1}, """expected only "instructions" .*; got 'more'"""),
        ({"instructions": ["x"]}, "instruction 1: expected an object; got 'x'"),
        ({"instructions": [SCIFACT, {"task": "x"}]}, 'instruction 2: expected a text in "instr'),
        ({"instructions": [{**SCIFACT, "task": 1}]}, 'expected a text in "task"; got 1'),
        ({"instructions": [{**SCIFACT, "instruction": " "}]}, "text in \"instruction\"; got ' '"),
        ({"instructions": [{**SCIFACT, "subset": ""}]}, "expected a text in \"subset\"; got ''"),
        ({"instructions": [{**SCIFACT, "prompt": ""}]}, "expected task, subset, .*got 'prompt'"),
        (
            {"instructions": [SCIFACT, {**SCIFACT, "task": "scifact"}]},
            "instruction 2: expected one instruction .*'scifact'  is also instruction 1",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path, document, message):
    path = written(tmp_path / "mine.json", document)
    with pytest.raises(DataFileError, match=rf"mine\.json.*{message}") as caught:
        read_instructions(path)
    assert caught.value.hint


def test_bytes_that_are_no_text_and_missing_files(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff")
    with pytest.raises(DataFileError, match=r"mine\.json: expected UTF-8 text; byte 0"):
        read_instructions(path)
    with pytest.raises(DataFileError, match=r"other\.json cannot be read"):
        read_instructions(tmp_path / "other.json")
