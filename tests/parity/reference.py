"""The reference reranker, written with Transformers straight from its description.

Nothing here comes from the package under test: the prompt, the pooling and the truncation are
written out a second time, so that a mistake in one does not hide in the other.
"""

from functools import cache
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, T5Gemma2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a query, retrieve documents that answer the query."
PAD_MULTIPLE = 8


@cache
def reference(
    directory: Path, *, dtype: torch.dtype = torch.float32, attention: str = "sdpa"
) -> "Reference":
    """The reference for a checkpoint, loaded once per test session."""
    return Reference(directory, dtype=dtype, attention=attention)


class Reference:
    """Scores pairs as the official code does: padded batches, full logits, last position."""

    def __init__(self, directory: Path, *, dtype=torch.float32, attention="sdpa"):
        self.model = T5Gemma2ForConditionalGeneration.from_pretrained(
            directory, dtype=dtype, attn_implementation=attention
        ).eval()
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(directory / "tokenizer.json"),
            pad_token="<pad>",
            padding_side="right",
            clean_up_tokenization_spaces=False,
        )
        self.yes_id = self.tokenizer.encode("yes", add_special_tokens=False)[-1]
        self.no_id = self.tokenizer.encode("no", add_special_tokens=False)[-1]

    def prompt(self, query: str, *, system: str, instruction: str, query_max_length: int) -> str:
        ids = self.tokenizer.encode(query, add_special_tokens=False)[:query_max_length]
        query = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return (
            f"<bos><start_of_turn>user\n{system}\n\n<Instruct>: {instruction}\n"
            f"<Query>: {query}<end_of_turn>\n<start_of_turn>model\n\n\n\n"
        )

    @torch.inference_mode()
    def encode(self, documents: list[str], *, max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Unpooled states [P, S, D] and mask [P, S] of one padded batch."""
        ids = self.tokenizer(
            [f"<Document>: {document}" for document in documents],
            add_special_tokens=False,
            truncation=True,
            max_length=max_length,
        )["input_ids"]
        return self.encode_ids(ids)

    @torch.inference_mode()
    def encode_ids(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `encode`, of encoder inputs."""
        batch = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        states = self.model.get_encoder()(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        return states, batch["attention_mask"].bool()

    def margins(
        self,
        pairs: list[tuple[str, str]],
        *,
        ratio: int | None,
        system: str = SYSTEM,
        instruction: str = INSTRUCTION,
        max_length: int = 1024,
        query_max_length: int = 512,
        batch_size: int = 32,
    ) -> list[float]:
        ids = self.tokenizer(
            [f"<Document>: {document}" for _, document in pairs],
            add_special_tokens=False,
            truncation=True,
            max_length=max_length,
        )["input_ids"]
        return self.margins_of_ids(
            [(query, document) for (query, _), document in zip(pairs, ids, strict=True)],
            ratio=ratio,
            system=system,
            instruction=instruction,
            query_max_length=query_max_length,
            batch_size=batch_size,
        )

    @torch.inference_mode()
    def margins_of_ids(
        self,
        pairs: list[tuple[str, list[int]]],
        *,
        ratio: int | None,
        system: str = SYSTEM,
        instruction: str = INSTRUCTION,
        query_max_length: int = 512,
        batch_size: int = 32,
    ) -> list[float]:
        """As `margins`, of queries and encoder inputs."""
        margins: list[float] = []
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            states, mask = self.encode_ids([document for _, document in batch])
            slots, slot_mask = mean_of_chunks(states, mask, ratio)
            prompts = self.tokenizer(
                [
                    self.prompt(
                        query,
                        system=system,
                        instruction=instruction,
                        query_max_length=query_max_length,
                    )
                    for query, _ in batch
                ],
                add_special_tokens=False,
                padding=True,
                pad_to_multiple_of=PAD_MULTIPLE,
                return_tensors="pt",
            )
            last = prompts["attention_mask"].sum(1) - 1
            positions, where = last.unique(return_inverse=True)  # all others are not looked at
            logits = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=slots),
                attention_mask=slot_mask.long(),
                decoder_input_ids=prompts["input_ids"],
                decoder_attention_mask=prompts["attention_mask"],
                use_cache=False,
                logits_to_keep=positions,
            ).logits
            at_last = logits[torch.arange(len(batch)), where].float()
            margins += (at_last[:, self.yes_id] - at_last[:, self.no_id]).tolist()
        return margins


def mean_of_chunks(
    states: torch.Tensor, mask: torch.Tensor, ratio: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooling, one chunk after another; padded again with zeros."""
    if ratio is None:
        return states, mask
    pooled = []
    for row, row_mask in zip(states, mask, strict=True):
        tokens = row[row_mask]
        chunks = [tokens[i : i + ratio] for i in range(0, len(tokens), ratio)]
        means = [chunk.float().mean(0) for chunk in chunks]
        pooled.append(torch.stack(means).to(states.dtype))
    lengths = torch.tensor([len(row) for row in pooled])
    padded = torch.nn.utils.rnn.pad_sequence(pooled, batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]
