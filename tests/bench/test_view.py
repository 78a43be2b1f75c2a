"""What the user sees: tables and plots."""

import dataclasses
import io
import itertools

import pytest
from PIL import Image
from rich.console import Console

from kalm_reranker.bench.labels import spread
from kalm_reranker.bench.plots import draw_plots
from kalm_reranker.bench.report import STORED, TOGETHER, MemoryPeak
from kalm_reranker.bench.settings import JOINT, OURS
from kalm_reranker.bench.view import render_bench


def shown(report, width=80):
    out = io.StringIO()
    render_bench(report, Console(file=out, width=width))
    return out.getvalue()


def test_the_tables_fit_80_columns(tiny_report):
    text = shown(tiny_report)
    assert max(map(len, text.splitlines())) <= 80
    for title in (
        "by passage length n, ratio 4",
        "Milliseconds at n=64, ratio 4",
        "by ratio r, n=64",
    ):
        assert title in text
    for way in tiny_report.ways:
        assert way.title in text
    assert "tiny-shape, random weights: 4+4 layers of width 64" in text
    assert "6 candidates for one query of 5 tokens" in text
    assert "extrapolated" not in text
    assert "How many times faster than ..., at n=64, ratio 4" in text
    assert f"{tiny_report.analytic.speedup(64, 4):.1f}x" in text


def test_what_is_extrapolated_is_marked_and_explained(tiny_report):
    first, *others = tiny_report.measurements
    cut = dataclasses.replace(first, measured=2)
    text = shown(dataclasses.replace(tiny_report, measurements=(cut, *others)), width=120)
    assert "~ extrapolated, since time was limited" in text
    assert f"{cut.way.title} in float32: n=32 from 2" in text
    assert "~" in next(line for line in text.splitlines() if line.startswith(cut.way.title))


def test_long_times_are_shown_in_seconds(tiny_report):
    first, *others = tiny_report.measurements
    slow = dataclasses.replace(first, seconds=(12.0, 14.0))
    text = shown(dataclasses.replace(tiny_report, measurements=(slow, *others)))
    assert "Seconds at n=64, ratio 4" in text
    assert "13.0" in text
    assert "Milliseconds" not in text


def test_memory_notes_and_interrupts_are_told(tiny_report):
    way = tiny_report.way(OURS, STORED)
    peak = MemoryPeak(
        way=way, length=64, ratio=4, candidates=4, host_bytes=321_000_000, device_bytes=None
    )
    text = shown(
        dataclasses.replace(
            tiny_report, memory=(peak,), interrupted=True, notes=("Something to know.",)
        ),
        width=120,
    )
    assert "321 MB" in text
    assert "scoring 4 candidates" in text
    assert "Interrupted: this is what was measured until then." in text
    assert "Something to know." in text


def test_a_report_with_nothing_but_our_path(tiny_report):
    ways = tuple(way for way in tiny_report.ways if way.path == OURS)
    report = dataclasses.replace(
        tiny_report,
        ways=ways,
        measurements=tuple(one for one in tiny_report.measurements if one.way in ways),
        margin_difference=None,
    )
    assert report.seconds_per_unit is None
    assert "times faster" not in shown(report)


@pytest.mark.parametrize("with_joint", [True, False])
def test_plots_are_drawn(tiny_report, tmp_path, with_joint):
    report = tiny_report
    if not with_joint:
        report = dataclasses.replace(
            report,
            measurements=tuple(one for one in report.measurements if one.way.path != JOINT),
        )
    paths = draw_plots(report, tmp_path)
    assert sorted(path.name for path in paths) == [
        "time-by-length.png",
        "time-by-length.svg",
        "time-by-ratio.png",
        "time-by-ratio.svg",
    ]
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert image.width > 1200
                assert len(image.getcolors(10**6)) > 50  # lines and letters, not an empty page
    before = {path: path.read_bytes() for path in paths if path.suffix == ".svg"}
    draw_plots(report, tmp_path)
    assert all(path.read_bytes() == data for path, data in before.items())  # no date, no chance


def test_a_cross_encoder_fits_every_ratio(tiny_report):
    joint = tiny_report.way(JOINT, TOGETHER)
    assert tiny_report.find(joint, 64, 2) is tiny_report.find(joint, 64, 8) is not None


def test_labels_are_moved_apart_as_little_as_needed():
    assert spread([0.1, 0.5], 0.1) == [0.1, 0.5]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.52, 0.5, 0.1], 0.1) == pytest.approx([0.56, 0.46, 0.1])
    moved = sorted(spread([0.5, 0.51, 0.55, 0.58, 0.9], 0.1))
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(moved))
    assert spread([], 0.1) == []
