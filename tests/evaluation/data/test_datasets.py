import json
import subprocess
import sys

import pytest

from kalm_reranker.errors import DataFileError, InvalidOptionError
from kalm_reranker.evaluation.data.datasets import resolve_datasets


def beir(path, *, split="test", text="a text"):
    (path / "qrels").mkdir(parents=True)
    (path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": text}) + "\n")
    (path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "a query"}) + "\n")
    (path / "qrels" / f"{split}.tsv").write_text("q\td\t1\n")
    return path


def jsonl(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_directory(tmp_path):
    (dataset,) = resolve_datasets([str(beir(tmp_path / "toy"))])
    assert (dataset.name, dataset.source) == ("toy", str(tmp_path / "toy"))
    assert (dataset.split, dataset.instruction, dataset.group) == ("test", None, ())
    assert dataset.load().passages == {"d": "a text"}


def test_a_folder_of_directories_by_name(tmp_path):
    for name in ("b", "a", "c"):
        beir(tmp_path / name, text=name)
    (tmp_path / "other").mkdir()
    found = resolve_datasets([str(tmp_path)])
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.load().passages["d"] for one in found] == ["a", "b", "c"]


def test_another_split(tmp_path):
    (dataset,) = resolve_datasets([str(beir(tmp_path / "toy", split="dev"))], split="dev")
    assert dataset.split == "dev"
    assert dataset.load().qrels == {"q": {"d": 1}}


def test_nothing_is_read_before_it_is_loaded(tmp_path):
    folder = beir(tmp_path / "toy")
    (folder / "queries.jsonl").unlink()
    (dataset,) = resolve_datasets([str(folder)])
    with pytest.raises(DataFileError, match=r"queries\.jsonl .*does not exist"):
        dataset.load()


def test_one_name_twice(tmp_path):
    beir(tmp_path / "x" / "toy")
    beir(tmp_path / "y" / "toy")
    with pytest.raises(InvalidOptionError, match=r"x/toy and .*y/toy are both called 'toy'"):
        resolve_datasets([str(tmp_path / "x"), str(tmp_path / "y")])


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("{}/tou", "there is no dataset '.*tou'", "'toy'"),
        ("{}/scifact", "there is no dataset", "'mteb:SciFact'"),
        ("{}/empty", "neither it nor a folder in it has a corpus.jsonl", "BEIR"),
        ("mteb:MIRACLRetrieval/xx", "subset of MIRACLRetrieval must be ar, bn", None),
        ("mteb:ReMe/appworld_qwen3_8b/general", "subset of ReMe", "appworld_qwen3_8b__generalized"),
    ],
)
def test_what_does_not_exist(tmp_path, spec, message, hint):
    beir(tmp_path / "toy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidOptionError, match=message) as caught:
        resolve_datasets([spec.format(tmp_path)])
    assert hint is None or hint in caught.value.hint


def test_a_task_by_subset_and_language():
    (dataset,) = resolve_datasets(["mteb:miraclretrieval/DE"])
    assert (dataset.name, dataset.source) == ("MIRACLRetrieval/de", "mteb:MIRACLRetrieval/de")
    assert dataset.split == "dev"
    assert dataset.instruction.startswith("Given a question, retrieve Wikipedia")
    assert dataset.instruction_source.startswith("github.com/embeddings-benchmark/mteb")
    two = resolve_datasets(["mteb:MIRACLRetrieval"], languages=["sw", "de"])
    assert [one.name for one in two] == ["MIRACLRetrieval/de", "MIRACLRetrieval/sw"]


def test_a_benchmark_follows_the_specs(tmp_path):
    found = resolve_datasets([str(beir(tmp_path / "toy"))], benchmark="BEIR", tasks=["nq"])
    assert [one.name for one in found] == ["toy", "NQ"]
    assert found[1].group == ("beir", "NQ")


def test_naming_a_benchmark_costs_no_mteb():
    code = (
        "import sys; from kalm_reranker.evaluation.data.datasets import resolve_datasets;"
        "[resolve_datasets(benchmark=one) for one in ('beir', 'miracl', 'lmeb')];"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"mteb", "datasets", "ir_datasets", "torch"}


def test_a_local_copy_is_read_and_said(tmp_path):
    copy = beir(tmp_path / "SCIFACT")
    (dataset,) = resolve_datasets(benchmark="beir", tasks=["SciFact"], data=tmp_path)
    collection = dataset.load()
    assert collection.name == "SciFact"
    assert collection.notes == (
        f"Read from the local copy {copy}, not downloaded.",
        "The copy has 1 passages and 1 judged queries, the published collection 5,183 and 300: its "
        "numbers are not comparable with published ones.",
    )


@pytest.mark.parametrize("folder", ["sw", "miracl/sw", "MIRACLRetrieval/SW"])
def test_a_local_copy_of_a_language(tmp_path, folder):
    beir(tmp_path / folder, split="dev")
    (dataset,) = resolve_datasets(benchmark="miracl", languages=["sw"], data=tmp_path)
    assert dataset.load().queries == {"q": "a query"}


def test_local_copies_that_exclude_own_ids(tmp_path):
    beir(tmp_path / "arguana")
    (dataset,) = resolve_datasets(["mteb:ArguAna"], data=tmp_path)
    assert dataset.load().excludes_own_id


def test_a_forum_of_cqadupstack_in_beirs_folders(tmp_path):
    pytest.importorskip("mteb")
    beir(tmp_path / "cqadupstack" / "android")
    (dataset,) = resolve_datasets(["mteb:CQADupstackAndroidRetrieval"], data=tmp_path)
    assert dataset.load().passages == {"d": "a text"}


def lmeb_task(path, *, candidates=True):
    """A dialogue task as in LMEB's download: passages and candidates above the subsets."""
    jsonl(path / "corpus.jsonl", *({"id": f"conv_{n}_t1", "text": f"turn {n}"} for n in (1, 2)))
    if candidates:
        scenes = ({"scene_id": f"conv_{n}", "candidate_doc_ids": [f"conv_{n}_t1"]} for n in (1, 2))
        jsonl(path / "candidates.jsonl", *scenes)
    jsonl(path / "multi_hop" / "queries.jsonl", {"id": "conv_2_q1", "text": "which turn"})
    (path / "multi_hop" / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\nconv_2_q1\tconv_2_t1\t1\n"
    )


def test_lmebs_own_download_is_read(tmp_path):
    lmeb_task(tmp_path / "Dialogue" / "LoCoMo")
    (dataset,) = resolve_datasets(benchmark="lmeb", tasks=["LoCoMo/multi_hop"], data=tmp_path)
    assert dataset.group == ("lmeb", "dialogue", "LoCoMo")
    assert dataset.instruction.startswith("Given a multi-hop question")
    collection = dataset.load()
    assert collection.passages == {"conv_1_t1": "turn 1", "conv_2_t1": "turn 2"}
    assert collection.pools == {"conv_2_q1": ("conv_2_t1",)}
    assert collection.notes[0].startswith("Read from the local copy")


def test_a_task_of_lmeb_without_candidates_has_no_pools(tmp_path):
    lmeb_task(tmp_path / "dialogue" / "locomo", candidates=False)
    (dataset,) = resolve_datasets(["mteb:LoCoMo/multi_hop"], data=tmp_path)
    assert dataset.load().pools is None


def test_lmebs_scenarios_are_folders_in_folders(tmp_path):
    folder = tmp_path / "Episodic" / "EPBench" / "sci_fi_claude_long"
    jsonl(folder / "corpus.jsonl", {"id": "e1", "text": None}, {"id": "e2", "text": "an event"})
    jsonl(folder / "Times" / "queries.jsonl", {"id": 1, "text": "when"})
    (folder / "Times" / "qrels.tsv").write_text("1\te2\t1\n")
    (dataset,) = resolve_datasets(["mteb:EPBench/sci_fi_claude_long/Times"], data=tmp_path)
    assert dataset.name == "EPBench/sci_fi_claude_long__Times"
    assert dataset.load().passages == {"e1": "", "e2": "an event"}


def test_broken_candidates_are_named(tmp_path):
    lmeb_task(tmp_path / "LoCoMo")
    jsonl(tmp_path / "LoCoMo" / "candidates.jsonl", {"scene_id": "conv_2"})
    (dataset,) = resolve_datasets(["mteb:LoCoMo/multi_hop"], data=tmp_path)
    with pytest.raises(DataFileError, match=r'candidates\.jsonl, line 1: expected "scene_id" and'):
        dataset.load()


def test_a_folder_without_any_copy_is_refused(tmp_path):
    with pytest.raises(InvalidOptionError, match="holds no part of miracl") as caught:
        resolve_datasets(benchmark="miracl", data=tmp_path)
    assert "FOLDER/miracl/ar holds corpus.jsonl" in caught.value.hint
    with pytest.raises(InvalidOptionError, match="data must be a folder; there is no folder"):
        resolve_datasets(benchmark="miracl", data=tmp_path / "nowhere")


def test_an_instruction_for_all(tmp_path):
    found = resolve_datasets(
        [str(beir(tmp_path / "toy")), "mteb:NQ"], instruction="Given a wish, grant it"
    )
    assert {one.instruction for one in found} == {"Given a wish, grant it"}
    assert {one.instruction_source for one in found} == {"as given"}


def test_a_file_of_instructions_comes_before_published_ones(tmp_path):
    path = tmp_path / "mine.json"
    mine = [
        {"task": "toy", "instruction": "for toy"},
        {"task": "MIRACLRetrieval", "subset": "sw", "instruction": "for Swahili"},
    ]
    path.write_text(json.dumps({"instructions": mine}))
    found = resolve_datasets(
        [str(beir(tmp_path / "toy")), "mteb:MIRACLRetrieval/sw", "mteb:MIRACLRetrieval/yo"],
        instructions=path,
    )
    assert [one.instruction for one in found][:2] == ["for toy", "for Swahili"]
    assert found[2].instruction.startswith("Given a question")
    assert [one.instruction_source for one in found][:2] == ["mine.json", "mine.json"]
    with pytest.raises(InvalidOptionError, match=r"for one of the datasets \(NQ.*none of its 2 is"):
        resolve_datasets(["mteb:NQ"], instructions=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "datasets must be at least one; got none"),
        ({"specs": ["x"], "tasks": ["NQ"]}, "tasks choose among those of a benchmark"),
        ({"specs": ["x"], "languages": ["de"]}, "languages choose among those of a benchmark or"),
        ({"specs": ["x"], "instruction": "a", "instructions": "b"}, "must not be given together"),
        ({"specs": ["x"], "instruction": " "}, "instruction must be a text"),
        ({"benchmark": "lemb"}, "benchmark must be one of"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InvalidOptionError, match=message):
        resolve_datasets(**options)


def test_the_bundled_collection(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (found,) = resolve_datasets(["demo"])
    assert (found.name, len(found.load().queries)) == ("scifact-demo", 43)
    with pytest.raises(InvalidOptionError, match="'dev'"):
        resolve_datasets(["demo"], split="dev")
    beir(tmp_path / "demo")
    (own,) = resolve_datasets(["demo"])
    assert own.name == "demo"
