"""`KaLMReranker`: the one object that users of the package meet first."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, overload

import torch

from kalm_reranker.calibration import Calibration, CalibrationOrigin, as_calibration
from kalm_reranker.checkpoints import (
    Checkpoint,
    checkpoint_identity,
    model_fingerprint,
    resolve_checkpoint,
)
from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.texts import check_documents, check_pairs, check_query, check_text
from kalm_reranker.encoding.tokenizer import RerankerTokenizer, SpecialTokens
from kalm_reranker.encoding.windows import (
    check_long_documents,
    check_window_length,
    check_window_ratio,
)
from kalm_reranker.engine.execution import (
    choose_engine,
    choose_quantization,
    prepare_model,
)
from kalm_reranker.engine.pipeline import Pipeline, PipelineOptions
from kalm_reranker.engine.placement import (
    choose_device,
    choose_dtype,
    default_prefix_cache_bytes,
    default_token_budget,
    dtype_name,
)
from kalm_reranker.engine.prefix_cache import PrefixCacheStats
from kalm_reranker.engine.threads import apply_threads, choose_threads
from kalm_reranker.errors import (
    InputError,
    InvalidCheckpointError,
    InvalidOptionError,
    StatesMismatchError,
)
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.model.weights import load_model
from kalm_reranker.options import (
    UNSET,
    EngineName,
    LongDocuments,
    QuantizationName,
    RatioOption,
    Unset,
    check_bytes,
    check_count,
)
from kalm_reranker.prompts import TEMPLATE_VERSION
from kalm_reranker.scoring import ScoredPair, scored_pair
from kalm_reranker.stats import RerankerStats

logger = logging.getLogger(__name__)


class RankedDocument(TypedDict):
    """One result of `KaLMReranker.rank`."""

    corpus_id: int
    score: float
    raw_score: NotRequired[float]
    margin: NotRequired[float]
    text: NotRequired[str]


class ScoreRequest(NamedTuple):
    """A query and the passages it is scored against, for `KaLMReranker.score_many`.

    Attributes:
        query: The query.
        states: What `encode` returned, or a part of it.
        instruction: The task instruction; the checkpoint's default, if None.
    """

    query: str
    states: PassageStates
    instruction: str | None = None


class KaLMReranker:
    """Scores how well documents answer a query.

    Args:
        model: A short name (`pico`, `nano`, `small`, `large`, ...), a checkpoint directory, or a
            hub id. `kalm models` lists the names.
        device: PyTorch device; CUDA where there is one, else the CPU, if not given.
        dtype: "float32", "bfloat16", "float16" or a torch dtype. If not given: bfloat16 on CUDA
            and on CPUs that multiply bfloat16 natively, else float32. (The reference takes
            float32 on every CPU.)
        batch_size: Most passages, or pairs, in one forward pass.
        query_max_length: Tokens a query is cut at; the prompt around it does not count. If not
            given: the checkpoint's own value, or 512.
        max_length: Tokens a document is cut at, or of a window (see `long_documents`), the
            template's prefix included; at most the positions the model has. If not given: the
            checkpoint's own value, or 1024.
        chunk_size: Tokens per stored state, under the reference's name; None for no pooling.
            If not given: the checkpoint's own ratio, or 4.
        compression_ratio: The same as `chunk_size`, under the name used everywhere else here.
        system_instruction: Text that opens the prompt; the checkpoint's own, if not given.
        special_tokens: "control" (as the reference): special-token text inside a query,
            document or instruction becomes that token. "text": it stays text; choose this for
            untrusted input.
        long_documents: What becomes of documents of more than `max_length` tokens. "truncate" (as
            the reference): the rest is not read, and `stats` count it. "windows": they are read in
            windows of `max_length` tokens that overlap by an eighth of it, and score as their
            best window does; compression ratios must then divide `max_length`
            (docs/scores.md).
        deterministic: Gives every passage and every pair a forward pass of its own, so that a
            score is bitwise the same whatever else is in the request. Slower; see
            docs/scores.md for the cost.
        token_budget: Most tokens in one forward pass, padding included; a default for the
            device, if not given.
        prefix_cache_bytes: Most memory, on the device, for keys and values of passages that were
            scored before (docs/performance.md): a second query with the same instruction costs a
            fraction of the first. If not given: 1 GiB on a CPU, a quarter of a GPU's free memory.
            0 keeps none.
        engine: How the model is executed: "eager" (plain PyTorch), "fused" (oneDNN's linear
            layers, on CPUs), or "compiled" (PyTorch's compiler, and CUDA graphs); see
            docs/performance.md. "auto" takes the fastest that needs no compilation.
        quantization: "int8" keeps the decoder's weights in 8 bits: faster on CPUs that multiply
            bytes natively, and outside the exactness contract (docs/performance.md says by how
            much margins move). Passage states do not depend on it. None keeps them as they are.
        calibration: A calibration, or the file that `kalm calibrate` wrote. Scores are then
            calibrated probabilities, in the same order; margins stay as they are, and results of
            `rank` have a `raw_score` (docs/calibration.md).
        threads: Threads that PyTorch computes with on a CPU, in the whole process. If not given:
            PyTorch's own number, or fewer where this process may use fewer cores.
        revision: Branch, tag or commit on the hub.
        token: Access token for the hub; the one that is logged in, if not given.
        cache_dir: Where the hub's files are kept; the hub's own cache, if not given.
        local_files_only: Never reach for the network.

    Raises:
        CheckpointError: The model cannot be found, fetched or used.
        CalibrationError: The calibration cannot be read, or was fitted to another model.
        InputError: A setting is out of range.

    Example:
        >>> reranker = KaLMReranker("pico")
        >>> ranked = reranker.rank(
        ...     "What is the capital of China?",
        ...     ["Gravity attracts bodies toward one another.", "The capital of China is Beijing."],
        ... )
        >>> [result["corpus_id"] for result in ranked]
        [1, 0]

    Source: interface of the KaLM-Reranker-V1 model cards. Deliberate differences: the default
    dtype on CPUs, each distinct document of a call is encoded once, and scores are computed in
    double precision from float32 logits.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int = 32,
        query_max_length: int | Unset = UNSET,
        max_length: int | Unset = UNSET,
        chunk_size: RatioOption = UNSET,
        *,
        compression_ratio: RatioOption = UNSET,
        system_instruction: str | None = None,
        special_tokens: SpecialTokens = "control",
        long_documents: LongDocuments = "truncate",
        deterministic: bool = False,
        token_budget: int | None = None,
        prefix_cache_bytes: int | None = None,
        engine: EngineName = "auto",
        quantization: QuantizationName | None = None,
        calibration: Calibration | str | os.PathLike[str] | None = None,
        threads: int | None = None,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> None:
        # Settings that need no checkpoint are checked before anything is fetched or loaded.
        batch_size = check_count(batch_size, "batch_size")
        ratio = _chosen_ratio(chunk_size, compression_ratio)
        if not isinstance(deterministic, bool):
            raise InvalidOptionError(f"deterministic must be True or False; got {deterministic!r}.")
        long_documents = check_long_documents(long_documents)
        self.device = choose_device(device)
        self.dtype, self._dtype_reason = choose_dtype(dtype, self.device)
        self.engine = choose_engine(engine, self.device, self.dtype)
        self.quantization = choose_quantization(quantization, self.engine, self.device, self.dtype)
        self.threads = choose_threads(threads)
        self.calibration = as_calibration(calibration)
        self._scored_pair = (
            scored_pair if self.calibration is None else self.calibration.scored_pair
        )
        self._remarked: set[str] = set()
        if token_budget is None:
            token_budget = default_token_budget(self.device)
        token_budget = check_count(token_budget, "token_budget")
        self.checkpoint: Checkpoint = resolve_checkpoint(
            model,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        # Fingerprints are computed later, when states are first made to be kept; by then the files
        # must still be the ones that are loaded here.
        self._loaded_identity = checkpoint_identity(self.checkpoint)
        settings = self.checkpoint.settings
        config = ModelConfig.from_dict(read_json_object(self.checkpoint.config_path))
        self.compression_ratio = check_ratio(settings.default_ratio if ratio is UNSET else ratio)
        self.default_instruction = settings.default_instruction
        if system_instruction is None:
            system_instruction = settings.system_instruction
        if max_length is UNSET:
            max_length = settings.max_length
        if query_max_length is UNSET:
            query_max_length = settings.query_max_length
        options = PipelineOptions(
            system_instruction=check_text(system_instruction, "system_instruction"),
            query_max_length=check_count(
                query_max_length, "query_max_length", largest=config.decoder.max_positions
            ),
            max_length=check_count(max_length, "max_length", largest=config.encoder.max_positions),
            batch_size=batch_size,
            token_budget=token_budget,
            deterministic=deterministic,
            prefix_cache_bytes=check_bytes(prefix_cache_bytes or 0, "prefix_cache_bytes"),
            long_documents=long_documents,
        )
        tokenizer = RerankerTokenizer.from_file(
            self.checkpoint.tokenizer_path,
            vocab_size=config.encoder.vocab_size,
            special_tokens=special_tokens,
        )
        if long_documents == "windows":
            check_window_length(options.max_length, len(tokenizer.document_prefix))
            check_window_ratio(self.compression_ratio, options.max_length)
        if self.calibration is not None:
            self._check_calibration(self.calibration, options)
        loaded = load_model(
            config, self.checkpoint.weight_files, dtype=self.dtype, device=self.device
        )
        if prefix_cache_bytes is None:  # a share of what the weights leave
            share = default_prefix_cache_bytes(self.device)
            options = replace(options, prefix_cache_bytes=share)
        if self.device.type == "cpu":
            apply_threads(self.threads)
        prepare_model(loaded, self.engine, self.quantization)
        self._pipeline = Pipeline(loaded, tokenizer, options, self.engine)
        self._provenance: Provenance | None = None
        logger.info("loaded %r", self)

    def __repr__(self) -> str:
        options = self.options
        quantized = "" if self.quantization is None else f"quantization={self.quantization!r}, "
        windows = "long_documents='windows', " if options.long_documents == "windows" else ""
        threads = f"threads={self.threads.number} ({self.threads.reason}), "
        calibrated = "" if self.calibration is None else f", calibration='{self.calibration}'"
        return (
            f"KaLMReranker({self.checkpoint.name!r}, device={str(self.device)!r}, "
            f"dtype={dtype_name(self.dtype)!r} ({self._dtype_reason}), "
            f"engine={self.engine.name!r} ({self.engine.reason}), {quantized}"
            f"{threads if self.device.type == 'cpu' else ''}"
            f"compression_ratio={self.compression_ratio}, max_length={options.max_length}, "
            f"{windows}query_max_length={options.query_max_length}, "
            f"batch_size={options.batch_size}{calibrated})"
        )

    @property
    def options(self) -> PipelineOptions:
        """Prompt, lengths and batching in use."""
        return self._pipeline.options

    @property
    def stats(self) -> RerankerStats:
        """Counts of what was read, cut and scored since the reranker was made."""
        return self._pipeline.stats

    @property
    def prefix_cache_stats(self) -> PrefixCacheStats | None:
        """What the prefix cache holds and what it brought; None where there is none."""
        cache = self._pipeline.cache
        return None if cache is None else cache.stats()

    @property
    def pipeline(self) -> Pipeline:
        """The steps on their own, for servers and others who share them between requests."""
        return self._pipeline

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self._pipeline.model.config

    @property
    def width(self) -> int:
        """D, the values of a passage state."""
        return self.config.encoder.hidden_width

    def is_query_cut(self, query: str) -> bool:
        """Returns whether a query is longer than `query_max_length` tokens, so that it is cut."""
        return self._pipeline.tokenizer.count_tokens(query) > self.options.query_max_length

    def count_prompt_tokens(self, query: str, instruction: str | None = None) -> tuple[int, int]:
        """Returns the tokens that the decoder reads for a query, and how many of them are its own.

        The others come first, and are the same for every query with this instruction.

        Raises:
            InvalidTextError: The query cannot be read or is empty.
        """
        check_query(query)
        prompt = self._pipeline.prompt(query, self._instruction(instruction))
        return len(prompt.ids), len(prompt.rest)

    @property
    def provenance(self) -> Provenance:
        """What passage states made by this reranker carry. Hashes the checkpoint once.

        Raises:
            InvalidCheckpointError: Files of the checkpoint were replaced since they were loaded.
        """
        if self._provenance is None:
            fingerprint = model_fingerprint(self.checkpoint)
            if checkpoint_identity(self.checkpoint) != self._loaded_identity:
                raise InvalidCheckpointError(
                    f"Files in {self.checkpoint.directory} changed since the model was loaded, so "
                    "its fingerprint cannot be told.",
                    hint="Load the model again.",
                )
            self._provenance = Provenance(
                model_fingerprint=fingerprint,
                template_version=TEMPLATE_VERSION,
                max_length=self.options.max_length,
                dtype=dtype_name(self.dtype),
                special_tokens=self._pipeline.tokenizer.special_tokens,
                long_documents=self.options.long_documents,
            )
        return self._provenance

    @overload
    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        instruction: str | None = ...,
        *,
        return_margin: Literal[False] = ...,
        compression_ratio: RatioOption = ...,
        show_progress: bool | None = ...,
    ) -> list[float]: ...

    @overload
    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        instruction: str | None = ...,
        *,
        return_margin: Literal[True],
        compression_ratio: RatioOption = ...,
        show_progress: bool | None = ...,
    ) -> list[ScoredPair]: ...

    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        instruction: str | None = None,
        *,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
        show_progress: bool | None = None,
    ) -> list[float] | list[ScoredPair]:
        """Scores (query, document) pairs.

        Args:
            pairs: The pairs; an empty list gives an empty list. Each distinct query and document
                is read once.
            instruction: The task instruction; the checkpoint's default, if not given.
            return_margin: Also return the margin, yes logit - no logit.
            compression_ratio: For this call; the reranker's own, if not given.
            show_progress: None shows a progress bar for long lists on a terminal.

        Returns:
            P(yes) of each pair, or what the calibration makes of it, in the order of `pairs`; with
            `return_margin` a list of `ScoredPair(score, margin)`.

        Raises:
            InvalidPairError: An element is not a pair.
            InvalidTextError: A text cannot be read, or a query is empty.
            InvalidRatioError: The ratio is not a positive integer or None, or does not divide the
                length of windows.
            NonFiniteScoreError: The model overflowed.
        """
        chosen, ratio = self._instruction(instruction), self._ratio(compression_ratio)
        margins = self._pipeline.score_texts(check_pairs(pairs), chosen, ratio, show_progress)
        self._remark(len(margins), ratio, chosen, logging.WARNING)
        return self._as_scores(margins, return_margin)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        instruction: str | None = None,
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
        show_progress: bool | None = None,
    ) -> list[RankedDocument]:
        """Sorts documents by relevance to a query.

        Args:
            query: The query.
            documents: The documents; an empty list gives an empty list.
            instruction: The task instruction; the checkpoint's default, if not given.
            top_k: Return only the best; all of them, if not given.
            return_documents: Add the document's `text` to each result.
            return_margin: Add the `margin`, yes logit - no logit, to each result.
            compression_ratio: For this call; the reranker's own, if not given.
            show_progress: None shows a progress bar for long lists on a terminal.

        Returns:
            Results sorted by falling score; equal ones keep the order of `documents`.
            `corpus_id` is the position in `documents`. With a calibration, `score` is the
            calibrated one, and `raw_score` is P(yes) of the model itself.

        Raises:
            InvalidTextError: A text cannot be read, or the query is empty.
            InvalidOptionError: `top_k` is not positive.
            InvalidRatioError: The ratio is not a positive integer or None, or does not divide the
                length of windows.
            NonFiniteScoreError: The model overflowed.
        """
        check_query(query)
        texts = check_documents(documents)
        if top_k is not None:
            check_count(top_k, "top_k")
        chosen, ratio = self._instruction(instruction), self._ratio(compression_ratio)
        margins = self._pipeline.score_texts(
            [(query, text) for text in texts], chosen, ratio, show_progress
        )
        self._remark(len(margins), ratio, chosen, logging.WARNING)
        # By margin, since scores of very relevant documents round to the same 1.0.
        order = sorted(range(len(texts)), key=lambda index: -margins[index])[:top_k]
        results: list[RankedDocument] = []
        for index in order:
            pair = self._scored_pair(margins[index])
            result = RankedDocument(corpus_id=index, score=pair.score)
            if self.calibration is not None:
                result["raw_score"] = pair.raw_score
            if return_margin:
                result["margin"] = pair.margin
            if return_documents:
                result["text"] = texts[index]
            results.append(result)
        return results

    def encode(
        self,
        documents: Sequence[str],
        *,
        compression_ratio: RatioOption = UNSET,
        show_progress: bool | None = None,
    ) -> PassageStates:
        """Reads documents once, so that `score` can use them for any number of queries.

        Args:
            documents: The documents.
            compression_ratio: Tokens per stored state; the reranker's own, if not given.
            show_progress: None shows a progress bar for long lists on a terminal.

        Returns:
            Their states, in order, in the reranker's dtype and in main memory.

        Raises:
            InvalidTextError: A text cannot be read.
            InvalidRatioError: The ratio is not a positive integer or None, or does not divide the
                length of windows.
            InvalidCheckpointError: Files of the checkpoint were replaced since they were loaded.
        """
        texts, ratio = check_documents(documents), self._ratio(compression_ratio)
        return self._pipeline.encode(
            texts, ratio, self.provenance, show_progress, store_on=torch.device("cpu")
        )

    @overload
    def score(
        self,
        query: str,
        states: PassageStates,
        instruction: str | None = ...,
        *,
        return_margin: Literal[False] = ...,
        compression_ratio: RatioOption = ...,
        show_progress: bool | None = ...,
    ) -> list[float]: ...

    @overload
    def score(
        self,
        query: str,
        states: PassageStates,
        instruction: str | None = ...,
        *,
        return_margin: Literal[True],
        compression_ratio: RatioOption = ...,
        show_progress: bool | None = ...,
    ) -> list[ScoredPair]: ...

    def score(
        self,
        query: str,
        states: PassageStates,
        instruction: str | None = None,
        *,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
        show_progress: bool | None = None,
    ) -> list[float] | list[ScoredPair]:
        """Scores a query against passages that were encoded before.

        States made at another length limit, in another dtype, or with another `long_documents` or
        `special_tokens` are scored as they are.

        Args:
            query: The query.
            states: What `encode` returned, or a part of it.
            instruction: The task instruction; the checkpoint's default, if not given.
            return_margin: Also return the margin, yes logit - no logit.
            compression_ratio: A multiple of the states' own ratio to pool them to first; the
                states' own, if not given.
            show_progress: None shows a progress bar for long lists on a terminal.

        Returns:
            P(yes) of each passage, or what the calibration makes of it, in the order of `states`;
            with `return_margin` a list of `ScoredPair(score, margin)`.

        Raises:
            InputError: `states` are no PassageStates.
            StatesMismatchError: The states come from another model or template.
            InvalidRatioError: The ratio cannot be derived from the states'.
            InvalidTextError: The query cannot be read or is empty.
            NonFiniteScoreError: The model overflowed.
        """
        check_query(query)
        self._check_provenance(states)
        if compression_ratio is not UNSET:
            states = states.repool(compression_ratio)
        chosen = self._instruction(instruction)
        prompt = self._pipeline.prompt(query, chosen)
        pairs = [(0, index) for index in range(len(states))]
        margins = self._pipeline.score_states([prompt], states, pairs, show_progress)
        self._remark(len(margins), states.compression_ratio, chosen)
        return self._as_scores(margins, return_margin)

    def score_many(
        self, requests: Sequence[ScoreRequest], *, show_progress: bool | None = None
    ) -> list[list[ScoredPair]]:
        """Scores several queries, each against its own passages, in shared forward passes.

        For callers who hold many small requests at once. A score is the same as from `score`
        within the exactness contract (docs/scores.md).

        Args:
            requests: `ScoreRequest`, or tuples of query, states and, if wanted, instruction.
                Passages that several requests share are best given as the same object.
            show_progress: None shows a progress bar for long lists on a terminal.

        Returns:
            For each request a list of `ScoredPair(score, margin)`, in the order of its states.

        Raises:
            InputError: A request is none, or as in `score`.
        """
        prompts, states = [], []
        for number, request in enumerate(requests):
            if not isinstance(request, tuple) or not 2 <= len(request) <= 3:
                raise InputError(
                    f"requests[{number}] must be a ScoreRequest, or a tuple of query, states and, "
                    f"if wanted, instruction; got {type(request).__name__}."
                )
            wanted = ScoreRequest(*request)
            check_query(wanted.query)
            self._check_provenance(wanted.states)
            chosen = self._instruction(wanted.instruction)
            prompts.append(self._pipeline.prompt(wanted.query, chosen))
            states.append(wanted.states)
            self._remark(len(wanted.states), wanted.states.compression_ratio, chosen)
        margins = self._pipeline.score_requests(prompts, states, show_progress)
        return [[self._scored_pair(margin) for margin in one] for one in margins]

    def scored_pair(self, margin: float) -> ScoredPair:
        """Returns a margin with its score: P(yes), or what the calibration makes of it."""
        return self._scored_pair(margin)

    def calibration_origin(
        self, instructions: Sequence[str], *, compression_ratio: RatioOption = UNSET
    ) -> CalibrationOrigin:
        """Returns what a calibration of this reranker's margins has to say of them.

        Args:
            instructions: Task instructions of the pairs.
            compression_ratio: They were scored at; the reranker's own, if not given.
        """
        return CalibrationOrigin(
            model=self.checkpoint.name,
            model_fingerprint=self.provenance.model_fingerprint,
            template_version=TEMPLATE_VERSION,
            compression_ratio=self._ratio(compression_ratio),
            instructions=tuple(instructions),
            dtype=dtype_name(self.dtype),
            **self._calibrated_settings(self.options),
        )

    def calibration_notes(
        self, compression_ratio: int, instruction: str | None = None
    ) -> list[str]:
        """Returns how scores at these settings lie outside the calibration, in words.

        Their order is right all the same; as probabilities they may be off.

        Args:
            compression_ratio: Tokens per state.
            instruction: Task instruction; the checkpoint's default, if None.
        """
        if self.calibration is None:
            return []
        return [
            f"the calibration was fitted with {difference}: scores are in order, but rougher as "
            "probabilities"
            for difference in self.calibration.origin.differences(
                compression_ratio=compression_ratio, instruction=self._instruction(instruction)
            )
        ]

    def warm_up(self, *, num_candidates: int = 100, num_queries: int = 3) -> float:
        """Does now what would otherwise slow the first requests: compiling, and making kernels.

        Encodes, and scores queries of several lengths against made-up passages: many, few of mixed
        lengths, and one. Servers call this before they take requests; engine "compiled" says so
        in the log when it compiles without it. What is compiled is kept between runs. `stats`
        does not change; passages in the prefix cache may have to make room.

        Args:
            num_candidates: Passages a request will have.
            num_queries: Queries to score, each twice as long as the one before.

        Returns:
            Seconds it took.
        """
        start = time.perf_counter()
        self._pipeline.warm_up(
            check_count(num_candidates, "num_candidates"),
            check_count(num_queries, "num_queries"),
            self.default_instruction,
            self.compression_ratio,
        )
        seconds = time.perf_counter() - start
        logger.info("warmed up in %.1f s", seconds)
        return seconds

    def _calibrated_settings(self, options: PipelineOptions) -> dict[str, Any]:
        """Returns what else moves margins and holds for all calls, under a calibration's names."""
        return {
            "system_instruction": options.system_instruction,
            "max_length": options.max_length,
            "long_documents": options.long_documents,
            "quantization": self.quantization or "none",
        }

    def _check_calibration(self, calibration: Calibration, options: PipelineOptions) -> None:
        """Refuses a calibration of another model; says what else is different."""
        origin, name = calibration.origin, self.checkpoint.name
        if origin.model_fingerprint is None:
            logger.warning("the calibration does not say which model it was fitted to")
        else:
            calibration.check_model(model_fingerprint(self.checkpoint), TEMPLATE_VERSION, name)
        for difference in origin.differences(**self._calibrated_settings(options)):
            logger.warning("the calibration was fitted with %s", difference)

    def _remark(
        self, num_pairs: int, ratio: int, instruction: str, level: int = logging.INFO
    ) -> None:
        """Counts pairs that lie outside the calibration; logs each way of doing so once.

        States that are scored may be those of a cascade's coarse pass, which is no surprise: hence
        the level.
        """
        notes = self.calibration_notes(ratio, instruction)
        if notes:
            self.stats.add(pairs_outside_calibration=num_pairs)
        for note in notes:
            if note not in self._remarked:
                self._remarked.add(note)
                logger.log(level, "at ratio %d: %s", ratio, note)

    def _as_scores(
        self, margins: list[float], return_margin: bool
    ) -> list[float] | list[ScoredPair]:
        scored = [self._scored_pair(margin) for margin in margins]
        return scored if return_margin else [pair.score for pair in scored]

    def _check_provenance(self, states: PassageStates) -> None:
        if not isinstance(states, PassageStates):
            raise InputError(
                f"states must be PassageStates, as `encode` returns them; got "
                f"{type(states).__name__}.",
                hint="Encode documents first, or use rank(query, documents).",
            )
        ours, theirs = self.provenance, states.provenance
        if theirs.model_fingerprint != ours.model_fingerprint:
            raise StatesMismatchError(
                f"The passage states were made by model {theirs.model_fingerprint}; this is "
                f"{self.checkpoint.name!r}, model {ours.model_fingerprint}.",
                hint="Encode the passages again with this model.",
            )
        if theirs.template_version != ours.template_version:
            raise StatesMismatchError(
                f"The passage states were made with template version {theirs.template_version}; "
                f"this package scores version {ours.template_version}.",
                hint="Encode the passages again.",
            )
        if states.slots.shape[1] != self.width:
            raise StatesMismatchError(
                f"The passage states have width {states.slots.shape[1]}; this model has "
                f"{self.width}."
            )

    def _instruction(self, instruction: str | None) -> str:
        if instruction is None:
            return self.default_instruction
        return check_text(instruction, "instruction")

    def _ratio(self, compression_ratio: RatioOption) -> int:
        if compression_ratio is UNSET:
            return self.compression_ratio
        ratio = check_ratio(compression_ratio)
        if self.options.long_documents == "windows":
            check_window_ratio(ratio, self.options.max_length)
        return ratio


def _chosen_ratio(chunk_size: RatioOption, compression_ratio: RatioOption) -> RatioOption:
    if chunk_size is not UNSET and compression_ratio is not UNSET:
        raise InvalidOptionError(
            "chunk_size and compression_ratio are two names of one setting; got both "
            f"({chunk_size!r} and {compression_ratio!r}).",
            hint="Give compression_ratio only.",
        )
    chosen = compression_ratio if chunk_size is UNSET else chunk_size
    return chosen if chosen is UNSET else check_ratio(chosen)
