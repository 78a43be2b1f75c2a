"""KaLM-Reranker as a search model of mteb: passages first, queries against what is stored."""

from typing import TYPE_CHECKING, Any

from kalm_reranker.errors import InputError, InvalidOptionError, UnknownPassageError, shown
from kalm_reranker.extras import import_extra
from kalm_reranker.integrations.mteb_model import MtebModel
from kalm_reranker.options import check_count
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.ranking import Run, ranked_ids

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import (
        CorpusDatasetType,
        EncodeKwargs,
        QueryDatasetType,
        RetrievalOutputType,
        TopRankedDocumentsType,
    )

DEFAULT_CANDIDATES = 100
_ENCODE = ("candidates", "corpus")


class KaLMSearch(MtebModel):
    """KaLM-Reranker under mteb's `SearchProtocol`. Arguments: see `MtebModel`.

    Candidates that a task brings (reranking tasks, `convert_to_reranking`) are scored, and only
    these. Without them BM25 finds some.

    Args:
        model_name: As in `MtebModel`.
        revision: As in `MtebModel`.
        device: As in `MtebModel`.
        num_candidates: Most candidates of a query that BM25 finds.
        encode: "candidates" encodes what is scored; "corpus" everything, in `index`, as a system
            does that does not know its queries: for honest timings, not for large collections (a
            passage takes up to 320 kB at Nano's width, ratio 4 and 1024 tokens).
        settings: As in `MtebModel`.

    Raises:
        InvalidOptionError: A setting is unknown or out of range.
        CheckpointError: The model cannot be found, fetched or used.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        device: str | None = None,
        *,
        num_candidates: int = DEFAULT_CANDIDATES,
        encode: str = "candidates",
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._num_candidates = check_count(num_candidates, "num_candidates")
        if encode not in _ENCODE:
            raise InvalidOptionError(f"encode must be one of {', '.join(_ENCODE)}; got {encode!r}.")
        self._encode_all = encode == "corpus"
        super().__init__(model_name, revision, device, **settings)
        # The number also where it is the default: results then never pass for those of candidates
        # that something else found.
        self._settings = {**settings, "num_candidates": num_candidates, "encode": encode}
        self._corpus: CorpusDatasetType | None = None

    def index(
        self,
        corpus: "CorpusDatasetType",
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,
        hf_subset: str,
        encode_kwargs: "EncodeKwargs",
        num_proc: int | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Takes a corpus to search in, and with `encode="corpus"` makes the states of all of it.

        Args:
            corpus: Rows of "id", "text" and perhaps "title".
            task_metadata: Of the task.
            hf_split: Not used.
            hf_subset: Not used: passages are known by their text.
            encode_kwargs: As in `KaLMCrossEncoder.predict`.
            num_proc: Processes that prepare rows.
            kwargs: Not used; the protocol reserves them.
        """
        self._corpus = corpus
        if self._encode_all:
            self.scorer.encode(
                task_metadata.name,
                _texts(corpus, task_metadata, num_proc),
                show_progress=encode_kwargs.get("show_progress_bar"),
            )

    def search(
        self,
        queries: "QueryDatasetType",
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: "EncodeKwargs",
        top_ranked: "TopRankedDocumentsType | None" = None,
        num_proc: int | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> "RetrievalOutputType":
        """Returns the best candidates of each query with their scores.

        Args:
            queries: Rows of "id", "text" and perhaps "instruction".
            task_metadata: Of the task.
            hf_split: Not used.
            hf_subset: As in `KaLMCrossEncoder.predict`.
            top_k: Most results of a query.
            encode_kwargs: As in `KaLMCrossEncoder.predict`.
            top_ranked: Query id -> ids of its candidates; None to find some by BM25. A query
                that is not in it has no results.
            num_proc: Processes that prepare rows.
            kwargs: Not used; the protocol reserves them.

        Returns:
            Query id -> document id -> score.

        Raises:
            InputError: There is no corpus.
            UnknownPassageError: A candidate is not in the corpus.
        """
        if self._corpus is None:
            raise InputError("There is no corpus to search in.", hint="Call index() first.")
        corpus = self._corpus
        query_ids = list(queries["id"])
        loader = _loader("query", queries, task_metadata, num_proc)
        wanted = self.task_queries(loader, task_metadata, hf_subset)
        candidates: TopRankedDocumentsType
        if top_ranked is None:
            texts = _texts(corpus, task_metadata, num_proc)
            passages = dict(zip(corpus["id"], texts, strict=True))
            depth = min(top_k, self._num_candidates)
            asked = {name: query.text for name, query in zip(query_ids, wanted, strict=True)}
            found = BM25FirstStage(passages).search(asked, depth)
            candidates = {name: list(scores) for name, scores in found.items()}
        else:
            # A passage that is named twice for a query is one result.
            candidates = {name: list(dict.fromkeys(top_ranked.get(name, ()))) for name in query_ids}
            passages = _passages(corpus, candidates, task_metadata, num_proc)
        pairs = [
            (name, query, passage_id)
            for name, query in zip(query_ids, wanted, strict=True)
            for passage_id in candidates[name]
        ]
        scores = self.scorer.score(
            task_metadata.name,
            [query for _, query, _ in pairs],
            [passages[passage_id] for _, _, passage_id in pairs],
            show_progress=encode_kwargs.get("show_progress_bar"),
        )
        run: Run = {name: {} for name in query_ids}
        for (name, _, passage_id), score in zip(pairs, scores, strict=True):
            run[name][passage_id] = score
        self._corpus = None  # the next task brings its own
        return {
            name: {passage_id: found[passage_id] for passage_id in ranked_ids(found)[:top_k]}
            for name, found in run.items()
        }


def _passages(
    corpus: "CorpusDatasetType",
    candidates: "TopRankedDocumentsType",
    task_metadata: "TaskMetadata",
    num_proc: int | None,
) -> dict[str, str]:
    """Returns id -> text of the candidates alone: a corpus may hold millions of other rows."""
    row_of = {passage_id: row for row, passage_id in enumerate(corpus["id"])}
    rows: dict[str, int] = {}
    for query_id, ids in candidates.items():
        for passage_id in ids:
            if passage_id not in row_of:
                raise UnknownPassageError(
                    f"Candidate {shown(passage_id)} of query {shown(query_id)} is not in the "
                    f"corpus of {task_metadata.name}.",
                    hint="Check that the candidates were found in this version of the data.",
                )
            rows[passage_id] = row_of[passage_id]
    chosen = corpus.select(list(rows.values()))
    return dict(zip(rows, _texts(chosen, task_metadata, num_proc), strict=True))


def _texts(
    corpus: "CorpusDatasetType", task_metadata: "TaskMetadata", num_proc: int | None
) -> list[str]:
    """Returns the text of each row as cross-encoders get it: title and body, joined by mteb."""
    if len(corpus) == 0:
        return []
    loader = _loader("document", corpus, task_metadata, num_proc)
    return [text for batch in loader for text in batch["text"]]


def _loader(
    kind: str,
    dataset: "CorpusDatasetType | QueryDatasetType",
    task_metadata: "TaskMetadata",
    num_proc: int | None,
) -> Any:  # noqa: ANN401
    # mteb has no public function for it, and joining titles, instructions and conversations in
    # another way than it does would give other scores than those of a cross-encoder.
    loaders = import_extra("mteb._create_dataloaders", extra="eval", purpose="an mteb run")
    types = import_extra("mteb.types", extra="eval", purpose="an mteb run")
    return loaders.create_dataloader(
        dataset,
        task_metadata=task_metadata,
        prompt_type=types.PromptType(kind),
        num_proc=num_proc,
        batch_size=256,
    )
