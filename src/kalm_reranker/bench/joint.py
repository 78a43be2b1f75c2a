"""A joint cross-encoder, which reads query and passage in one sequence, from this model's parts.

Shape letters: B pairs, S tokens of prompt and passage together, D hidden width.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kalm_reranker.bench.report import TOGETHER, Way
from kalm_reranker.bench.settings import JOINT
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.workload import Workload
from kalm_reranker.encoding.batching import plan_batches
from kalm_reranker.engine.fused_cpu import fuse_linear_layers
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.encoder import Encoder
from kalm_reranker.model.layers import rotary_tables


class JointEncoder(nn.Module):
    """Bidirectional layers over the whole sequence, and a score from its first position.

    All layers but the last are our `Encoder`. The last computes the one position that is read, as
    our decoder's last layer does.
    """

    def __init__(self, config: ModelConfig, num_layers: int) -> None:
        super().__init__()
        kinds = config.encoder.layer_types
        *first, self.last_type = (kinds[layer % len(kinds)] for layer in range(num_layers))
        self.config = replace(config.encoder, num_layers=num_layers - 1, layer_types=tuple(first))
        self.encoder = Encoder(self.config, config.eoi_token_id)
        self.norm, self.encoder.norm = self.encoder.norm, nn.Identity()  # type: ignore[assignment]
        self.last = Block(self.config)
        self.score = nn.Linear(self.config.hidden_width, 1)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Token ids [B, S] of sequences of one length to scores [B], float32."""
        mask = torch.ones_like(token_ids, dtype=torch.bool)
        hidden = self.encoder(token_ids, mask)  # [B, S, D]
        if self.last_type == "sliding":  # the first position sees so far forward
            hidden = hidden[:, : self.config.sliding_window // 2 + 1]
        cos, sin = rotary_tables(
            self.config.rotary[self.last_type],
            hidden.shape[1],
            self.config.head_width,
            like=hidden,
        )
        normed = self.last.pre_self_attn_layernorm(hidden)
        attention = self.last.self_attn
        queries = attention.queries(normed[:, :1], (cos[:1], sin[:1]))
        attended = attention.attend(queries, *attention.keys_values(normed, (cos, sin)), None)
        read = self.norm(self.last.add_attended(hidden[:, :1], attended))  # [B, 1, D]
        return self.score(read).float().flatten()  # type: ignore[no-any-return]


class JointScorer:
    """Scores with a `JointEncoder` with random weights, batched and executed as our own paths are.

    Args:
        setup: Its sizes, tokenizer, device, dtype, engine and batching.
    """

    def __init__(self, setup: Setup) -> None:
        self.way = Way(path=JOINT, passages=TOGETHER, dtype=dtype_name(setup.dtype))
        self._setup = setup
        with torch.device("meta"):
            model = JointEncoder(setup.config, setup.joint_layers).to(setup.dtype)
        model = model.to_empty(device=setup.device)
        for name, parameter in model.named_parameters():
            if "norm" in name or parameter.ndim < 2:
                nn.init.zeros_(parameter)  # norms are the identity
            else:
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        self._model = model.requires_grad_(False).eval()
        self._forward: Callable[[Tensor], Tensor] = self._model
        if setup.engine.name == "fused":
            fuse_linear_layers(model)
        elif setup.engine.name == "compiled":
            self._forward = torch.compile(self._model, dynamic=False)

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates."""
        setup = self._setup
        prompt = setup.prompt()
        texts = setup.tokenizer.encode_documents(work.documents[:count], setup.max_length)
        pairs = [[*prompt, *text.ids] for text in texts]
        scores = [0.0] * count
        plan = plan_batches(
            [(len(ids),) for ids in pairs],
            max_items=setup.settings.batch_size,
            token_budget=setup.token_budget,
        )
        for batch in plan:
            token_ids = torch.tensor([pairs[index] for index in batch])
            with torch.inference_mode():
                found = self._forward(token_ids.to(setup.device))
            for index, score in zip(batch, found.tolist(), strict=True):
                scores[index] = score
        return scores
