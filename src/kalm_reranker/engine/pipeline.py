"""From checked texts to margins: tokenise, encode each passage once, score in batches, count."""

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.encoding.windows import split_into_windows
from kalm_reranker.engine.batches import PairIndex
from kalm_reranker.engine.compiled import CompilerWatch
from kalm_reranker.engine.compute import Compute, DirectCompute
from kalm_reranker.engine.execution import ChosenEngine, make_forward
from kalm_reranker.engine.prefix_cache import PrefixCache
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.engine.scorer import PairScorer
from kalm_reranker.engine.windows import best_windows, pairs_of_windows
from kalm_reranker.errors import InvalidTextError
from kalm_reranker.model.pooling import num_slots
from kalm_reranker.model.reranker_model import RerankerModel
from kalm_reranker.options import LongDocuments
from kalm_reranker.progress import progress_bar
from kalm_reranker.stats import RerankerStats

logger = logging.getLogger(__name__)

# Bytes of passage states that `score_texts` holds at once: it reads passages in blocks.
_BLOCK_BYTES = 2**30
_SMALLEST_BLOCK = 64  # passages, however large their states

# Stands in for the provenance of states that are scored and dropped within one call, so that
# nobody waits for the checkpoint to be hashed.
# Nothing is kept of them either.
_UNRECORDED = Provenance(model_fingerprint="", template_version=0, max_length=0, dtype="")


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """Settings of a pipeline; `KaLMReranker` says what each one means."""

    system_instruction: str
    query_max_length: int
    max_length: int
    batch_size: int
    token_budget: int
    deterministic: bool
    prefix_cache_bytes: int
    long_documents: LongDocuments = "truncate"

    @property
    def max_items(self) -> int:
        """Most passages or pairs in one forward pass."""
        return 1 if self.deterministic else self.batch_size


@dataclass(frozen=True, slots=True)
class TokenizedPassage:
    """A passage as the encoder reads it.

    Attributes:
        windows: Token ids of each window; mostly one.
        truncated: Whether its text was cut.
    """

    windows: list[list[int]]
    truncated: bool

    @property
    def num_tokens(self) -> int:
        """Tokens of all windows."""
        return sum(map(len, self.windows))


class Pipeline:
    """A model and its tokenizer, ready to encode passages and to score queries against them.

    Attributes:
        compute: What runs the model; in the calling thread, unless it is replaced.
        direct: What runs the model in the calling thread.
        cache: Keys and values of passages that were scored before; None where none are kept.

    Args:
        model: The model.
        tokenizer: The tokenizer of the same checkpoint.
        options: Prompt, lengths and batching.
        engine: How the model, which was prepared for it, is executed.
    """

    def __init__(
        self,
        model: RerankerModel,
        tokenizer: RerankerTokenizer,
        options: PipelineOptions,
        engine: ChosenEngine,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.stats = RerankerStats()
        self._unrecorded = replace(
            _UNRECORDED, max_length=options.max_length, long_documents=options.long_documents
        )
        watch = CompilerWatch(
            engine.name == "compiled", lambda: self.stats.add(compiled_in_requests=1)
        )
        self.cache = None
        if options.prefix_cache_bytes:
            self.cache = PrefixCache(model, options.prefix_cache_bytes)
        scorer = PairScorer(
            forward=make_forward(model, engine, tokenizer.yes_id, tokenizer.no_id),
            device=model.device,
            dtype=model.dtype,
            max_items=options.max_items,
            token_budget=options.token_budget,
            cache=self.cache,
        )
        self.direct = DirectCompute(
            model,
            scorer,
            watch,
            max_items=options.max_items,
            token_budget=options.token_budget,
            on_split=lambda: self.stats.add(batches_split=1),
        )
        self.compute: Compute = self.direct

    def prompt(self, query: str, instruction: str) -> Prompt:
        """Returns the decoder input for a query.

        Raises:
            InvalidTextError: The prompt is longer than the model can read.
        """
        prompt = self._tokenized_prompt(query, instruction)
        is_merged = self.cache is not None and not prompt.prefix
        self.stats.add(
            queries=1, queries_truncated=int(prompt.truncated), prefix_mismatches=int(is_merged)
        )
        if prompt.truncated:
            logger.info(
                "a query was cut at query_max_length=%d tokens", self.options.query_max_length
            )
        return prompt

    def _tokenized_prompt(self, query: str, instruction: str) -> Prompt:
        """Returns the decoder input for a query; counts nothing."""
        options = self.options
        ids, truncated = self.tokenizer.encode_prompt(
            query,
            instruction=instruction,
            system_instruction=options.system_instruction,
            query_max_length=options.query_max_length,
        )
        longest = self.model.config.decoder.max_positions
        if len(ids) > longest:
            raise InvalidTextError(
                f"The prompt has {len(ids)} tokens; the model reads at most {longest}.",
                hint="Shorten the instruction: queries are cut, instructions are not.",
            )
        return Prompt(tuple(ids), self._prefix(ids, instruction), truncated)

    def _prefix(self, ids: Sequence[int], instruction: str) -> tuple[int, ...]:
        """Returns the part of a prompt that is kept per passage, if the prompt begins with it."""
        if self.cache is None:
            return ()
        prefix = self.tokenizer.prompt_prefix(
            instruction=instruction, system_instruction=self.options.system_instruction
        )
        # The query follows, and may have merged with the prefix's last characters.
        begins = len(prefix) < len(ids) and tuple(ids[: len(prefix)]) == prefix
        return prefix if begins else ()

    def encode(
        self,
        texts: Sequence[str],
        ratio: int,
        provenance: Provenance,
        show_progress: bool | None,
        *,
        store_on: torch.device,
    ) -> PassageStates:
        """Returns the states of passages, in order, on the device `store_on`."""
        is_kept = provenance is not self._unrecorded
        return self.encode_tokenized(
            self.tokenize(texts),
            ratio,
            provenance,
            show_progress,
            store_on=store_on,
            identities=[object() for _ in texts] if is_kept else None,
        )

    def tokenize(
        self, texts: Sequence[str], max_tokens: int | None = None
    ) -> list[TokenizedPassage]:
        """Returns what the encoder will read of passages; counts nothing.

        Args:
            texts: The passages.
            max_tokens: Cut them at so many tokens of their own, if that is less than the limit.
        """
        limit, prefix = self.options.max_length, self.tokenizer.document_prefix
        shorter = None if max_tokens is None else len(prefix) + max_tokens
        if self.options.long_documents == "windows":
            if shorter is None:
                windows = self.tokenizer.encode_windows(texts, limit)
                return [TokenizedPassage(parts, False) for parts in windows]
            return [
                TokenizedPassage(split_into_windows(ids, prefix, limit), truncated)
                for ids, truncated in self.tokenizer.encode_documents(texts, shorter)
            ]
        tokenized = self.tokenizer.encode_documents(texts, min(limit, shorter or limit))
        return [TokenizedPassage([ids], truncated) for ids, truncated in tokenized]

    def encode_tokenized(
        self,
        passages: Sequence[TokenizedPassage],
        ratio: int,
        provenance: Provenance,
        show_progress: bool | None = False,
        *,
        store_on: torch.device,
        identities: Sequence[Hashable] | None = None,
    ) -> PassageStates:
        """Returns the states of passages that `tokenize` returned; see `PassageStates`."""
        windows = [ids for passage in passages for ids in passage.windows]
        with progress_bar(
            len(windows), label="encode", unit="passages", show=show_progress
        ) as on_progress:
            slots = self.compute.encode(windows, ratio, store_on=store_on, on_progress=on_progress)
        self._count_encoded(passages)
        counts = [passage.num_tokens for passage in passages]
        truncated = [passage.truncated for passage in passages]
        return PassageStates(slots, counts, truncated, ratio, provenance, identities)

    def _count_encoded(self, passages: Sequence[TokenizedPassage]) -> None:
        num_truncated = sum(passage.truncated for passage in passages)
        split = [len(passage.windows) for passage in passages if len(passage.windows) > 1]
        self.stats.add(
            passages_encoded=len(passages),
            passages_truncated=num_truncated,
            passages_split=len(split),
            windows_encoded=sum(split),
        )
        if num_truncated:
            logger.info(
                "%d of %d documents were cut at max_length=%d tokens",
                num_truncated,
                len(passages),
                self.options.max_length,
            )

    def score_states(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        show_progress: bool | None,
        *,
        positions: Sequence[int] | None = None,
    ) -> list[float]:
        """Returns the margin of each (prompt, passage) pair, in order.

        The margin of a passage of several windows is the largest of its windows'.

        Args:
            prompts: The prompts.
            states: Passage states.
            pairs: Which prompt goes with which passage.
            show_progress: See `progress_bar`.
            positions: What errors call each pair, if not its place in `pairs`.

        Raises:
            NonFiniteScoreError: The model overflowed.
        """
        windows = states.windows()
        if windows is not None:
            expanded, places = pairs_of_windows(pairs, windows.owners)
            named = [positions[place] for place in places] if positions else places
            margins = self._score_pairs(prompts, windows.states, expanded, show_progress, named)
            margins = best_windows(margins, places, len(pairs))
        else:
            margins = self._score_pairs(prompts, states, pairs, show_progress, positions)
        self.stats.add(pairs_scored=len(pairs))
        return margins

    def _score_pairs(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        show_progress: bool | None,
        positions: Sequence[int] | None,
    ) -> list[float]:
        """As `score_states`, where every passage is one window."""
        with progress_bar(
            len(pairs), label="score", unit="pairs", show=show_progress
        ) as on_progress:
            return self.compute.score(
                prompts, states, pairs, positions=positions, on_progress=on_progress
            )

    def warm_up(self, num_candidates: int, num_queries: int, instruction: str, ratio: int) -> None:
        """Runs the encoder, and forward passes of the shapes that requests will have."""
        longest = self.options.max_length
        made = [
            self._made_up_states([longest] * num_candidates, ratio),
            self._made_up_states([longest // (1 + index % 4) or 1 for index in range(8)], ratio),
            self._made_up_states([longest], ratio),
        ]
        watch, device = self.direct.watch, self.model.device
        watch.warming_up = True
        try:
            for tokens in (longest, 8):
                self.compute.encode([[0] * tokens], ratio, store_on=device)
            for doubling in range(num_queries):
                words = "word " * min(6 << doubling, self.options.query_max_length)
                prompt = self._tokenized_prompt(words, instruction)
                # Without the cache as well: passages that come as text have no identity.
                for kind in (prompt, Prompt(prompt.ids)):
                    for states in made:
                        pairs = [(0, index) for index in range(len(states))]
                        self.compute.score([kind], states, pairs)
        finally:
            watch.warming_up = False
            if self.cache is not None:
                for states in made:
                    self.cache.forget([(name, ratio) for name in states.identities or ()])

    def _made_up_states(self, lengths: Sequence[int], ratio: int) -> PassageStates:
        """Returns states of passages of these lengths in tokens, as those of real texts."""
        generator = torch.Generator().manual_seed(0)
        rows = sum(num_slots(length, ratio) for length in lengths)
        width = self.model.config.encoder.hidden_width
        slots = torch.randn(rows, width, generator=generator).to(self.model.dtype)
        uncut, names = [False] * len(lengths), [object() for _ in lengths]
        return PassageStates(slots, lengths, uncut, ratio, self._unrecorded, names)

    def score_requests(
        self,
        prompts: Sequence[Prompt],
        states: Sequence[PassageStates],
        show_progress: bool | None,
    ) -> list[list[float]]:
        """Returns the margins of each prompt with its own passages, in shared batches.

        Raises:
            NonFiniteScoreError: The model overflowed; pairs are counted through all requests.
        """
        margins: list[list[float]] = [[] for _ in prompts]
        alike: dict[Hashable, list[int]] = {}  # requests whose states can be joined
        for request, passages in enumerate(states):
            kind = (passages.compression_ratio, passages.provenance)
            where = (passages.slots.dtype, passages.slots.device)
            alike.setdefault((*kind, *where), []).append(request)
        for members in alike.values():
            distinct = {id(states[request]): states[request] for request in members}
            sizes = accumulate((len(passages) for passages in distinct.values()), initial=0)
            starts = dict(zip(distinct, sizes, strict=False))
            pairs = [
                (request, starts[id(states[request])] + index)
                for request in members
                for index in range(len(states[request]))
            ]
            parts = list(distinct.values())
            joined = parts[0] if len(parts) == 1 else PassageStates.concatenate(parts)
            scored = iter(self.score_states(prompts, joined, pairs, show_progress))
            for request in members:
                margins[request] = [next(scored) for _ in range(len(states[request]))]
        return margins

    def score_texts(
        self,
        pairs: Sequence[tuple[str, str]],
        instruction: str,
        ratio: int,
        show_progress: bool | None,
    ) -> list[float]:
        """Returns the margin of each (query, document) pair; distinct texts are read once.

        Raises:
            InvalidTextError: A prompt is longer than the model can read.
            NonFiniteScoreError: The model overflowed.
        """
        prompts: dict[str, int] = {}
        wanted: dict[str, list[int]] = {}  # document -> positions of its pairs
        for position, (query, document) in enumerate(pairs):
            prompts.setdefault(query, len(prompts))
            wanted.setdefault(document, []).append(position)
        prompt_ids = [self.prompt(query, instruction) for query in prompts]
        margins = [0.0] * len(pairs)
        documents = list(wanted)
        for texts in self._blocks(documents, ratio):
            states = self.encode(
                texts, ratio, self._unrecorded, show_progress, store_on=self.model.device
            )
            positions = [position for text in texts for position in wanted[text]]
            indices = [
                (prompts[pairs[position][0]], index)
                for index, text in enumerate(texts)
                for position in wanted[text]
            ]
            scored = self.score_states(
                prompt_ids, states, indices, show_progress, positions=positions
            )
            for position, margin in zip(positions, scored, strict=True):
                margins[position] = margin
        self.stats.add(passages_reused=len(pairs) - len(documents))
        return margins

    def _blocks(self, documents: Sequence[str], ratio: int) -> Iterator[list[str]]:
        """Yields documents whose states are in memory together, all of the longest length."""
        largest_bytes = self.states_bytes(self.options.max_length, ratio)
        most = max(_SMALLEST_BLOCK, _BLOCK_BYTES // largest_bytes)
        block: list[str] = []
        num_windows = 0
        for text in documents:
            windows = 1
            if self.options.long_documents == "windows":
                # Estimated without tokenizing; a token rarely has less than a character.
                windows += len(text) // self.options.max_length
            if block and num_windows + windows > most:
                yield block
                block, num_windows = [], 0
            block.append(text)
            num_windows += windows
        if block:
            yield block

    def states_bytes(self, num_tokens: int, ratio: int) -> int:
        """Returns what the states of a passage of so many tokens take."""
        config = self.model.config.encoder
        return num_slots(num_tokens, ratio) * config.hidden_width * self.model.dtype.itemsize
