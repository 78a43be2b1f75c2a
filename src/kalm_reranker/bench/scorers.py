"""Loads the models of the paths that are asked for."""

from collections.abc import Callable, Sequence

from kalm_reranker.bench.joint import JointScorer
from kalm_reranker.bench.official import OfficialScorer, default_dtype, load_official
from kalm_reranker.bench.ours import OurEncodingScorer, OurStoredScorer
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.workload import Scorer
from kalm_reranker.engine.placement import choose_dtype, dtype_name
from kalm_reranker.reranker import KaLMReranker

Tell = Callable[[str], None]


def official_dtypes(setup: Setup) -> list[str]:
    """Returns the reference's own default dtype, and ours where that is another."""
    return list(dict.fromkeys([dtype_name(default_dtype(setup.device)), dtype_name(setup.dtype)]))


def load_scorers(
    setup: Setup, paths: Sequence[str], tell: Tell, *, dtypes: Sequence[str] | None = None
) -> list[Scorer]:
    """Returns the ways to score, in the order they are shown.

    Args:
        setup: What they are measured with.
        paths: Which to load.
        tell: Called with a line of text before each model is loaded.
        dtypes: Of the official path; if not given, those of `official_dtypes`.

    Raises:
        MissingExtraError: The official path is asked for, and Transformers is not installed.
        CheckpointError: The weights cannot be used.
    """
    scorers: list[Scorer] = []
    if OFFICIAL in paths:
        for name in official_dtypes(setup) if dtypes is None else dtypes:
            tell(f"loading the official model in {name}")
            dtype, _ = choose_dtype(name, setup.device)
            model = load_official(setup.checkpoint.directory, dtype, setup.device)
            scorers += [OfficialScorer(model, setup, encodes=encodes) for encodes in (True, False)]
    if JOINT in paths:
        tell(f"making a joint cross-encoder of {setup.joint_layers} layers")
        scorers.append(JointScorer(setup))
    if OURS in paths:
        tell("loading our model")
        reranker = KaLMReranker(
            setup.checkpoint.directory,
            device=setup.device,
            dtype=setup.dtype,
            batch_size=setup.settings.batch_size,
            max_length=setup.max_length,
            query_max_length=setup.settings.query_tokens,
            token_budget=setup.token_budget,
        )
        scorers += [OurEncodingScorer(reranker), OurStoredScorer(reranker)]
    return scorers
