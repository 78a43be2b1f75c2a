import csv
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from lxml import html

from kalm_reranker.evaluation.report import write_report
from kalm_reranker.evaluation.report.files import report_contents
from kalm_reranker.evaluation.report.wording import quality_text
from tests.evaluation.report.evaluations import (
    evaluation,
    few_rankers,
    first_stage,
    kalm,
    online,
    without,
)

VOID = {"meta", "input", "br", "link", "img", "hr"}
SECTIONS = ["quality", "ratios", "cost", "cascade", "scores", "online", "compared"]
ALWAYS = ["sets", "rankers", "settings"]


def page_of(found):
    return html.document_fromstring(report_contents(found)["report.html"].decode("utf-8"))


def bare(sets):
    """Two rankers and nothing but their quality."""
    rankers = [first_stage(), kalm("pico", 2)]
    return evaluation(rankers, sets, costs=False, scores=False, compare=False)


def sections(document):
    return [one.get("id") for one in document.iter("section")]


def cells(document, measure):
    """Ranker -> text of its cells, by row of the table of one measure."""
    (table,) = document.xpath(f"//table[@data-measure='{measure}']")
    names = [one.text_content() for one in table.xpath("./thead/tr[last()]/th")][1:]
    rows = {}
    for row in table.xpath("./tbody/tr | ./tfoot/tr"):
        texts = [(one.text or "").strip() for one in row.xpath("./td")]
        rows[row.xpath("./th")[0].text_content()] = dict(zip(names, texts, strict=True))
    return rows


def test_every_tag_is_closed_and_every_id_is_there_once(written):
    text = written.page.read_text(encoding="utf-8")
    open_tags = []
    for closing, name, inner in re.findall(r"<(/?)([a-zA-Z][\w-]*)((?:\"[^\"]*\"|[^>\"])*)>", text):
        if closing:
            assert open_tags.pop() == name
        elif name not in VOID and not inner.endswith("/"):
            open_tags.append(name)
    assert open_tags == []
    document = html.document_fromstring(text)
    ids = document.xpath("//@id")
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)
    assert {one or other for one, other in used} <= set(ids)


def test_the_page_needs_nothing_but_itself(written):
    text = written.page.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.|@import|<script|<link|<img|<iframe|<object", text)
    assert not re.search(r"url\((?!#)", text)
    document = html.document_fromstring(text)
    assert all(one.startswith("#") for one in document.xpath("//@href"))
    assert document.xpath("//@src") == []


def test_standalone_plots_refer_to_nothing_but_their_namespaces(written):
    for path in written.plots:
        if path.suffix == ".svg":
            text = re.sub(r'xmlns(:\w+)?="[^"]*"', "", path.read_text(encoding="utf-8"))
            text = text[text.index("<svg") :]  # after the document type
            text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
            assert "http" not in text


def test_every_section_is_there_when_there_are_data(written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    assert sections(document) == [*SECTIONS, *ALWAYS]
    links = [one.removeprefix("#") for one in document.xpath("//nav//a/@href")]
    assert links == [*SECTIONS, *ALWAYS]


def test_sections_without_data_are_left_out(three_sets):
    document = page_of(bare(three_sets))
    assert sections(document) == ["quality", *ALWAYS]
    assert [one.get("id") for one in document.iter("figure")] == ["means"]
    assert "significantly" not in document.text_content()


def test_parts_without_data_leave_the_others(three_sets):
    found = replace(evaluation(few_rankers(), three_sets), costs=(), comparisons=())
    shown = [one for one in [*SECTIONS, *ALWAYS] if one not in ("online", "compared")]
    assert sections(page_of(found)) == shown


def test_numbers_of_the_tables_are_those_of_the_csv(full, written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    with written.csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 19 * 12
    for measure in ("nDCG@10", "RR@10", "AP", "R@100", "ROC-AUC"):
        shown = cells(document, measure)
        for row in rows:
            number = quality_text(float(row[measure]))
            assert shown[row["dataset"]][row["ranker"]] == number
        for info in full.rankers:
            values = [float(row[measure]) for row in rows if row["ranker"] == info.name]
            assert shown["mean of 19"][info.name] == quality_text(sum(values) / 19)


def test_the_best_of_each_row_and_nothing_else_is_bold(full, written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    (table,) = document.xpath("//table[@data-measure='nDCG@10']")
    for row in table.xpath("./tbody/tr"):
        numbers = [float(one.text) for one in row.xpath("./td")]
        bold = [float(one.text) for one in row.xpath("./td[@class='best']")]
        assert bold == [one for one in numbers if one == max(numbers)]


def test_a_row_of_equal_numbers_has_no_best(three_sets):
    found = bare(three_sets)
    recall = [replace(one, measures={**one.measures, "R@100": 0.9}) for one in found.measurements]
    document = page_of(replace(found, measurements=tuple(recall)))
    (table,) = document.xpath("//table[@data-measure='R@100']")
    assert table.xpath(".//*[@class='best']") == []
    counts = [one.text_content() for one in table.xpath(".//tr[@class='counts']/td")]
    assert counts == ["0", "0"]


def test_marks_are_those_of_the_comparisons(full, written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    (table,) = document.xpath("//table[@data-measure='nDCG@10']")
    names = [info.name for info in full.rankers]
    found = {(one.dataset, one.ranker): one for one in full.comparisons}
    marks = set()
    for row in table.xpath("./tbody/tr"):
        dataset = row.xpath("./th")[0].text_content()
        for name, cell in zip(names, row.xpath("./td"), strict=True):
            mark = cell.xpath("./span")[0].text or ""
            one = found.get((dataset, name))
            sure = one is not None and one.p_value < 0.05
            assert mark == ("" if not sure else "▲" if one.difference > 0 else "▼")
            marks.add(mark)
    assert marks == {"", "▲", "▼"}


def test_a_ranker_that_misses_a_set_has_a_dash_there_and_no_mean(three_sets):
    document = page_of(without(bare(three_sets), "cisi", "pico r=2"))
    shown = cells(document, "nDCG@10")
    assert shown["cisi"]["pico r=2"] == shown["mean of 3"]["pico r=2"] == "–"  # noqa: RUF001
    assert shown["scifact"]["pico r=2"] != "–"  # noqa: RUF001
    assert "pico r=2 has no mean: it was not run on every set." in document.text_content()


def test_a_measure_without_numbers_has_no_table(three_sets):
    found = bare(three_sets)
    nan = float("nan")
    emptied = [replace(one, measures={**one.measures, "AP": nan}) for one in found.measurements]
    document = page_of(replace(found, measurements=tuple(emptied)))
    assert "AP" not in document.xpath("//table/@data-measure")
    assert "nan" not in document.text_content().lower().split()


def test_an_evaluation_without_any_measurement_still_has_a_page(full):
    empty = replace(full, measurements=(), comparisons=(), costs=())
    document = page_of(empty)
    assert sections(document) == ALWAYS
    assert list(document.iter("figure")) == []


def test_a_single_set_has_no_mean(three_sets):
    document = page_of(bare({"scifact": 0.68}))
    assert "Reranking quality on scifact" in document.xpath("//h1")[0].text
    assert document.xpath("//table[@data-measure]/tfoot") == []


HOSTILE = [
    *("= 1 + 1", "<b>&\"'</b>", "$x^2$ \\frac", "中文 عربى ไทย", "{{ 7 * 7 }}"),
    "</svg><script>x</script>",
]


def test_names_are_escaped_everywhere():
    rankers = [
        replace(info, name=f"{info.name} {HOSTILE[at]}", model=HOSTILE[1])
        for at, info in enumerate(few_rankers())
    ]
    sets = dict.fromkeys(HOSTILE, 0.5) | {"null \x00 escape \x1b": 0.4}
    found = evaluation(rankers, sets)
    costs = tuple(replace(one, model=HOSTILE[-1]) for one in online())
    found = replace(found, first_stage=HOSTILE[-1], notes=tuple(HOSTILE), costs=costs)
    text = report_contents(found)["report.html"].decode("utf-8")
    assert "<script" not in text
    assert "<b>&" not in text
    assert not re.search(r"[\x00-\x08\x0e-\x1f]", text)
    document = html.document_fromstring(text)
    shown = cells(document, "nDCG@10")
    assert [*shown][: len(HOSTILE)] == HOSTILE
    assert [*shown[HOSTILE[0]]] == [info.name for info in rankers]
    notes = [one.text for one in document.xpath("//section[@id='sets']//li")]
    assert notes == HOSTILE
    # In the plots, too: a dollar starts no formula there.
    drawn = {one.text for one in document.xpath("//figure[@id='differences']//svg//text")}
    assert set(HOSTILE) <= drawn


def test_tooltips_tell_the_points_of_a_plot(written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    tips = [one.text for one in document.xpath("//figure[@id='quality-by-bytes']//title")]
    assert any(re.fullmatch(r"pico r=2: nDCG@10 0\.\d{4}, 97\.3 kB", tip) for tip in tips)


def test_colours_of_plots_follow_the_page(written):
    document = html.document_fromstring(written.page.read_text(encoding="utf-8"))
    styles = " ".join(document.xpath("//figure//@style"))
    assert "var(--hue0)" in styles
    assert "var(--back)" in styles
    assert not re.search(r"#[0-9a-f]{6}", styles)


def test_the_command_is_shown_as_it_can_be_typed(three_sets):
    found = bare(three_sets)
    words = ["kalm", "eval", "my data/x", "--model", "pico"]
    document = page_of(replace(found, settings={"command": words}))
    assert document.xpath("//pre")[0].text_content() == "kalm eval 'my data/x' --model pico"
    document = page_of(replace(found, settings={}))
    assert document.xpath("//pre") == []


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_lays_the_page_out(three_sets, tmp_path):
    page = write_report(bare(three_sets), tmp_path / "report").page
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,2000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"),
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    from matplotlib.image import imread

    pixels = imread(picture)
    assert pixels.shape[:2] == (2000, 1280)
    assert pixels[:, :, :3].std() > 0.05  # something is there
