"""What every path is measured with: tokenizer, prompt, device, dtype, lengths. No weights."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kalm_reranker.bench.inputs import passage_texts, query_text
from kalm_reranker.bench.settings import BenchSettings
from kalm_reranker.bench.workload import Workload
from kalm_reranker.checkpoints import Checkpoint, model_fingerprint, resolve_checkpoint
from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.engine.execution import ChosenEngine, choose_engine, choose_quantization
from kalm_reranker.engine.key_value_arena import ROWS
from kalm_reranker.engine.placement import choose_device, choose_dtype, default_token_budget
from kalm_reranker.engine.placement import dtype_name as name_of
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.pooling import check_ratio, num_slots
from kalm_reranker.options import QuantizationName, check_count
from kalm_reranker.prompts import TEMPLATE_VERSION


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A checkpoint without its weights, and how it is run.

    Args:
        settings: What is asked for.
        checkpoint: The files.
        config: Sizes of the model.
        tokenizer: The checkpoint's tokenizer, used by all paths: token ids are the same by
            contract, and none wins or loses time with them.
        device: Where everything runs.
        dtype: Of our paths and of the cross-encoder.
        engine: How they are executed.
        quantization: Of our decoder's weights.
        ratio: Compression ratio where lengths are compared: the model's own.
        query: A query of the wanted number of tokens.
        prompt_ids: The decoder's input.
        provenance: What stored states carry.
    """

    settings: BenchSettings
    checkpoint: Checkpoint
    config: ModelConfig
    tokenizer: RerankerTokenizer
    device: torch.device
    dtype: torch.dtype
    engine: ChosenEngine
    quantization: QuantizationName | None
    ratio: int
    query: str
    prompt_ids: tuple[int, ...]
    provenance: Provenance

    @classmethod
    def of(cls, settings: BenchSettings, model: str | Path) -> "Setup":
        """Reads everything but the weights.

        Args:
            settings: What is asked for.
            model: What `resolve_checkpoint` takes: of a shape, the folder it was written to.

        Raises:
            CheckpointError: The model cannot be found, fetched or used.
            InvalidOptionError: A setting does not fit the model or the machine.
        """
        device = choose_device(settings.device)
        dtype, _ = choose_dtype(settings.dtype, device)
        engine = choose_engine(settings.engine, device, dtype)
        checkpoint = resolve_checkpoint(model)
        config = ModelConfig.from_dict(read_json_object(checkpoint.config_path))
        longest = check_count(
            max(settings.lengths), "lengths", largest=config.encoder.max_positions
        )
        check_count(settings.query_tokens, "query_tokens", largest=config.decoder.max_positions)
        tokenizer = RerankerTokenizer.from_file(
            checkpoint.tokenizer_path, vocab_size=config.encoder.vocab_size
        )
        query = query_text(tokenizer, length=settings.query_tokens, seed=settings.seed)
        prompt = tokenizer.encode_prompt(
            query,
            instruction=checkpoint.settings.default_instruction,
            system_instruction=checkpoint.settings.system_instruction,
            query_max_length=settings.query_tokens,
        )
        if len(prompt.ids) > config.decoder.max_positions:
            raise InvalidOptionError(
                f"The prompt has {len(prompt.ids)} tokens; the model reads at most "
                f"{config.decoder.max_positions}.",
                hint="Ask for fewer --query-tokens.",
            )
        return cls(
            settings=settings,
            checkpoint=checkpoint,
            config=config,
            tokenizer=tokenizer,
            device=device,
            dtype=dtype,
            engine=engine,
            quantization=choose_quantization(settings.quantization, engine, device, dtype),
            ratio=check_ratio(checkpoint.settings.default_ratio),
            query=query,
            prompt_ids=tuple(prompt.ids),
            provenance=Provenance(
                model_fingerprint=model_fingerprint(checkpoint),
                template_version=TEMPLATE_VERSION,
                max_length=longest,
                dtype=name_of(dtype),
            ),
        )

    @property
    def max_length(self) -> int:
        """The longest passage measured, in tokens."""
        return max(self.settings.lengths)

    @property
    def token_budget(self) -> int:
        """Most tokens in a forward pass of our paths and of the cross-encoder."""
        return default_token_budget(self.device)

    @property
    def joint_layers(self) -> int:
        """Layers of the cross-encoder."""
        return self.settings.joint_layers or self.config.decoder.num_layers

    @property
    def instruction(self) -> str:
        """The task instruction."""
        return self.checkpoint.settings.default_instruction

    @property
    def points(self) -> list[tuple[int, int]]:
        """(length, ratio): each length at the model's ratio, each ratio at the longest length."""
        points = [(length, self.ratio) for length in self.settings.lengths]
        points += [(self.max_length, ratio) for ratio in self.settings.ratios]
        return list(dict.fromkeys(points))

    @property
    def prefix_cache_bytes(self) -> int:
        """What the prefix cache has to hold so that no candidate of any point is dropped."""
        prefix = self.tokenizer.prompt_prefix(
            instruction=self.instruction,
            system_instruction=self.checkpoint.settings.system_instruction,
        )
        decoder = self.config.decoder
        values = 2 * decoder.num_layers * decoder.num_key_value_heads * decoder.head_width
        # In whole blocks, and one for each passage to spare.
        rows = sum(
            len(prefix) + num_slots(length, ratio) + 2 * ROWS for length, ratio in self.points
        )
        return rows * self.settings.candidates * values * self.dtype.itemsize

    def prompt(self) -> list[int]:
        """Tokenises the prompt, as every request has to."""
        return self.tokenizer.encode_prompt(
            self.query,
            instruction=self.instruction,
            system_instruction=self.checkpoint.settings.system_instruction,
            query_max_length=self.settings.query_tokens,
        ).ids

    def documents(self, length: int) -> list[str]:
        """Returns the candidates of one length."""
        return passage_texts(
            self.tokenizer,
            count=self.settings.candidates,
            length=length,
            seed=self.settings.seed,
        )

    def workload(self, documents: Sequence[str], length: int, ratio: int) -> Workload:
        """Returns candidates of one length with states at one ratio.

        The states are random: scoring takes the same time for any values, and encoding a hundred
        long passages for the decoder's sake would take longer than the rest of the benchmark.
        Encoder states are normalised, so numbers of deviation 1 are of their size.
        """
        slots = num_slots(length, ratio) * len(documents)
        generator = torch.Generator().manual_seed(self.settings.seed)
        values = torch.randn(
            slots, self.config.encoder.hidden_width, generator=generator, dtype=self.dtype
        )

        def states(identities: Sequence[Hashable] | None) -> PassageStates:
            counts, truncated = [length] * len(documents), [False] * len(documents)
            return PassageStates(values, counts, truncated, ratio, self.provenance, identities)

        return Workload(
            query=self.query,
            instruction=self.instruction,
            documents=documents,
            length=length,
            ratio=ratio,
            states=states(None),
            kept_states=states([(length, ratio, index) for index in range(len(documents))]),
        )
