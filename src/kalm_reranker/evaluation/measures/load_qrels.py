"""Judgements without their passages: all that measuring a run of somebody else needs."""

from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.data.collection import Qrels
from kalm_reranker.evaluation.data.qrels_files import read_judgements
from kalm_reranker.lines import existing_file


@dataclass(frozen=True, kw_only=True)
class LoadedQrels:
    """Judgements of those queries that can be measured.

    Attributes:
        qrels: Query id -> passage id -> relevance, only queries with a relevant passage.
        path: The file they were read from.
        num_dropped_queries: Queries left out because nothing is judged relevant to them.
    """

    qrels: Qrels
    path: Path
    num_dropped_queries: int


def load_qrels(path: str | Path, *, split: str = "test") -> LoadedQrels:
    """Reads judgements.

    Args:
        path: A file, see `qrels_files.py` for its forms, or a BEIR directory.
        split: Which judgements of a directory: `qrels/<split>.tsv`.

    Raises:
        DataFileError: There is no such file, a line is no judgement, two judgements of one pair
            differ, or nothing is judged relevant; the message names file and line.
    """
    path = Path(path)
    file = _file_of(path, split) if path.is_dir() else path
    qrels: Qrels = {}
    for query_id, passage_id, relevance, number in read_judgements(file):
        judged = qrels.setdefault(query_id, {})
        if judged.setdefault(passage_id, relevance) != relevance:
            raise DataFileError(
                f"{file}, line {number}: expected one judgement for query {query_id!r} and "
                f"passage {passage_id!r}; got {relevance} after {judged[passage_id]}.",
                hint="Keep the judgement that is right.",
            )
    kept = {query_id: judged for query_id, judged in qrels.items() if max(judged.values()) >= 1}
    if not kept:
        raise DataFileError(
            f"{file}: expected judgements above 0; of {len(qrels)} queries none has one.",
            hint="Relevance 0 means judged and not relevant.",
        )
    return LoadedQrels(qrels=kept, path=file, num_dropped_queries=len(qrels) - len(kept))


def _file_of(directory: Path, split: str) -> Path:
    folder = directory / "qrels"
    for name in (f"{split}.tsv", f"{split}.jsonl"):
        found = existing_file(folder / name)
        if found is not None:
            return found
    present = sorted(entry.name for entry in folder.glob("*"))[:10]
    raise DataFileError(
        f"{folder / split}.tsv (or .tsv.gz) does not exist; its folder holds "
        f"{', '.join(present) or 'nothing'}.",
        hint="Name a file of judgements, or a BEIR directory and its split.",
    )
