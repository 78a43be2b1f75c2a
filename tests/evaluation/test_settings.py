import pytest

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
from kalm_reranker.evaluation.settings import EvaluationSettings, fine_ratio_of, ratios_of


def cascade(coarse=32, fine=2, count=20):
    return CascadeSettings(coarse_ratio=coarse, fine_ratio=fine, fine_count=count)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": 0}, "top_k must be a positive integer; got 0"),
        ({"max_queries": 0}, "max_queries must be a positive integer; got 0"),
        ({"timed_queries": -1}, "timed_queries must be a positive integer; got -1"),
        ({"significance": "guess"}, "must be 't-test' or 'bootstrap'; got 'guess'"),
        ({"models": (), "ratios": (2,)}, "are those of KaLM models; none was given"),
        ({"models": (), "codecs": ("int8",)}, "are those of KaLM models; none was given"),
        ({"models": (), "costs": True}, "are those of KaLM models; none was given"),
        ({"models": ("pico", "pico")}, "models must be different from each other; 'pico' is not"),
        ({"ratios": (2, 4, 2)}, "ratios must be different from each other; 2 is not"),
        ({"ratios": (0,)}, "a compression ratio must be a positive integer; got 0"),
        ({"codecs": ("int3",)}, "codec must be one of .*; got 'int3'"),
        ({"codecs": ("",)}, "codec must be one of .*; got ''"),
        ({"peers": ("run:a=b", "run:a=b")}, "peers must be different"),
        ({"cascades": (cascade(), cascade())}, "cascades must be different"),
        ({"cascades": (cascade(count=0),)}, "a cascade's count must be a positive integer; got 0"),
        ({"cascades": (cascade(fine=0),)}, "fine ratio must be a positive integer; got 0"),
        ({"cascades": (cascade(coarse=0),)}, "coarse ratio must be a positive integer; got 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_is_refused(changes, said):
    with pytest.raises(InvalidOptionError, match=said):
        EvaluationSettings(**changes)


def test_peers_alone_need_no_model():
    assert EvaluationSettings(models=(), peers=("run:a=b",), timed_queries=0).models == ()


def test_a_model_scores_at_its_own_ratio_unless_told_otherwise():
    assert ratios_of(EvaluationSettings(), 2) == (2,)
    assert ratios_of(EvaluationSettings(ratios=(32, 8)), 2) == (8, 32)


def test_both_passes_of_a_cascade_are_scored_at_ratios_of_their_own():
    settings = EvaluationSettings(ratios=(8,), cascades=(cascade(), cascade(fine=None)))
    assert ratios_of(settings, 4) == (2, 4, 8, 32)
    assert [fine_ratio_of(one, 4) for one in settings.cascades] == [2, 4]


@pytest.mark.parametrize(("coarse", "fine"), [(2, 2), (2, 4), (12, 8), (1, None)])
def test_a_cascade_goes_from_a_multiple_to_a_finer_ratio(coarse, fine):
    settings = EvaluationSettings(cascades=(cascade(coarse, fine),))
    with pytest.raises(InvalidRatioError, match=f"must be a multiple .* above it; got {coarse}"):
        ratios_of(settings, 2)
