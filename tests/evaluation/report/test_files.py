import csv
import json
import stat
from dataclasses import replace

import pytest

from kalm_reranker.errors import DataFileError, MissingExtraError
from kalm_reranker.evaluation.report import write_report
from kalm_reranker.evaluation.report.files import report_contents
from kalm_reranker.evaluation.report.plots import PLOT_NAMES
from kalm_reranker.evaluation.report.tables import markdown_table
from kalm_reranker.evaluation.results import Evaluation
from tests.evaluation.report.evaluations import evaluation, first_stage, kalm


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_written(written):
    folder = written.page.parent
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    plots = {f"plots/{name}.{kind}" for name in PLOT_NAMES for kind in ("png", "svg")}
    named = {"report.html", "report.png", "results.json", "results.csv", "comparisons.csv"}
    assert found == plots | named | {"costs.csv", "table.md"}
    assert {str(path.relative_to(folder)) for path in written.plots} == plots
    for path in (written.picture, *written.plots):
        start = path.read_bytes()[:8]
        assert start == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else start[:5] == b"<?xml"


def test_files_can_be_read_by_others(written):
    assert stat.S_IMODE(written.page.stat().st_mode) & 0o444 == 0o444


def test_the_same_evaluation_gives_the_same_bytes(full, written):
    again = report_contents(Evaluation.from_dict(json.loads(json.dumps(full.as_dict()))))
    for name, content in again.items():
        assert (written.page.parent / name).read_bytes() == content, name


def test_the_json_is_the_evaluation(full, written):
    document = json.loads(written.results.read_text(encoding="utf-8"))
    assert Evaluation.from_dict(document) == full


def test_numbers_that_json_does_not_have_become_null(three_sets, tmp_path):
    found = evaluation([first_stage(), kalm("pico", 2)], three_sets, scores=False)
    first = found.measurements[0]
    strange = replace(first, measures={"nDCG@10": float("nan"), "AP": float("inf")})
    found = replace(found, measurements=(strange, *found.measurements[1:]))
    files = write_report(found, tmp_path)
    measures = json.loads(files.results.read_text())["measurements"][0]["measures"]
    assert measures == {"nDCG@10": None, "AP": None}
    assert rows_of(files.csv)[0]["nDCG@10"] == ""


def test_the_csv_gives_every_number_back(full, written):
    rows = rows_of(written.csv)
    for row, one in zip(rows, full.measurements, strict=True):
        assert (row["dataset"], row["ranker"]) == (one.dataset, one.ranker)
        assert {name: float(row[name]) for name in one.measures} == one.measures
        for field in ("bytes_per_passage", "ms_per_query"):
            value = getattr(one, field)
            assert row[field] == "" if value is None else float(row[field]) == value
    first = next(row for row in rows if row["ranker"] == "pico 16:2:30")
    wanted = {"kind": "cascade", "compression_ratio": "2", "coarse_ratio": "16"}
    assert wanted.items() <= first.items()
    assert (first["fine_count"], first["codec"], first["num_queries"]) == ("30", "bfloat16", "300")


def test_comparisons_and_costs_come_back(full, written):
    for path, rows in ((written.comparisons, full.comparisons), (written.costs, full.costs)):
        found = rows_of(path)
        assert len(found) == len(rows) > 0
        for row, one in zip(found, rows, strict=True):
            for name, text in row.items():
                value = getattr(one, name)
                assert text == ("" if value is None else str(value)), name


def test_names_with_commas_quotes_and_newlines_come_back(three_sets, tmp_path):
    name = 'a,"b"\nc'
    rankers = [first_stage(), kalm("pico", 2, name=name)]
    found = evaluation(rankers, three_sets, costs=False, scores=False)
    files = write_report(found, tmp_path)
    assert {row["ranker"] for row in rows_of(files.csv)} == {"BM25", name}


def test_the_markdown_table_has_the_best_in_bold_and_means_at_the_end(full, written):
    lines = written.table.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(" | ")[0] == "| nDCG@10"
    assert len(lines) == 2 + 19 + 1
    assert lines[-1].startswith("| mean of 19 | 0.7491 |")
    for line in lines[2:]:
        texts = line.strip("| ").split(" | ")[1:]
        numbers = [float(text.strip("*")) for text in texts]
        bold = [float(text.strip("*")) for text in texts if text.startswith("**")]
        assert len(numbers) == 12
        assert bold == [one for one in numbers if one == max(numbers)]


def test_the_markdown_table_escapes_names(three_sets):
    name = "a|b *c* <d>"
    table = markdown_table(evaluation([first_stage(), kalm("pico", 2, name=name)], three_sets))
    assert "a\\|b \\*c\\* \\<d\\>" in table.splitlines()[0]
    assert table.splitlines()[0].replace("\\|", "").count("|") == 4


def test_plots_of_an_earlier_report_are_removed(three_sets, tmp_path):
    rankers = [first_stage(), kalm("pico", 2)]
    write_report(evaluation(rankers, three_sets, scores=False, compare=False), tmp_path)
    assert (tmp_path / "plots" / "quality-by-bytes.svg").exists()
    mine = tmp_path / "plots" / "mine.svg"
    mine.write_text("kept")
    write_report(evaluation(rankers, three_sets, costs=False, scores=False), tmp_path)
    assert not (tmp_path / "plots" / "quality-by-bytes.svg").exists()
    assert mine.read_text() == "kept"


def test_a_failure_leaves_the_earlier_report_as_it_was(three_sets, tmp_path, monkeypatch):
    found = evaluation([first_stage(), kalm("pico", 2)], three_sets, costs=False, scores=False)
    files = write_report(found, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full_disk(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(DataFileError, match="No space left"):
        write_report(replace(found, first_stage="another"), tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    assert b"another" not in files.page.read_bytes()


def test_a_missing_library_is_named_before_anything_is_written(full, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("kalm_reranker.extras.import_module", missing)
    with pytest.raises(MissingExtraError, match="matplotlib") as caught:
        write_report(full, tmp_path / "report")
    assert caught.value.hint == 'pip install "kalm-reranker[eval]"'
    assert not (tmp_path / "report").exists()


def test_the_users_own_plot_settings_change_nothing(three_sets):
    import matplotlib

    found = evaluation([first_stage(), kalm("pico", 2)], three_sets, costs=False, scores=False)
    before = report_contents(found)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "text.usetex": False}):
        assert report_contents(found) == before
        assert matplotlib.rcParams["font.size"] == 30
