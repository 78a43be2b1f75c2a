"""Which rankers take part, what they are called, and in which order."""

from dataclasses import replace

import pytest

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.rankers.kalm import KaLMModel
from kalm_reranker.evaluation.rankers.run_file import RunFileRanker
from kalm_reranker.evaluation.settings import EvaluationSettings, ratios_of

CASCADE = CascadeSettings(coarse_ratio=8, fine_ratio=None, fine_count=20)
SETTINGS = EvaluationSettings(ratios=(4,), codecs=("float32", "int4"), cascades=(CASCADE,))


@pytest.fixture
def made(pico):
    def made(settings=SETTINGS, peers=(), names=("pico",)):
        ratios = ratios_of(settings, pico.compression_ratio)
        return LineUp(settings, [KaLMModel(pico, name, ratios) for name in names], peers)

    return made


@pytest.fixture
def peer(tmp_path):
    (tmp_path / "run.trec").write_text("q Q0 a 1 1 x\n")
    return RunFileRanker(tmp_path / "run.trec", name="theirs")


def test_the_first_stage_comes_first_then_ours_blends_and_peers(made, peer):
    line_up = made(peers=[peer])
    single = [f"pico r={ratio}{end}" for end in ("", " int4") for ratio in (2, 4, 8)]
    ours = [*single, "pico 8:2:20", "pico 8:2:20 int4"]
    names = ["BM25", *ours, *(f"BM25 + {name}" for name in ours), "theirs"]
    assert [info.name for info in line_up.infos] == names
    assert list(line_up.stems) == names
    assert len(set(line_up.stems.values())) == len(names)
    assert line_up.baseline == "BM25"
    assert [ranker.info.name for ranker in line_up.scorers] == [*single, "theirs"]


def test_a_cascade_has_passes_of_its_own_codec(made):
    plain, lossy = made().cascades
    assert [one.info.name for one in (plain.coarse, plain.fine)] == ["pico r=8", "pico r=2"]
    assert [one.info.name for one in (lossy.coarse, lossy.fine)] == [
        "pico r=8 int4",
        "pico r=2 int4",
    ]
    info = lossy.info
    assert (info.kind, info.codec, info.compression_ratio) == ("cascade", "int4", 2)
    assert (info.coarse_ratio, info.fine_count) == (8, 20)


def test_without_blends_there_are_none(made):
    kinds = {info.kind for info in made(replace(SETTINGS, blend=False)).infos}
    assert kinds == {"first stage", "kalm", "cascade"}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("bm25:k1=1.2", "BM25"),
        ("dense:org/embedder", "embedder"),
        ("dense:models/embedder/", "embedder"),
        ("run:some/file.trec", "first stage"),
        ("given", "first stage"),
    ],
)
def test_the_first_stage_has_a_short_name(made, spec, name):
    line_up = made(replace(SETTINGS, first_stage=FirstStageSpec.parse(spec)))
    assert line_up.infos[0].name == line_up.baseline == name


def test_the_baseline_is_one_of_them(made):
    assert made(replace(SETTINGS, baseline="pico r=8")).baseline == "pico r=8"
    with pytest.raises(InvalidOptionError, match=r"'BM25', 'pico r=2', .*; got 'pico r=16'"):
        made(replace(SETTINGS, baseline="pico r=16"))


def test_two_models_of_one_name_are_refused(made):
    with pytest.raises(InvalidOptionError, match="names must be different"):
        made(names=("pico", "pico"))
    assert len(made(names=("pico", "other")).models) == 2
