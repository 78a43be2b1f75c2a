"""The residual block that encoder and decoder layers have in common."""

from torch import Tensor, nn

from kalm_reranker.model.attention import Attention
from kalm_reranker.model.config import StackConfig
from kalm_reranker.model.layers import GatedMLP, RMSNorm


class Block(nn.Module):
    """Attention and MLP, each with a norm before and after it, added to the residual.

    Subclasses say what attends to what.
    """

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        width, eps = config.hidden_width, config.norm_eps
        self.self_attn = Attention(config)
        self.pre_self_attn_layernorm = RMSNorm(width, eps)
        self.post_self_attn_layernorm = RMSNorm(width, eps)
        self.mlp = GatedMLP(config)
        self.pre_feedforward_layernorm = RMSNorm(width, eps)
        self.post_feedforward_layernorm = RMSNorm(width, eps)

    def add_attended(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Adds the attention's output, then the MLP's, to the residual [.., D]."""
        hidden = hidden + self.post_self_attn_layernorm(attended)
        transformed = self.mlp(self.pre_feedforward_layernorm(hidden))
        return hidden + self.post_feedforward_layernorm(transformed)  # type: ignore[no-any-return]
