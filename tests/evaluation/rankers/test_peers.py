import pytest

from kalm_reranker.errors import CheckpointNotFoundError, DataFileError, InvalidOptionError
from kalm_reranker.evaluation.rankers.instructed import instructed_prompt
from kalm_reranker.evaluation.rankers.peers import PeerSpec, parse_peer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cross-encoder:org/name", {"kind": "cross-encoder", "target": "org/name"}),
        (
            "cross-encoder:small=/a b/c,batch_size=8, max_length = 512",
            {
                "kind": "cross-encoder",
                "target": "/a b/c",
                "label": "small",
                "batch_size": 8,
                "max_length": 512,
            },
        ),
        ("embedding:./a,b,batch_size=4", {"kind": "embedding", "target": "./a,b", "batch_size": 4}),
        (" late-interaction:L=x/y ", {"kind": "late-interaction", "target": "x/y", "label": "L"}),
        (
            "run:BM25 of theirs=C:/x=y.trec",
            {"kind": "run", "target": "C:/x=y.trec", "label": "BM25 of theirs"},
        ),
        ("run:a=b,batch_size=4", {"kind": "run", "target": "b,batch_size=4", "label": "a"}),
    ],
)
def test_what_a_command_line_says(text, expected):
    assert parse_peer(text) == PeerSpec(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross-encodr:x", r"no kind of reranker 'cross-encodr'.*Did you mean 'cross-encoder'"),
        ("colbert:x", "no kind of reranker 'colbert'"),
        ("", "no kind of reranker ''"),
        ("cross-encoder", "names no reranker"),
        ("cross-encoder:", "names no reranker"),
        ("cross-encoder:a=", "names no reranker"),
        ("cross-encoder:=a", "names no reranker"),
        ("run:file.trec", "names no reranker.*run:LABEL=FILE"),
        ("run:=file.trec", "names no reranker"),
        ("embedding:x,max_length=4", "max_length is a setting of cross-encoders"),
        ("cross-encoder:x,max_length=0", "max_length must be a positive integer; got '0'"),
        ("cross-encoder:x,batch_size=many", "batch_size must be a positive integer; got 'many'"),
        ("cross-encoder:x,batch_size=", "batch_size must be a positive integer; got ''"),
    ],
)
def test_what_it_cannot_mean_is_refused(text, message):
    with pytest.raises(InvalidOptionError, match=message):
        parse_peer(text)


def test_each_kind_is_opened(cross_encoder, embedding, late_interaction, tmp_path):
    (tmp_path / "run.trec").write_text("q Q0 a 1 1 t\n")
    texts = {
        f"cross-encoder:{cross_encoder},max_length=20": ("cross", "cross-encoder"),
        f"embedding:E={embedding},batch_size=4": ("E", "embedding"),
        f"late-interaction:{late_interaction}": ("late", "late interaction"),
        f"run:R={tmp_path / 'run.trec'}": ("R", "run"),
    }
    for text, expected in texts.items():
        ranker = parse_peer(text).open(batch_size=16)
        assert (ranker.info.name, ranker.info.kind) == expected
        if "batch_size" in ranker.info.settings:
            assert ranker.info.settings["batch_size"] == (4 if "batch_size" in text else 16)
        ranker.close()


def test_what_is_not_there_is_named_when_it_is_opened():
    for kind in ("cross-encoder", "embedding", "late-interaction"):
        with pytest.raises(CheckpointNotFoundError, match=f"There is no {kind} model 'nowhere'"):
            parse_peer(f"{kind}:nowhere").open()
    with pytest.raises(DataFileError, match="no file or folder nowhere for the run 'a'"):
        parse_peer("run:a=nowhere").open()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("Instruct: Find answers.\nQuery: ", "Instruct: New.\nQuery: "),
        ("Instruct: Find answers. \n Query: ", "Instruct: New. \n Query: "),
        ("Instruct: Given a query,\nfind.\nQuery:", "Instruct: New.\nQuery:"),
        ("<Instruct>: Find.\n<Query>: ", None),
        ("query: ", None),
        ("Instruct: ", None),
        ("", None),
        (None, None),
    ],
)
def test_only_prompts_that_hold_an_instruction_take_another(own, expected):
    assert instructed_prompt(own, "New.") == expected
    assert instructed_prompt(own, None) is None


@pytest.mark.parametrize("own", ["Find answers.", "", None])
def test_a_system_message_is_replaced_as_a_whole(own):
    assert instructed_prompt(own, "New.", reads_messages=True) == "New."
    assert instructed_prompt(own, None, reads_messages=True) is None
