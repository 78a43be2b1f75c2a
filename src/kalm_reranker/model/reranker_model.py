"""Encoder, decoder and the two rows of the output head that a relevance score needs.

Shape letters: B pairs, P passages, S passage tokens, T prompt tokens, C slots, D hidden width.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.context import Context
from kalm_reranker.model.decoder import Decoder
from kalm_reranker.model.encoder import Encoder
from kalm_reranker.model.pooling import pool_states


class Backbone(nn.Module):
    """Holds encoder and decoder under the names that checkpoints use."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.encoder, config.eoi_token_id)
        self.decoder = Decoder(config.decoder)


class RerankerModel(nn.Module):
    """T5Gemma2, text side only, as a reranker.

    Parameter names are those of the checkpoints (`model.encoder.layers.0.self_attn.q_proj.weight`
    and so on), so that training code and LoRA targets can use them. There is no output head of
    its own: the head is tied to the embedding table and only two of its rows are ever used.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the parameters, and of passage states made by this model."""
        return self.model.encoder.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.model.encoder.embed_tokens.weight.device

    def encode(self, token_ids: Tensor, mask: Tensor, ratio: int | None) -> tuple[Tensor, Tensor]:
        """Encodes and pools a right-padded batch of passages.

        Args:
            token_ids: [P, S] integer.
            mask: [P, S] boolean, True at tokens.
            ratio: Tokens per slot; None is the same as 1.

        Returns:
            Slots [P, C, D] in the model's dtype and their mask [P, C].
        """
        return pool_states(self.model.encoder(token_ids, mask), mask, ratio)

    def answer_logits(
        self,
        prompt_ids: Tensor,
        last_positions: Tensor,
        context: Context,
        answer_ids: Tensor,
    ) -> Tensor:
        """Returns the logits of the answer tokens after each prompt.

        The dot products of the two head rows are taken in float32 also for a bfloat16 model.
        That is a deliberate difference from the reference, whose bfloat16 logits are multiples
        of 1/16 or coarser and so tie passages that the model tells apart; it brings margins
        closer to the float32 ones.

        Args:
            prompt_ids: [B, T] integer, right-padded: the prompt, or what of it follows the
                context's tokens.
            last_positions: [B] integer, index of each prompt's last token among these.
            context: What the prompts attend to; `PassageSlots` for passages alone.
            answer_ids: [2] integer, the ids of "yes" and "no".

        Returns:
            [B, 2] float32.
        """
        embedding = self.model.encoder.embed_tokens
        hidden = self.model.decoder(embedding(prompt_ids), last_positions, context)
        rows = embedding.weight[answer_ids]  # [2, D]
        logits = hidden.float() @ rows.float().T  # [B, D] -> [B, 2]
        softcap = self.config.decoder.final_logit_softcap
        return logits if softcap is None else torch.tanh(logits / softcap) * softcap
