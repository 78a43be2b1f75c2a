"""`kalm compare`, in this process."""

import gzip
import json

import pytest

from kalm_reranker.evaluation.measures.metrics import MEASURES, measure_all
from kalm_reranker.evaluation.measures.roc_auc import roc_auc
from kalm_reranker.search.run_files import write_trec_run

# Nothing is judged relevant to q9.
QRELS = {
    **{f"q{number}": {"a": 1, "b": 2} for number in range(1, 6)},
    "q9": {"a": 0},
}
GOOD = {query_id: {"b": 3.0, "a": 2.0, "c": 1.0} for query_id in ["q1", "q2", "q3", "q4", "q5"]}
BAD = {
    "q1": {"c": 3.0, "a": 2.0, "b": 1.0},
    "q2": {"c": 3.0, "b": 2.0, "a": 1.0},
    "q3": {"b": 3.0, "a": 2.0, "c": 1.0},
    "q4": {"a": 1.0, "b": 1.0, "c": 1.0},
    "unjudged": {"a": 1.0},
}


@pytest.fixture
def files(tmp_path):
    """Paths of the bad run, the good one (gzipped), and of judgements in TREC's form."""
    write_trec_run(BAD, tmp_path / "bad.trec")
    write_trec_run(GOOD, tmp_path / "good.trec.gz")
    lines = [f"{q} 0 {p} {r}\n" for q, judged in QRELS.items() for p, r in judged.items()]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    return [str(tmp_path / name) for name in ("bad.trec", "good.trec.gz", "qrels.txt")]


def test_the_table(kalm, files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bad, good, qrels = files
    code, out, _ = kalm("compare", bad, good, "--qrels", qrels)
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["5"][:2] == ["judged", "queries:"]
    ndcg = measure_all(BAD, {key: QRELS[key] for key in GOOD})["nDCG@10"].mean
    assert rows["nDCG@10"][:3] == [f"{ndcg:.4f}", "1.0000", f"{1 - ndcg:+.4f}"]
    assert rows["nDCG@10"][-3:] == ["4", "1", "0"]
    assert rows["MRR@10"][:2] == ["0.6000", "1.0000"]
    assert rows["ROC-AUC"][-5:] == ["-"] * 5
    assert list(rows)[-1] == "Test:"
    assert max(map(len, out.splitlines()[3:])) <= 80


def test_a_narrow_terminal_cuts_no_number(kalm, files, monkeypatch):
    bad, good, qrels = files
    wide, narrow = [], []
    for columns, lines in (("100", wide), ("50", narrow)):
        monkeypatch.setenv("COLUMNS", columns)
        out = kalm("compare", bad, good, "--qrels", qrels)[1]
        lines += [line.split() for line in out.splitlines() if line.startswith(("nDCG", "ROC"))]
    assert narrow == wide


def test_what_was_left_out_is_said(kalm, files):
    bad, good, qrels = files
    err = kalm("compare", bad, good, "--qrels", qrels)[2].splitlines()
    assert err == [
        "note: 1 query has judgements, but none above 0, and is left out.",
        "note: A has no results for 1 of 5 judged queries, which count as 0 (first: 'q5').",
        "note: A has results for 1 query without a relevant judgement, which is not looked at "
        "(first: 'unjudged').",
        "note: The runs rank different candidates on 1 of 5 queries, and ROC-AUC is over each "
        "run's own.",
    ]


def test_json_has_full_numbers(kalm, files):
    bad, good, qrels = files
    code, out, err = kalm("compare", bad, good, "--qrels", qrels, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [one["measure"] for one in found["measures"]] == list(MEASURES)
    assert (found["baseline"], found["run"], found["num_queries"]) == (bad, good, 5)
    assert len(found["notes"]) == 4
    kept = {key: QRELS[key] for key in GOOD}
    for one, measured in zip(found["measures"], measure_all(BAD, kept).values(), strict=False):
        assert one["baseline"] == measured.mean
        assert one["comparison"]["test"] in ("paired t-test", "all differences are equal")
    auc = found["measures"][-1]
    assert auc["baseline"] == roc_auc(BAD, kept).pooled
    assert auc["value"] == 1
    assert auc["difference"] == auc["value"] - auc["baseline"]
    assert auc["comparison"] is None


def test_measures_by_either_name_and_the_bootstrap(kalm, files):
    bad, good, qrels = files
    arguments = ("compare", bad, good, "-q", qrels, "--json", "--test", "bootstrap")
    found = json.loads(
        kalm(*arguments, "--measure", "map", "--measure", "AP", "--measure", "nDCG@10")[1]
    )
    assert [one["measure"] for one in found["measures"]] == ["AP", "nDCG@10"]
    assert found["measures"][0]["comparison"]["test"] == (
        "paired bootstrap, 10,000 resamples, seed 0"
    )
    again = json.loads(kalm(*arguments, "--measure", "AP", "--seed", "1")[1])
    assert (
        again["measures"][0]["comparison"]["p_value"]
        != (found["measures"][0]["comparison"]["p_value"])
    )


def test_turning_the_runs_around_turns_the_signs_around(kalm, files):
    bad, good, qrels = files
    there = json.loads(kalm("compare", bad, good, "-q", qrels, "--json")[1])["measures"][0]
    back = json.loads(kalm("compare", good, bad, "-q", qrels, "--json")[1])["measures"][0]
    assert back["difference"] == -there["difference"]
    assert back["comparison"]["losses"] == there["comparison"]["wins"]


def test_a_beir_directory(kalm, files, tmp_path):
    bad, good, _ = files
    (tmp_path / "qrels").mkdir()
    lines = [f"{q}\t{p}\t{r}\n" for q, judged in QRELS.items() for p, r in judged.items()]
    with gzip.open(tmp_path / "qrels" / "dev.tsv.gz", "wt") as file:
        file.writelines(["query-id\tcorpus-id\tscore\n", *lines])
    arguments = ("compare", bad, good, "--qrels", str(tmp_path), "--split", "dev", "--json")
    found = json.loads(kalm(*arguments)[1])
    assert found["num_queries"] == 5


def test_one_query_is_measured_and_not_tested(kalm, files, tmp_path):
    bad, good, _ = files
    (tmp_path / "one.txt").write_text("q1 0 a 1\n")
    code, out, err = kalm("compare", bad, good, "--qrels", str(tmp_path / "one.txt"))
    assert code == 0
    assert "nothing is tested" in err
    ndcg = next(line for line in out.splitlines() if line.startswith("nDCG@10"))
    assert ndcg.split()[-5:] == ["-"] * 5


def test_roc_auc_without_a_relevant_candidate_is_absent_with_its_reason(kalm, tmp_path):
    write_trec_run({"q": {"x": 1.0}}, tmp_path / "a.trec")
    (tmp_path / "qrels.txt").write_text("q 0 a 1\n")
    run = str(tmp_path / "a.trec")
    code, out, err = kalm("compare", run, run, "-q", str(tmp_path / "qrels.txt"))
    assert code == 0
    assert next(line for line in out.splitlines() if "ROC" in line).split()[1:] == ["-"] * 8
    assert "note: A has no ROC-AUC: no candidate is relevant." in err.splitlines()


def test_runs_of_other_queries_are_refused(kalm, files, tmp_path):
    bad, _, qrels = files
    write_trec_run({"q5": {"a": 1.0}}, tmp_path / "rest.trec")
    write_trec_run({"Q1": {"a": 1.0}}, tmp_path / "other.trec")
    code, out, err = kalm("compare", bad, str(tmp_path / "rest.trec"), "-q", qrels)
    assert (code, out) == (1, "")
    assert "error: A and B have no judged query in common (first ids: 'q1' and 'q5')." in err
    code, out, err = kalm("compare", bad, str(tmp_path / "other.trec"), "-q", qrels)
    assert (code, out) == (1, "")
    assert "B has results for 1 query, but for none of the 5 judged ones" in err
    assert "(first ids: 'Q1' and 'q1')" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--measure", "P@5"), "--measure must be one of nDCG@10, MRR@10, MAP, R@100, ROC-AUC"),
        (("--test", "sign"), "--test must be one of t-test, bootstrap; got 'sign'"),
    ],
)
def test_unknown_settings_are_refused(kalm, files, arguments, message):
    bad, good, qrels = files
    code, _, err = kalm("compare", bad, good, "-q", qrels, *arguments)
    assert code == 1
    assert message in err


def test_damaged_files_are_named_with_their_line(kalm, files, tmp_path):
    bad, good, qrels = files
    (tmp_path / "odd.trec").write_text("q1 Q0 a 1 3.5 tag\nq1 Q0 b two\n")
    code, _, err = kalm("compare", str(tmp_path / "odd.trec"), good, "-q", qrels)
    assert code == 1
    assert "odd.trec, line 2: expected six columns" in err
    assert kalm("compare", bad, str(tmp_path / "no.trec"), "-q", qrels)[0] == 1


def test_an_empty_run_is_refused(kalm, files, tmp_path):
    bad, _, qrels = files
    (tmp_path / "empty.trec").write_text("")
    code, out, err = kalm("compare", bad, str(tmp_path / "empty.trec"), "-q", qrels)
    assert (code, out) == (1, "")
    assert "error: B has results for 0 queries, but for none of the 5 judged ones." in err
