"""What `kalm bench` is asked to measure; checked, and free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.options import check_count, whole_number

OFFICIAL, JOINT, OURS = PATHS = ("official", "cross-encoder", "ours")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of a benchmark.

    Args:
        model: What `KaLMReranker` loads, or the name of a shape ("nano-shape").
        lengths: Tokens of a passage, its prefix included; each is measured at the model's ratio.
        ratios: Compression ratios; each is measured at the longest length.
        candidates: Passages that a query is scored against.
        query_tokens: Tokens of the query, the prompt around it not counted.
        dtype: Of our paths; as in `KaLMReranker`.
        device: As in `KaLMReranker`.
        engine: How our model and the cross-encoder are executed; as in `KaLMReranker`.
        quantization: Of our decoder's weights; as in `KaLMReranker`.
        batch_size: Most passages or pairs in a forward pass, in all paths.
        rounds: How often everything is measured.
        warm_up: Rounds before that, which do not count.
        paths: Which of official, cross-encoder and ours.
        joint_layers: Layers of the cross-encoder; as many as the decoder has, if not given.
        limit_s: Seconds that the measurements may take together; what would take longer is
            measured on fewer candidates, and says so.
        memory: Also measure each path's peak memory, in a process of its own.
        seed: Of texts and random weights.

    Raises:
        InvalidOptionError: A setting is out of range.
    """

    model: str = "pico"
    lengths: Sequence[int] = (128, 256, 512)
    ratios: Sequence[int] = (2, 4, 8, 16, 32)
    candidates: int = 100
    query_tokens: int = 24
    dtype: str | None = None
    device: str | None = None
    engine: str = "auto"
    quantization: str | None = None
    batch_size: int = 32
    rounds: int = 3
    warm_up: int = 1
    paths: Sequence[str] = PATHS
    joint_layers: int | None = None
    limit_s: float = 40.0
    memory: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lengths", "ratios"):
            values = tuple(check_count(value, name) for value in getattr(self, name))
            if not values:
                raise InvalidOptionError(f"{name} must name at least one number; got none.")
            object.__setattr__(self, name, tuple(sorted(set(values))))
        for name in ("candidates", "query_tokens", "batch_size", "rounds"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        if self.joint_layers is not None:
            check_count(self.joint_layers, "cross-encoder layers")
        for name in ("warm_up", "seed"):
            number = whole_number(getattr(self, name))
            if number is None or number < 0:
                raise InvalidOptionError(
                    f"{name} must be a whole number of at least 0; got {getattr(self, name)!r}."
                )
        if not 0 < self.limit_s < float("inf"):
            raise InvalidOptionError(
                f"the time limit must be a positive number of seconds; got {self.limit_s!r}."
            )
        unknown = [path for path in self.paths if path not in PATHS]
        if unknown or not self.paths:
            raise InvalidOptionError(
                f"paths must be some of {', '.join(PATHS)}; got {', '.join(unknown) or 'none'}."
            )
        object.__setattr__(self, "paths", tuple(path for path in PATHS if path in self.paths))
