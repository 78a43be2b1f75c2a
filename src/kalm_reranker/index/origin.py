"""Whether a reranker may score, or add to, a store: both must agree on where states come from."""

import shlex
from pathlib import Path

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.errors import StatesMismatchError
from kalm_reranker.store.header import StoreHeader


def check_same_model(header: StoreHeader, ours: Provenance, model: str, folder: Path) -> None:
    """Refuses a reranker that is not the one that made the states.

    Args:
        header: Of the store.
        ours: Of the reranker.
        model: The reranker's name.
        folder: The index.

    Raises:
        StatesMismatchError: Another model, tokenizer or template.
    """
    theirs = header.provenance
    reencode = (
        f"Encode its passages again: kalm index create NEW --model {shlex.quote(model)} && "
        f"kalm index add NEW {shlex.quote(str(folder))}"
    )
    if theirs.model_fingerprint != ours.model_fingerprint:
        raise StatesMismatchError(
            f"The index in {folder} was made by model {header.model!r} with fingerprint "
            f"{theirs.model_fingerprint}; this is {model!r} with fingerprint "
            f"{ours.model_fingerprint}.",
            hint=f"{reencode}. Or open the index with its own model.",
        )
    if theirs.template_version != ours.template_version:
        raise StatesMismatchError(
            f"The index in {folder} was made with template version {theirs.template_version} by "
            f"model {theirs.model_fingerprint}; this release has version {ours.template_version}.",
            hint=f"{reencode}.",
        )


def check_same_encoding(header: StoreHeader, ours: Provenance, folder: Path) -> None:
    """Refuses to add with other settings than the states that are there were made with.

    Raises:
        StatesMismatchError: Another length limit, dtype, or choice for documents beyond the limit;
            or special-token text would become control tokens where the index keeps it as text. (The
            other way round nothing is let in that an index of control tokens would not hold.)
    """
    if header.provenance.special_tokens == "text" and ours.special_tokens != "text":
        raise StatesMismatchError(
            f"The index in {folder} was made with special_tokens='text'; the reranker was made "
            f"with {ours.special_tokens!r}.",
            hint="Make the reranker with special_tokens='text'.",
        )
    for name in ("max_length", "dtype", "long_documents"):
        theirs, own = getattr(header.provenance, name), getattr(ours, name)
        if theirs != own:
            raise StatesMismatchError(
                f"The index in {folder} was made with {name}={theirs!r}; the reranker has "
                f"{name}={own!r}, and passages added with it would not be comparable.",
                hint=f"Make the reranker with {name}={theirs!r}, or let the index load its model.",
            )
