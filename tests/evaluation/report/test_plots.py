from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.text import Text

from kalm_reranker.evaluation.report.figure import draw_plot, drawing
from kalm_reranker.evaluation.report.labels import spread
from kalm_reranker.evaluation.report.picture import pairs, picture
from kalm_reranker.evaluation.report.plot_cascade import pareto, setting
from kalm_reranker.evaluation.report.plot_distributions import panel_rows, rebin
from kalm_reranker.evaluation.report.plots import PLOT_NAMES, most_telling, plots_of
from kalm_reranker.evaluation.report.summary import families, ratio_families, summarize
from kalm_reranker.evaluation.results import ScoreDistribution
from tests.evaluation.report.evaluations import (
    cascade,
    evaluation,
    few_rankers,
    first_stage,
    kalm,
    many_rankers,
    online,
)


def test_all_plots_come_in_order(full):
    assert tuple(one.name for one in plots_of(full, summarize(full))) == PLOT_NAMES


@pytest.mark.parametrize("places", [[], [0.5], [0.5] * 8, [0.0, 0.01, 0.02, 0.9, 1.0], [1.4, -2.0]])
def test_labels_are_moved_apart_and_keep_their_order(places):
    moved = spread(places, 0.1)
    order = sorted(range(len(places)), key=lambda index: places[index])
    steps = [moved[after] - moved[before] for before, after in pairwise(order)]
    assert all(step >= 0.1 - 1e-9 for step in steps)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)


def test_labels_with_room_stay_where_they_are():
    assert spread([0.9, 0.1, 0.5], 0.05) == [0.9, 0.1, 0.5]


def labels_of(plot):
    """Texts of a plot (but for ratios beside points) with their boxes, and the sheet's box."""
    found = {}

    def draw(sheet):
        plot.draw(sheet)
        sheet.figure.canvas.draw()
        found["sheet"] = sheet.figure.bbox.padded(1)
        found["labels"] = [
            (text.get_text(), Text.get_window_extent(text))  # without a label's line
            for axes in sheet.figure.axes
            for text in [*axes.texts, axes.title, axes._left_title]
            if text.get_text() and text.get_fontsize() > 8
        ]

    draw_plot(replace(plot, draw=draw))
    return found["sheet"], found["labels"]


def test_texts_of_thirty_rankers_lie_inside_and_apart():
    found = evaluation(many_rankers(), {"scifact": 0.68, "cisi": 0.36})
    found = replace(found, costs=online(("nano", "small", "large")))
    assert len(found.rankers) > 30
    with drawing():
        for plot in plots_of(found, summarize(found)):
            sheet, labels = labels_of(plot)
            assert labels
            for at, (text, box) in enumerate(labels):
                assert sheet.x0 <= box.x0 <= box.x1 <= sheet.x1, (plot.name, text)
                assert sheet.y0 <= box.y0 <= box.y1 <= sheet.y1, (plot.name, text)
                for other, its_box in labels[at + 1 :]:
                    overlaps = box.shrunk(0.98, 0.8).overlaps(its_box.shrunk(0.98, 0.8))
                    assert not overlaps, (plot.name, text, other)


def test_families_differ_by_ratio_alone():
    rankers = [first_stage(), kalm("a", 8), kalm("a", 2), kalm("a", 2, "int8"), kalm("b", 2)]
    found = families(summarize(evaluation(rankers, {"x": 0.5})))
    assert [[one.info.compression_ratio for one in each.members] for each in found] == [
        [2, 8],
        [2],
        [2],
    ]
    assert [one.label for one in found] == ["a", "a r=2", "b r=2"]


def test_a_second_difference_makes_families_of_their_own():
    rankers = [
        kalm("a", ratio, name=f"BM25 + a r={ratio} weight {weight}", kind="blend")
        for weight in (0.3, 0.5)
        for ratio in (2, 4)
    ]
    found = ratio_families(summarize(evaluation(rankers, {"x": 0.5})))
    assert [one.label for one in found] == ["BM25 + a weight 0.3", "BM25 + a weight 0.5"]
    assert all(len(one.members) == 2 for one in found)


def test_a_blended_cascade_is_no_single_pass():
    summaries = summarize(evaluation(few_rankers(), {"x": 0.5}))
    names = [one.info.name for each in families(summaries) for one in each.members]
    assert names == ["pico r=2", "pico r=8", "BM25 + pico r=2"]
    assert [setting(one) for one in summaries[-2:]] == [
        "8 → 2, top 30",
        "blend, 8 → 2, top 30",
    ]


def test_the_front_holds_what_nothing_beats():
    summaries = summarize(evaluation([kalm("a", 2), kalm("a", 4), kalm("a", 8)], {"x": 0.5}))
    slow, middle, fast = summaries
    slow = replace(slow, ms=300.0, quality=0.5)
    middle = replace(middle, ms=200.0, quality=0.5)
    fast = replace(fast, ms=100.0, quality=0.3)
    assert pareto([slow, middle, fast]) == [fast, middle]


def test_a_cascade_is_told_by_its_setting():
    (one,) = summarize(evaluation([cascade("a", 32, 2, 20)], {"x": 0.5}))
    assert setting(one) == "32 → 2, top 20"
    opened = replace(one, info=replace(one.info, compression_ratio=None))
    assert setting(opened) == "32 → own, top 20"


def test_bins_are_spread_over_others_without_a_loss():
    given = ScoreDistribution(edges=(0.0, 1.0, 2.0), relevant=(4, 2), other=(0, 9))
    assert rebin(given, given.relevant, [0.0, 0.5, 1.0, 1.5, 2.0]) == [2.0, 2.0, 1.0, 1.0]
    moved = rebin(given, given.other, [-1.0, 0.25, 1.5, 2.75])
    assert moved == pytest.approx([0.0, 4.5, 4.5])
    point = ScoreDistribution(edges=(1.0, 1.0), relevant=(3,), other=(0,))
    assert rebin(point, point.relevant, [0.0, 0.9, 1.8]) == [0.0, 3.0]


def test_panels_of_a_family_share_their_axis_and_sum_to_one(full):
    rows = panel_rows(full, summarize(full))
    assert [label for label, _ in rows] == ["pico", "BM25 + pico", ""]
    for label, panels in rows:
        assert all(sum(one.relevant) == pytest.approx(1.0) for one in panels)
        assert all(sum(one.other) == pytest.approx(1.0) for one in panels)
        if label:
            assert all(one.edges == panels[0].edges for one in panels)
    assert [one.title for one in rows[0][1]] == [f"r={ratio}" for ratio in (1, 2, 4, 8, 16, 32)]


def test_scores_that_are_all_the_same_can_be_drawn():
    found = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5})
    flat = ScoreDistribution(edges=(0.0, 0.0), relevant=(0,), other=(0,))
    same = tuple(replace(one, distribution=flat) for one in found.measurements)
    found = replace(found, measurements=same)
    with drawing():
        for plot in plots_of(found, summarize(found)):
            assert draw_plot(plot).png


def test_the_plot_of_differences_is_about_the_best_ranker(full):
    comparisons = most_telling(full, summarize(full))
    assert {one.ranker for one in comparisons} == {"BM25 + pico r=1"}
    assert len(comparisons) == 19


def test_the_picture_holds_narrow_plots_in_pairs(three_sets):
    found = evaluation([kalm("a", 2), kalm("a", 4)], three_sets, scores=False, compare=False)
    found = replace(found, costs=())
    with drawing():
        drawn = [draw_plot(plot) for plot in plots_of(found, summarize(found))]
        rows = [[one.plot.name for one in row] for row in pairs(drawn)]
        png = picture(drawn, "Title", ["A line."])
        nothing = picture([], "Title", [])
    assert ["quality-by-ratio", "quality-by-bytes"] in rows
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    assert width >= max(one.pixels.shape[1] for one in drawn)
    assert height > sum(max(one.pixels.shape[0] for one in row) for row in pairs(drawn))
    assert nothing.startswith(b"\x89PNG")
