"""`kalm eval` and `kalm analyze`: options, output, files, and what goes wrong."""

import csv
import json
import re

import pytest
from typer.testing import CliRunner

from kalm_reranker.cli.evaluation_presets import ANALYSES, CASCADE, EVAL, PAPER_RATIOS
from kalm_reranker.cli.main import app
from kalm_reranker.errors import DatasetUnavailableError
from kalm_reranker.evaluation.data import datasets as datasets_module
from tests.evaluation.conftest import write_beir

pytest.importorskip("bm25s")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("scipy")

PASSAGES = {
    "p1": "Gravity attracts bodies, said the man with the apple.",
    "p2": "Beijing is the capital of China.",
    "p3": "A red fox jumps over the lazy dog, and over gravity.",
    "p4": "The capital of France attracts the fox.",
    "p5": "China and France are far away from the apple.",
}
QUERIES = {"q1": "what attracts bodies", "q2": "capital of China", "q3": "the fox and the apple"}
QRELS = {"q1": {"p1": 1}, "q2": {"p2": 2, "p5": 0}, "q3": {"p3": 1, "p1": 1}}
COMMANDS = (EVAL.name, *(f"analyze {preset.name}" for preset in ANALYSES))
FAST = ("--dtype", "float32", "--engine", "eager", "--top-k", "4")


@pytest.fixture
def data(tmp_path):
    return write_beir(tmp_path / "data" / "toy", PASSAGES, QUERIES, QRELS)


@pytest.fixture
def evaluated(kalm, data, tmp_path):
    """Runs a command on the data with output into a folder; returns what came out."""

    def run(*arguments, command="eval", code=0):
        options = [*arguments, "--output", str(tmp_path / "out")]
        found, out, err = kalm(*command.split(), str(data), *options)
        assert found == code, err
        assert "Traceback" not in err
        return out, err

    return run


def results(tmp_path):
    return json.loads((tmp_path / "out" / "results.json").read_text())


def test_bm25_alone_needs_no_model(evaluated, tmp_path):
    out, err = evaluated("--model", "none")
    assert "toy" in out
    assert "BM25" in out
    assert "loading" not in err
    assert err.splitlines()[-1] == f"written: {tmp_path / 'out' / 'report.html'}"
    assert [one["name"] for one in results(tmp_path)["rankers"]] == ["BM25"]
    assert "command" in results(tmp_path)["settings"]


def test_json_is_everything_and_nothing_else(evaluated, tmp_path):
    out, _ = evaluated("--model", "none", "--json")
    assert json.loads(out) == results(tmp_path)


def test_a_run_of_others_is_a_column(evaluated, tmp_path):
    run = tmp_path / "theirs.trec"
    lines = (f"{q} Q0 {p} 1 {-n} x\n" for q in QUERIES for n, p in enumerate(sorted(PASSAGES)))
    run.write_text("".join(lines))
    out, _ = evaluated(
        *("--model", "none", "--peer", f"run:theirs={run}", "--baseline", "theirs", "--json"),
        *("--significance", "bootstrap"),
    )
    document = json.loads(out)
    assert [one["name"] for one in document["rankers"]] == ["BM25", "theirs"]
    (comparison,) = document["comparisons"]
    assert (comparison["ranker"], comparison["baseline"]) == ("BM25", "theirs")
    assert "bootstrap" in comparison["test"]


def test_options_become_settings(evaluated, tmp_path):
    evaluated(
        *("--ratios", "8,32", "--codecs", "float32, int8", "--cascade", "32:8:2", "--no-blend"),
        *("--first-stage", "bm25:k1=1.2,b=0.75", "--max-queries", "2", "--timed-queries", "1"),
        *("--histograms", "--instruction", "Find it.", "--states", str(tmp_path / "states")),
        *("--baseline", "pico r=8", *FAST),
    )
    document = results(tmp_path)
    expected = {
        "models": ["pico"],
        "ratios": [8, 32],
        "codecs": ["float32", "int8"],
        "cascades": [{"coarse_ratio": 32, "fine_ratio": 8, "fine_count": 2}],
        "blend": False,
        "first_stage": "bm25:k1=1.2,b=0.75,language=auto",
        "max_queries": 2,
        "timed_queries": 1,
        "distributions": True,
        "top_k": 4,
        "baseline": "pico r=8",
        "model_options": {"dtype": "float32", "engine": "eager"},
    }
    assert {name: document["settings"][name] for name in expected} == expected
    names = ["pico r=8", "pico r=32", "pico r=8 int8", "pico r=32 int8"]
    assert [one["name"] for one in document["rankers"]] == [
        *("BM25", *names, "pico 32:8:2", "pico 32:8:2 int8")
    ]
    (dataset,) = document["datasets"]
    assert (dataset["instruction"], dataset["num_queries"]) == ("Find it.", 2)
    assert (tmp_path / "states" / "toy").is_dir()


PRESETS = {
    "ratios": ("--ratios", "2,64"),
    "scores": ("--ratios", "8"),
    "cascade": ("--cascade", "16:4:2"),
    "cost": ("--ratios", "4,16"),
}


@pytest.mark.parametrize("preset", ANALYSES, ids=lambda preset: preset.name)
def test_each_analysis_brings_what_it_is_for(evaluated, tmp_path, preset):
    fewer = ("--timed-queries", "1") if preset.timed_queries else ()
    chosen = ("--ratios", "16") if preset.name == "cascade" else ()
    evaluated(*PRESETS[preset.name], *chosen, *fewer, *FAST, command=f"analyze {preset.name}")
    document = results(tmp_path)
    kinds = {one["kind"] for one in document["rankers"]}
    measurements = [one for one in document["measurements"] if one["ranker"] != "BM25"]
    assert "blend" not in kinds
    assert ("cascade" in kinds) == (preset.name == "cascade")
    assert all((one["distribution"] is not None) == (preset.name == "scores")
               for one in measurements)  # fmt: skip
    assert all((one["ms_per_query"] is None) == (preset.name == "scores") for one in measurements)
    assert bool(document["costs"]) == (preset.name == "cost")
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "report.png", "results.json", "results.csv", "table.md"} <= there
    with (tmp_path / "out" / "costs.csv").open() as file:
        ways = {row["way"] for row in csv.DictReader(file)}
    assert ways == ({"stored", "prefix cached", "encoded"} if preset.costs else set())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)  # nothing from elsewhere


def test_the_analyses_are_those_of_the_paper():
    assert PAPER_RATIOS == (1, 2, 4, 8, 16, 32, 64, 128)
    assert len({(c.coarse_ratio, c.fine_ratio, c.fine_count) for c in CASCADE.cascades}) == 9
    for preset in (EVAL, *ANALYSES):
        prefix = "kalm eval " if preset is EVAL else f"kalm analyze {preset.name} "
        assert preset.example.startswith(prefix)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ratios", "0"), "--ratios must be positive whole numbers"),
        (("--ratios", "2,,4"), "--ratios must be positive whole numbers"),
        (("--ratios", "2,2"), "ratios must be different from each other; 2 is not"),
        (("--codecs", "int3"), "codec must be one of"),
        (("--codecs", ""), "codec must be one of"),
        (("--cascade", "32"), "--cascade must be COARSE:COUNT"),
        (("--cascade", "32:0:20"), "a cascade's fine ratio must be a positive integer; got 0"),
        (("--cascade", "32:2:0"), "a cascade's count must be a positive integer; got 0"),
        (("--cascade", "none", "--cascade", "32:2:5"), "--cascade none stands alone"),
        (("--first-stage", "bm52"), "There is no first stage 'bm52'"),
        (("--first-stage", "bm25:b=2"), "b must be between 0 and 1; got 2.0"),
        (("--peer", "cross:x"), "There is no kind of reranker 'cross'"),
        (("--significance", "guess"), "must be 't-test' or 'bootstrap'"),
        (("--model", "none", "--costs"), "ratios, codecs, cascades and costs are those of KaLM"),
        (("--model", "none", "--baseline", "pico"), "baseline must be one of 'BM25'; got 'pico'"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--model", "none", "--language", "de"), "languages choose among"),
        (("--model", "none", "--split", "dev"), "qrels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_values_are_errors_of_one_line(evaluated, tmp_path, arguments, said):
    out, err = evaluated(*arguments, code=1)
    assert out == ""
    assert said in err
    assert "\nerror: " in f"\n{err}"
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("arguments", [("--top-k", "0"), ("--max-queries", "x"), ("--nope",)])
def test_words_that_are_no_options_are_usage_errors(evaluated, arguments):
    _, err = evaluated(*arguments, code=2)
    assert "Usage: kalm eval" in err


def test_no_dataset_and_a_wrong_one_are_errors(kalm, tmp_path):
    code, out, err = kalm("eval", "--output", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert "datasets must be at least one" in err
    code, out, err = kalm("eval", str(tmp_path / "gone"), "--output", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert "there is no dataset" in err


@pytest.fixture
def offline(monkeypatch):
    """Loads of mteb fail as they do without a network, at once."""

    def load(*arguments, name, **options):
        raise DatasetUnavailableError(f"{name} could not be downloaded.", hint="Use --data.")

    monkeypatch.setattr(datasets_module, "load_mteb", load)


def test_what_is_missing_is_named_and_the_rest_reported(evaluated, offline, tmp_path):
    out, err = evaluated("mteb:SciFact", "--model", "none", code=1)
    assert "toy" in out
    assert "[2/2] SciFact: left out: SciFact could not be downloaded." in err
    assert [one["name"] for one in results(tmp_path)["datasets"]] == ["toy"]
    assert "SciFact is missing" in " ".join(results(tmp_path)["notes"])


def test_a_benchmark_of_which_nothing_can_be_had_is_an_error(kalm, offline, tmp_path):
    code, out, err = kalm(
        *("eval", "--benchmark", "beir", "--model", "none", "--output", str(tmp_path / "out"))
    )
    assert (code, out) == (1, "")
    assert "error:" in err
    assert not (tmp_path / "out" / "results.json").exists()


def test_an_error_in_a_later_dataset_keeps_what_was_found(kalm, data, tmp_path):
    broken = write_beir(tmp_path / "broken", PASSAGES, QUERIES, QRELS)
    (broken / "corpus.jsonl").write_text("{\n")
    arguments = ("--model", "none", "--output", str(tmp_path / "out"))
    code, out, err = kalm("eval", str(data), str(broken), *arguments)
    assert (code, out) == (1, "")
    assert "corpus.jsonl, line 1" in err
    assert "stopped after 1 of 2 datasets; the same command goes on from there" in err
    assert [one["name"] for one in results(tmp_path)["datasets"]] == ["toy"]
    write_beir(tmp_path / "again" / "broken", PASSAGES, QUERIES, QRELS)
    code, _, err = kalm("eval", str(data), str(tmp_path / "again" / "broken"), *arguments)
    assert code == 0, err
    assert len(results(tmp_path)["datasets"]) == 2


def test_what_is_odd_about_the_data_is_said_where_the_table_is(kalm, data, tmp_path):
    qrels = data / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text() + "q1\tnowhere\t1\nq9\tp1\t1\n")
    write_beir(tmp_path / "data" / "other", PASSAGES, QUERIES, QRELS)
    arguments = ("--model", "none", "--output", str(tmp_path / "out"))
    code, out, err = kalm("eval", str(data), *arguments)
    assert code == 0, err
    assert "note: 1 judgement names a passage that is not in the corpus" in err
    assert "'nowhere' on line" in err
    assert "note: 1 judgement names a query that does not exist" in err
    assert "note:" not in out
    code, _, err = kalm("eval", str(tmp_path / "data"), *arguments)
    assert code == 0, err
    assert "note: toy: 1 judgement names a passage" in err
    assert "note: other" not in err


def test_many_notes_are_counted(kalm, tmp_path):
    for number in range(10):
        folder = write_beir(tmp_path / "data" / f"part-{number}", PASSAGES, QUERIES, QRELS)
        (folder / "qrels" / "test.tsv").write_text("q1\tp1\t1\nq2\tp2\t1\nq2\tnowhere\t1\n")
    arguments = ("--model", "none", "--output", str(tmp_path / "out"))
    code, _, err = kalm("eval", str(tmp_path / "data"), *arguments)
    assert code == 0, err
    told = [line for line in err.splitlines() if line.startswith("note: ")]
    documents = results(tmp_path)["datasets"]
    assert len(told) == 9
    assert told[-1] == f"note: {sum(len(one['notes']) for one in documents) - 8} more in the report"


def test_a_mistake_at_the_start_does_not_promise_that_the_same_command_helps(kalm, data, tmp_path):
    arguments = ("--model", "none", "--baseline", "BM52", "--output", str(tmp_path / "out"))
    code, _, err = kalm("eval", str(data), *arguments)
    assert code == 1
    assert "baseline must be one of 'BM25'; got 'BM52'" in err
    assert "goes on from there" not in err


@pytest.mark.parametrize(
    "option", [("--ratios", "2"), ("--cascade", "8:2:2"), ("--codecs", "int8"), ("--costs",)]
)
@pytest.mark.parametrize("command", ["eval", "analyze ratios"])
def test_options_of_our_models_without_one_are_refused(kalm, data, tmp_path, command, option):
    arguments = ("--model", "none", *option, "--output", str(tmp_path / "out"))
    code, _, err = kalm(*command.split(), str(data), *arguments)
    assert code == 1
    assert "none was given" in err


@pytest.mark.parametrize("preset", ANALYSES, ids=lambda preset: preset.name)
def test_analyses_have_no_ratios_of_no_model(evaluated, tmp_path, preset):
    evaluated("--model", "none", "--cascade", "none", command=f"analyze {preset.name}")
    assert [one["name"] for one in results(tmp_path)["rankers"]] == ["BM25"]


def test_a_folder_that_cannot_be_written_is_an_error(kalm, data, tmp_path):
    (tmp_path / "out").write_text("")
    code, out, err = kalm("eval", str(data), "--model", "none", "--output", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert "cannot be written" in err
    assert "hint: " in err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_narrow_terminal_and_shows_no_markup(command):
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
    done = runner.invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert not re.search(r"\[/?(dim|bold|red|green)\]", done.output)
    assert "…" not in done.output  # nothing was cut
    assert f"kalm {command} " in done.output
    words = set(re.findall(r"--[a-z][a-z-]+", done.output))
    expected = {"--ratios", "--codecs", "--cascade", "--no-blend", "--peer", "--first-stage"}
    expected |= {"--benchmark", "--baseline", "--significance", "--costs", "--states", "--json"}
    assert expected <= words
