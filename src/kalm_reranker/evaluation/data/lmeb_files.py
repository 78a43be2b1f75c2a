"""Reads a part of LMEB from the folders of its own download.

    <Family>/<Task>/corpus.jsonl                {"id": "...", "title": "...", "text": "..."}
    <Family>/<Task>/candidates.jsonl            {"scene_id": "...", "candidate_doc_ids": ["..."]}
    <Family>/<Task>/<subset>/queries.jsonl      {"id": "...", "text": "..."}
    <Family>/<Task>/<subset>/qrels.tsv          query-id <tab> corpus-id <tab> score

Passages and candidates lie beside the queries or in a folder above them; tasks with one subset
have no folder for it. A query is searched among the candidates of its scene: its own id, or the
first two words of it (`conv_3_q17` belongs to `conv_3`).

Source: the data and evaluation code of github.com/KaLM-Embedding/LMEB.
"""

from collections.abc import Iterable
from pathlib import Path

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.evaluation.data.beir import read_passages, read_queries
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.judgements import judged_collection
from kalm_reranker.evaluation.data.qrels_files import read_judgements
from kalm_reranker.lines import existing_file, json_object, numbered_lines

_MAX_LEVELS_UP = 2  # <Task>/<scenario>/<kind>, the deepest there is
_SCENE_WORDS = 2


def is_lmeb_folder(path: Path) -> bool:
    """Tells whether a folder holds the queries of a part of LMEB."""
    return all(existing_file(path / name) is not None for name in ("queries.jsonl", "qrels.tsv"))


def load_lmeb(folder: Path, *, name: str) -> Collection:
    """Returns the judged collection whose queries are in a folder of LMEB's download.

    Raises:
        DataFileError: A file is missing or a line is not what it should be.
    """
    queries_file = existing_file(folder / "queries.jsonl")
    qrels_file = existing_file(folder / "qrels.tsv")
    corpus_file = _at_or_above(folder, "corpus.jsonl")
    if queries_file is None or qrels_file is None or corpus_file is None:
        raise DataFileError(
            f"{folder}: expected queries.jsonl and qrels.tsv, and corpus.jsonl there or above.",
            hint="Download KaLM-Embedding/LMEB again, with its folders.",
        )
    passages, titles = read_passages(corpus_file, id_field="id", lenient=True)
    queries = read_queries(queries_file, id_field="id", lenient=True)
    candidates_file = _at_or_above(folder, "candidates.jsonl")
    return judged_collection(
        read_judgements(qrels_file),
        name=name,
        passages=passages,
        titles=titles,
        queries=queries,
        source=str(qrels_file),
        pools=None if candidates_file is None else _pools(candidates_file, queries),
    )


def _at_or_above(folder: Path, name: str) -> Path | None:
    for place in (folder, *list(folder.parents)[:_MAX_LEVELS_UP]):
        found = existing_file(place / name)
        if found is not None:
            return found
    return None


def _pools(path: Path, queries: Iterable[str]) -> dict[str, list[str]]:
    scenes: dict[str, list[str]] = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        record = json_object(line, where)
        scene, ids = record.get("scene_id"), record.get("candidate_doc_ids")
        if not isinstance(ids, list) or scene is None:
            raise DataFileError(
                f'{where}: expected "scene_id" and a list "candidate_doc_ids"; got {shown(line)}.',
                hint="Download KaLM-Embedding/LMEB again.",
            )
        scenes[str(scene)] = [str(one) for one in ids]
    pools = {}
    for query_id in queries:
        scene = query_id if query_id in scenes else "_".join(query_id.split("_")[:_SCENE_WORDS])
        if scene in scenes:
            pools[query_id] = scenes[scene]
    return pools
