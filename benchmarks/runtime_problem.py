"""The decoder step that CPU runtimes are compared on, as files that each of them reads.

Shape letters: Q queries, B candidates of a query, T prompt tokens, C slots, D hidden width.

A folder holds `Inputs` and `decoder.pt`, the decoder's config and weights.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from report import tell
from runtime_inputs import Inputs
from torch import Tensor

import kalm_reranker
from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.checkpoints.resolver import resolve_checkpoint
from kalm_reranker.encoding.passages import encode_passages
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.engine.placement import choose_dtype
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.weights import load_model

DECODER = "decoder.pt"
_DEMO = Path(kalm_reranker.__file__).parent / "data" / "demo"


def make_problem(
    model: str,
    folder: Path,
    *,
    num_queries: int,
    num_candidates: int,
    num_tokens: int,
    num_slots: int,
    ratio: int,
) -> None:
    """Writes the problem: real texts of the demo's collection, as `model` reads and encodes them.

    Every prompt has exactly `num_tokens` tokens and every passage `num_slots` slots, so that no
    runtime sees padding. Each query has candidates of its own.

    Args:
        model: What `KaLMReranker` takes.
        folder: Must exist.
        num_queries: Q.
        num_candidates: B.
        num_tokens: T.
        num_slots: C.
        ratio: Passage tokens of a slot.
    """
    checkpoint = resolve_checkpoint(model)
    config = ModelConfig.from_dict(read_json_object(checkpoint.config_path))
    cpu = torch.device("cpu")
    # Every runtime gets the same states, so they may be made in whatever is fastest here.
    encoder = load_model(
        config, checkpoint.weight_files, dtype=choose_dtype(None, cpu).dtype, device=cpu
    )
    tokenizer = RerankerTokenizer.from_file(
        checkpoint.tokenizer_path, vocab_size=config.encoder.vocab_size
    )
    collection = load_beir(_DEMO)
    queries = list(collection.queries.values())
    settings = checkpoint.settings
    prompts = [
        _prompt_of_length(
            tokenizer,
            queries[number:],
            num_tokens,
            instruction=settings.default_instruction,
            system_instruction=settings.system_instruction,
        )
        for number in range(num_queries)
    ]
    length = num_slots * ratio
    words = " ".join(collection.passages.values()).split()
    count = num_queries * num_candidates
    starts = range(0, len(words) - length, max(1, (len(words) - length) // count))
    # A word is at least a token, so that the limit cuts them all at the same length.
    texts = [" ".join(words[start : start + length]) for start in starts[:count]]
    passages = [cut.ids for cut in tokenizer.encode_documents(texts, length)]
    tell(f"encoding {count} passages of {length} tokens")
    states = encode_passages(encoder, passages, ratio, max_items=8, token_budget=4096, store_on=cpu)
    del encoder
    loaded = load_model(config, checkpoint.weight_files, dtype=torch.float32, device=cpu)
    embedding = loaded.model.encoder.embed_tokens
    with torch.inference_mode():
        embedded = embedding(torch.tensor(prompts)).unsqueeze(1)  # [Q, 1, T, D]
    Inputs(
        prompts=_as_bfloat16_holds(embedded),
        states=_as_bfloat16_holds(
            states.view(num_queries, num_candidates, num_slots, states.shape[1])
        ),
        rows=embedding.weight[[tokenizer.yes_id, tokenizer.no_id]].numpy(),
        softcap=np.array(config.decoder.final_logit_softcap or 0.0, dtype=np.float32),
    ).save(folder)
    torch.save(
        {
            "config": read_json_object(checkpoint.config_path),
            "decoder": loaded.model.decoder.state_dict(),
        },
        folder / DECODER,
    )


def _prompt_of_length(
    tokenizer: RerankerTokenizer, queries: Sequence[str], num_tokens: int, **instructions: str
) -> list[int]:
    """Returns a prompt of exactly `num_tokens` tokens, its query joined from several."""
    query = " ".join(queries)
    kept = num_tokens
    while kept > 0:
        ids = tokenizer.encode_prompt(query, query_max_length=kept, **instructions).ids
        if len(ids) == num_tokens:
            return ids
        kept -= max(1, len(ids) - num_tokens)
    raise SystemExit(f"no query gives a prompt of {num_tokens} tokens; ask for more")


def _as_bfloat16_holds(values: Tensor) -> np.ndarray:
    """Rounds to bfloat16, so that no runtime's own rounding of its inputs is told as its error."""
    return values.bfloat16().float().numpy()
