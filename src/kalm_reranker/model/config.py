"""What the model code needs to know of a checkpoint's `config.json`, as frozen data.

Source: `configuration_t5gemma2.py` of Transformers 5.23. Its defaults are repeated here because
it leaves out of `config.json` whatever equals them. Configs written before Transformers 5 name
rotary settings and layer types differently (`rope_theta`, `rope_local_base_freq`,
`rope_scaling`, `sliding_window_pattern`); both forms are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kalm_reranker.errors import InvalidCheckpointError

LayerType = Literal["sliding", "full"]

_LAYER_TYPES: dict[str, LayerType] = {"sliding_attention": "sliding", "full_attention": "full"}
_DEFAULT_SLIDING_PATTERN = 6  # every 6th layer is global
_ACTIVATION = "gelu_pytorch_tanh"
# No setting of a model comes near these; larger ones would overflow in tensors.
_LARGEST_INTEGER = 2**31
_LARGEST_REAL = 1e18


@dataclass(frozen=True, kw_only=True)
class RotaryConfig:
    """Rotary position embedding of one layer type.

    Args:
        theta: Base of the frequencies.
        linear_factor: Positions are divided by this (rope_type "linear"); 1.0 for none.
    """

    theta: float
    linear_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Sizes and settings of one stack of layers: the encoder's text part, or the decoder.

    Args:
        hidden_width: D, which is also the width of a stored passage state.
        mlp_width: Width of the gated MLP.
        num_layers: Number of layers.
        num_query_heads: H.
        num_key_value_heads: G; divides H.
        head_width: K.
        vocab_size: V, rows of the shared embedding table.
        max_positions: Longest sequence the positions were made for, in tokens.
        sliding_window: W of the sliding layers, in tokens.
        layer_types: "sliding" or "full", one per layer.
        rotary: Rotary settings per layer type.
        attention_scale: Factor on q.k before the softmax.
        attention_bias: Whether the attention projections have biases.
        norm_eps: Epsilon of every RMSNorm.
        final_logit_softcap: Logits are squashed to +-this by tanh; None for not at all.
    """

    hidden_width: int
    mlp_width: int
    num_layers: int
    num_query_heads: int
    num_key_value_heads: int
    head_width: int
    vocab_size: int
    max_positions: int
    sliding_window: int
    layer_types: tuple[LayerType, ...]
    rotary: Mapping[LayerType, RotaryConfig]
    attention_scale: float
    attention_bias: bool
    norm_eps: float
    final_logit_softcap: float | None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Encoder, decoder and the end-of-image token that has an embedding of its own."""

    encoder: StackConfig
    decoder: StackConfig
    eoi_token_id: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Reads a parsed `config.json`.

        Raises:
            InvalidCheckpointError: Another architecture, a setting of T5Gemma2 that no released
                reranker uses and this code does not run, or a value of the wrong type.
        """
        _check_architecture(config)
        encoder_config = _section(config, "encoder")
        encoder = _stack_from_dict(_section(encoder_config, "text_config", "encoder."), "encoder")
        decoder = _stack_from_dict(_section(config, "decoder"), "decoder")
        for field in ("hidden_width", "vocab_size"):
            ours, theirs = getattr(encoder, field), getattr(decoder, field)
            if ours != theirs:
                raise InvalidCheckpointError(
                    f"config.json: encoder and decoder must have the same {field}; "
                    f"got {ours} and {theirs}."
                )
        # Transformers lets the encoder's value override the top-level one.
        eoi_token_id = _integer(encoder_config, "eoi_token_index", 256_000, "encoder")
        return cls(encoder=encoder, decoder=decoder, eoi_token_id=eoi_token_id)


def _check_architecture(config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type != "t5gemma2":
        raise InvalidCheckpointError(
            f"config.json: model_type must be 't5gemma2' (the architecture of KaLM-Reranker-V1); "
            f"got {model_type!r}, architectures {config.get('architectures')!r}.",
            hint="Choose a KaLM-Reranker-V1 checkpoint; `kalm models` lists the known ones.",
        )
    if config.get("tie_word_embeddings", True) is not True:
        raise InvalidCheckpointError(
            "config.json: tie_word_embeddings must be true, since encoder, decoder and output "
            f"head of T5Gemma2 share one table; got {config['tie_word_embeddings']!r}."
        )


def _section(config: Mapping[str, Any], key: str, path: str = "") -> Mapping[str, Any]:
    value = config.get(key)
    if not isinstance(value, Mapping):
        raise InvalidCheckpointError(
            f"config.json: {path}{key} must be an object; got {type(value).__name__}."
        )
    return value


def _optional_section(config: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    return {} if config.get(key) is None else _section(config, key, f"{path}.")


def _integer(config: Mapping[str, Any], key: str, default: int, path: str) -> int:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LARGEST_INTEGER:
        raise InvalidCheckpointError(
            f"config.json: {path}.{key} must be a positive integer; got {value!r}."
        )
    return value


def _real(config: Mapping[str, Any], key: str, default: float, path: str) -> float:
    value = config.get(key)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < _LARGEST_REAL:
        raise InvalidCheckpointError(
            f"config.json: {path}.{key} must be a positive number; got {value!r}."
        )
    return float(value)


def _stack_from_dict(config: Mapping[str, Any], path: str) -> StackConfig:
    def integer(key: str, default: int) -> int:
        return _integer(config, key, default, path)

    activation = config.get("hidden_activation", _ACTIVATION)
    if activation != _ACTIVATION:
        raise InvalidCheckpointError(
            f"config.json: {path}.hidden_activation must be {_ACTIVATION!r}; got {activation!r}."
        )
    if "sliding_window" in config and config["sliding_window"] is None:
        raise InvalidCheckpointError(
            f"config.json: {path}.sliding_window must be a positive integer; got None."
        )
    num_layers = integer("num_hidden_layers", 26)
    num_query_heads = integer("num_attention_heads", 8)
    num_key_value_heads = integer("num_key_value_heads", 4)
    if num_query_heads % num_key_value_heads:
        raise InvalidCheckpointError(
            f"config.json: {path}.num_attention_heads must be a multiple of num_key_value_heads; "
            f"got {num_query_heads} and {num_key_value_heads}."
        )
    return StackConfig(
        hidden_width=integer("hidden_size", 2304),
        mlp_width=integer("intermediate_size", 9216),
        num_layers=num_layers,
        num_query_heads=num_query_heads,
        num_key_value_heads=num_key_value_heads,
        head_width=integer("head_dim", 256),
        vocab_size=integer("vocab_size", 262_208),
        max_positions=integer("max_position_embeddings", 131_072),
        sliding_window=integer("sliding_window", 4096),
        layer_types=_layer_types(config, num_layers, path),
        rotary=_rotary(config, path),
        attention_scale=_real(config, "query_pre_attn_scalar", 256.0, path) ** -0.5,
        attention_bias=bool(config.get("attention_bias", False)),
        norm_eps=_real(config, "rms_norm_eps", 1e-6, path),
        final_logit_softcap=_real(config, "final_logit_softcapping", 0.0, path) or None,
    )


def _layer_types(config: Mapping[str, Any], num_layers: int, path: str) -> tuple[LayerType, ...]:
    names = config.get("layer_types")
    if names is None:
        pattern = _integer(config, "sliding_window_pattern", _DEFAULT_SLIDING_PATTERN, path)
        return tuple("sliding" if (i + 1) % pattern else "full" for i in range(num_layers))
    known = isinstance(names, list) and all(str(name) in _LAYER_TYPES for name in names)
    if not known or len(names) != num_layers:
        raise InvalidCheckpointError(
            f"config.json: {path}.layer_types must list one of {sorted(_LAYER_TYPES)} for each of "
            f"the {num_layers} layers; got {names!r}."
        )
    return tuple(_LAYER_TYPES[name] for name in names)


def _rotary(config: Mapping[str, Any], path: str) -> dict[LayerType, RotaryConfig]:
    new_form = _optional_section(config, "rope_parameters", path)
    # The old keys; `rope_scaling` belongs to the global layers only.
    old_theta = {
        "full_attention": _real(config, "rope_theta", 1_000_000.0, path),
        "sliding_attention": _real(config, "rope_local_base_freq", 10_000.0, path),
    }
    old_scaling = {"full_attention": _optional_section(config, "rope_scaling", path)}
    rotary: dict[LayerType, RotaryConfig] = {}
    for name, layer_type in _LAYER_TYPES.items():
        where = f"{path}.rope_parameters.{name}"
        values = {
            **_optional_section(new_form, name, f"{path}.rope_parameters"),
            **old_scaling.get(name, {}),
        }
        rope_type = values.get("rope_type", "default")
        if values.get("type", rope_type) != rope_type:
            # Transformers 4 read this key, Transformers 5 ignores it: two different models.
            raise InvalidCheckpointError(
                f"config.json: {where} has type {values['type']!r} and rope_type {rope_type!r}.",
                hint="Keep rope_type alone, with the value that the weights were trained with.",
            )
        if rope_type not in ("default", "linear"):
            raise InvalidCheckpointError(
                f"config.json: {where}.rope_type must be 'default' or 'linear'; got {rope_type!r}."
            )
        if rope_type == "linear" and values.get("factor") is None:
            raise InvalidCheckpointError(f"config.json: {where} is 'linear' and has no factor.")
        rotary[layer_type] = RotaryConfig(
            theta=_real(values, "rope_theta", old_theta[name], where),
            linear_factor=_real(values, "factor", 1.0, where) if rope_type == "linear" else 1.0,
        )
    return rotary
