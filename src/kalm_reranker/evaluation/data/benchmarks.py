"""The public benchmarks of the paper: which tasks, subsets and splits, and how copies are called.

Names are mteb's. Sizes are of the published collections: by them a reduced copy is known.

Source: the benchmarks of the KaLM-Reranker-V1 paper (BEIR: 13 English tasks, MIRACL: 18 languages,
LMEB: 22 tasks in four families); tasks, subsets, splits and sizes as in mteb 2.26, against which
`tests/evaluation/data/test_benchmarks.py` checks them.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from kalm_reranker.errors import InvalidOptionError

LMEB_FAMILIES = ("episodic", "dialogue", "semantic", "procedural")
BENCHMARKS = ("beir", "miracl", "lmeb", *(f"lmeb-{family}" for family in LMEB_FAMILIES))

# What mteb calls the only subset of a task that has no subsets.
DEFAULT_SUBSET = "default"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One judged collection of a benchmark.

    Attributes:
        benchmark: `beir`, `miracl` or `lmeb`; `mteb` for tasks of none of them.
        family: Of LMEB's tasks; the task of which this one is a part, as CQADupStack's forums are;
            None elsewhere.
        task: As mteb calls it.
        subset: As mteb calls it; a language code in MIRACL.
        is_only: Whether the task has no other subset.
        languages: Codes by which it is chosen.
        split: Which judgements.
        folders: Where a copy may be below the user's folder, in order; case is ignored.
        excludes_own_id: Whether passages with the query's id are no candidates (in mteb:
            `ignore_identical_ids`).
        num_passages: Of the published collection; None where it is not known here.
        num_queries: Of the published collection, judged ones.
        instruction: The task's own, where it is in none of the bundled files.
    """

    benchmark: str
    family: str | None = None
    task: str
    subset: str = DEFAULT_SUBSET
    is_only: bool = True
    languages: tuple[str, ...] = ("en",)
    split: str = "test"
    folders: tuple[str, ...]
    excludes_own_id: bool = False
    num_passages: int | None = None
    num_queries: int | None = None
    instruction: str | None = None

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.task if self.is_only else f"{self.task}/{self.subset}"

    @property
    def group(self) -> tuple[str, ...]:
        """What its numbers are averaged in, outermost first."""
        family = () if self.family is None else (self.family,)
        return (self.benchmark, *family, self.task)


def _beir(
    task: str, passages: int, queries: int, *folders: str, excludes_own_id: bool = False
) -> Part:
    return Part(
        benchmark="beir",
        task=task,
        folders=(task, *folders),
        excludes_own_id=excludes_own_id,
        num_passages=passages,
        num_queries=queries,
    )


# The public sets of BEIR but MS MARCO (which models are trained on) and CQADupStack: 13, as in the
# paper. Folder names are those of BEIR's own downloads.
_BEIR = (
    _beir("ArguAna", 8_674, 1_406, "arguana", excludes_own_id=True),
    _beir("ClimateFEVER", 5_416_593, 1_535, "climate-fever"),
    _beir("DBPedia", 4_635_922, 400, "dbpedia-entity"),
    _beir("FEVER", 5_416_568, 6_666, "fever", excludes_own_id=True),
    _beir("FiQA2018", 57_638, 648, "fiqa", excludes_own_id=True),
    _beir("HotpotQA", 5_233_329, 7_405, "hotpotqa"),
    _beir("NFCorpus", 3_633, 323, "nfcorpus"),
    _beir("NQ", 2_681_468, 3_452, "nq"),
    _beir("QuoraRetrieval", 522_931, 10_000, "quora", excludes_own_id=True),
    _beir("SCIDOCS", 25_657, 1_000, "scidocs"),
    _beir("SciFact", 5_183, 300, "scifact"),
    _beir("Touche2020", 382_545, 49, "webis-touche2020", "touche2020"),
    _beir("TRECCOVID", 171_332, 50, "trec-covid"),
)

# Language -> passages, judged queries of the development split.
_MIRACL_SIZES = {
    "ar": (2_061_414, 2_896),
    "bn": (297_265, 411),
    "de": (15_866_222, 305),
    "en": (32_893_221, 799),
    "es": (10_373_953, 648),
    "fa": (2_207_172, 632),
    "fi": (1_883_509, 1_271),
    "fr": (14_636_953, 343),
    "hi": (506_264, 350),
    "id": (1_446_315, 960),
    "ja": (6_953_614, 860),
    "ko": (1_486_752, 213),
    "ru": (9_543_918, 1_252),
    "sw": (131_924, 482),
    "te": (518_079, 828),
    "th": (542_166, 733),
    "yo": (49_043, 119),
    "zh": (4_934_368, 393),
}
_MIRACL = tuple(
    Part(
        benchmark="miracl",
        task="MIRACLRetrieval",
        subset=language,
        is_only=False,
        languages=(language,),
        split="dev",
        folders=(language, f"MIRACLRetrieval/{language}", f"miracl/{language}"),
        num_passages=passages,
        num_queries=queries,
    )
    for language, (passages, queries) in _MIRACL_SIZES.items()
)


def _crossed(scenarios: Iterable[str], kinds: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{scenario}__{kind}" for scenario, kind in product(scenarios, kinds))


_EPISODIC = {
    "EPBench": _crossed(
        (
            *("default_claude_long", "default_claude_short", "default_claude_very_long"),
            *("default_gpt4o_long", "default_gpt4o_short"),
            *("sci_fi_claude_long", "sci_fi_claude_short"),
            *("world_news_claude_long", "world_news_claude_short"),
        ),
        (
            *("Entities", "Event_contents", "Full_event_details"),
            *("Other_entities", "Spaces", "Times"),
        ),
    ),
    "KnowMeBench": _crossed(
        ("event_driven", "flashback_intensive", "psychological_depth"),
        (
            *("adversarial_abstention", "information_extraction", "mind-body_interaction"),
            *("mnestic_trigger_analysis", "temporal_reasoning"),
        ),
    ),
}
_DIALOGUE = {
    "LoCoMo": ("single_hop", "multi_hop", "temporal_reasoning", "open_domain", "adversarial"),
    "LongMemEval": (
        *("knowledge_update", "multi_session", "single_session_assistant"),
        *("single_session_preference", "single_session_user", "temporal_reasoning"),
    ),
    "REALTALK": ("commonsense", "multi_hop", "temporal_reasoning"),
    "TMD": (
        *("content_time_qs", "date_span_time_qs", "dates_time_qs", "day_span_time_qs"),
        *("earlier_today_time_qs", "last_named_day_time_qs", "month_time_qs", "rel_day_time_qs"),
        *("rel_month_time_qs", "rel_session_time_qs", "session_span_time_qs", "session_time_qs"),
    ),
    "MemBench": (
        *("aggregative", "comparative", "emotion", "knowledge_updating", "multi_hop"),
        *("multi_session_assistant", "post_processing", "preference", "single_hop"),
        "single_session_assistant",
    ),
    "ConvoMem": (
        *("abstention_evidence", "assistant_facts_evidence", "changing_evidence"),
        *("implicit_connection_evidence", "preference_evidence", "user_evidence"),
    ),
}
_SEMANTIC = {
    "QASPER": ("QASPER",),
    "NovelQA": ("Character", "Meaning", "Plot", "Relation", "Setting", "Span", "Times"),
    "PeerQA": ("PeerQA",),
    "CovidQA": ("Covid-QA",),
    "ESGReports": ("ESG-Reports",),
    "LMEBMLDR": ("MLDR",),
    "LooGLE": ("LongDepQA", "ShortDepQA"),
    "LMEB_SciFact": ("LMEB_SciFact",),
}
_PROCEDURAL = {
    "Gorilla": ("gorilla_huggingface", "gorilla_pytorch", "gorilla_tensor"),
    "ToolBench": ("ToolBench",),
    "ReMe": (
        *_crossed(
            ("appworld_qwen3_8b", "appworld_qwen3_14b", "appworld_qwen3_32b"),
            ("generalized_query",),
        ),
        *_crossed(
            ("bfcl_qwen3_8b", "bfcl_qwen3_14b", "bfcl_qwen3_32b"),
            ("generalized_query", "task_query"),
        ),
    ),
    "ProceduralMemBench": ("easy", "medium", "hard"),
    "MemGovern": (
        *("Azure_azure-sdk-for-python", "ClusterHQ_flocker", "DataDog_integrations-core"),
        *("Microsoft_TypeScript", "PokemonGoF_PokemonGo-Bot", "Qiskit_qiskit-terra"),
        *("StackStorm_st2", "apache_airflow", "apache_incubator-airflow", "certbot_certbot"),
        *("dask_dask", "datalad_datalad", "django_django", "dmwm_WMCore"),
        *("encode_django-rest-framework", "facebook_react"),
        *("great-expectations_great_expectations", "home-assistant_core"),
        *("home-assistant_home-assistant", "huggingface_transformers", "kubernetes_kubernetes"),
        *("mesonbuild_meson", "microsoft_vscode", "mne-tools_mne-python", "moby_moby"),
        *("napari_napari", "numpy_numpy", "optuna_optuna", "pandas-dev_pandas", "pydata_xarray"),
        *("pypa_pip", "pytest-dev_pytest", "pytorch_pytorch", "raiden-network_raiden"),
        *("rust-lang_rust", "saltstack_salt", "scikit-learn_scikit-learn", "scipy_scipy"),
        *("scrapy_scrapy", "spack_spack", "sphinx-doc_sphinx", "spotify_luigi"),
        *("spring-projects_spring-framework", "spyder-ide_spyder", "sympy_sympy"),
        *("tensorflow_tensorflow", "webpack_webpack", "xonsh_xonsh"),
    ),
    "DeepPlanning": ("shopping_level1", "shopping_level2", "shopping_level3"),
}

# mteb's name -> the folder in LMEB's own download, where they differ.
_LMEB_FOLDERS = {
    "CovidQA": "Covid-QA",
    "ESGReports": "ESG-Reports",
    "LMEBMLDR": "MLDR",
    "LMEB_SciFact": "SciFact",
    "ProceduralMemBench": "Proced_mem_bench",
}

# LMEB's own names of tasks that mteb calls otherwise.
_ALIASES = {"mldr": "LMEBMLDR", "proced_mem_bench": "ProceduralMemBench"}


def _lmeb(family: str, task: str, subset: str, *, is_only: bool) -> Part:
    below = "" if is_only else "/" + subset.replace("__", "/")
    original = f"{family.capitalize()}/{_LMEB_FOLDERS.get(task, task)}{below}"
    own = (task,) if is_only else (f"{task}/{subset}", f"{task}{below}")
    return Part(
        benchmark="lmeb",
        family=family,
        task=task,
        subset=subset,
        is_only=is_only,
        folders=tuple(dict.fromkeys((*own, original))),
    )


_LMEB = tuple(
    _lmeb(family, task, subset, is_only=len(subsets) == 1)
    for family, tasks in zip(
        LMEB_FAMILIES, (_EPISODIC, _DIALOGUE, _SEMANTIC, _PROCEDURAL), strict=True
    )
    for task, subsets in tasks.items()
    for subset in subsets
)

PARTS = (*_BEIR, *_MIRACL, *_LMEB)


def benchmark_parts(
    benchmark: str,
    *,
    tasks: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> list[Part]:
    """Returns the parts of a benchmark, in its order.

    Args:
        benchmark: One of `BENCHMARKS`.
        tasks: Only these, by task (`EPBench`) or by task and subset (`LongMemEval/multi_session`).
        languages: Only these, by code (`de`).

    Raises:
        InvalidOptionError: There is no such benchmark, task or language.
    """
    wanted = benchmark.casefold()
    if wanted not in BENCHMARKS:
        raise InvalidOptionError(
            f"benchmark must be one of {', '.join(BENCHMARKS)}; got {benchmark!r}.",
            hint=did_you_mean(benchmark, BENCHMARKS),
        )
    name, _, family = wanted.partition("-")
    parts = [
        part for part in PARTS if part.benchmark == name and (not family or part.family == family)
    ]
    if tasks is not None:
        parts = _of_tasks(parts, tasks, benchmark)
    return parts if languages is None else of_languages(parts, languages)


def known_parts(task: str) -> list[Part]:
    """Returns the parts of a task that one of the benchmarks has, else nothing; case is ignored."""
    name = _ALIASES.get(task.casefold(), task).casefold()
    return [part for part in PARTS if part.task.casefold() == name]


def of_subset(parts: Sequence[Part], subset: str) -> list[Part]:
    """Returns the parts with this subset; LMEB's own `scenario/kind` is mteb's `scenario__kind`.

    Raises:
        InvalidOptionError: There is none.
    """
    wanted = subset.replace("/", "__").casefold()
    found = [part for part in parts if part.subset.casefold() == wanted]
    if not found:
        names = [part.subset for part in parts]
        raise InvalidOptionError(
            f"subset of {parts[0].task} must be {_some(names)}; got {subset!r}.",
            hint=did_you_mean(subset, names),
        )
    return found


def of_languages(parts: Sequence[Part], languages: Sequence[str]) -> list[Part]:
    """Returns the parts in these languages, in the parts' order.

    Args:
        parts: To choose from.
        languages: Codes: a subset (`de`), or mteb's (`deu-Latn`, or `deu` for short).

    Raises:
        InvalidOptionError: No part is in one of the languages.
    """
    codes = [_codes(part) for part in parts]
    for language in languages:
        if not any(language.casefold() in of_part for of_part in codes):
            known = list(dict.fromkeys(code for part in parts for code in part.languages))
            raise InvalidOptionError(
                f"language must be {_some(known)} here; got {language!r}.",
                hint="MIRACL's languages have two-letter codes; BEIR and LMEB are English.",
            )
    wanted = {language.casefold() for language in languages}
    return [part for part, of_part in zip(parts, codes, strict=True) if wanted & of_part]


def _codes(part: Part) -> set[str]:
    codes = {code.casefold() for code in (part.subset, *part.languages)}
    return codes | {code.partition("-")[0] for code in codes}


def did_you_mean(wanted: str, names: Iterable[str]) -> str | None:
    """Returns a question that names the closest of the names; None where none is close."""
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), by_folded, n=3, cutoff=0.5)
    if not close:
        return None
    return f"Did you mean {' or '.join(repr(by_folded[name]) for name in close)}?"


def _of_tasks(parts: Sequence[Part], tasks: Sequence[str], benchmark: str) -> list[Part]:
    chosen = []
    for wanted in tasks:
        task, _, subset = wanted.partition("/")
        of_task = [part for part in known_parts(task) if part in parts]
        if not of_task:
            names = list(dict.fromkeys(part.task for part in parts))
            raise InvalidOptionError(
                f"{benchmark} has no task {wanted!r}; its tasks are {_some(names)}.",
                hint=_elsewhere(task) or did_you_mean(task, names) or f"Else: mteb:{task}.",
            )
        chosen += of_subset(of_task, subset) if subset else of_task
    return [part for part in parts if part in chosen]


def _elsewhere(task: str) -> str | None:
    found = known_parts(task)
    return f"{found[0].task} is of {'-'.join(found[0].group[:-1])}." if found else None


def _some(names: Sequence[str]) -> str:
    shown = list(names[:25])
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" or one of {more} more" if more else "")
