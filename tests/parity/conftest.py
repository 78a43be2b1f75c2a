"""Random checkpoints, one of each kind per test session."""

import pytest
import transformers
from tokenizers import Tokenizer

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from tests.parity.random_checkpoints import (
    LINEAR_SCALING,
    TINY,
    build_checkpoint,
    copy_with,
    in_memory_names,
    old_config_keys,
)

# A token that texts really hold; stands for the end-of-image token.
COMMON_WORD_ID = Tokenizer.from_file(str(bundled_checkpoint().tokenizer_path)).token_to_id("▁the")


@pytest.fixture(scope="session", autouse=True)
def _quiet_transformers():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Directories of random checkpoints, by name."""
    root = tmp_path_factory.mktemp("checkpoints")
    single = {**TINY, "num_key_value_heads": 1}
    return {
        "grouped": build_checkpoint(root / "grouped", seed=4, **TINY),
        "single_head": build_checkpoint(
            root / "single_head", seed=4, eoi_token_id=COMMON_WORD_ID, **single
        ),
        "linear_rope": build_checkpoint(
            root / "linear_rope", seed=5, **{**TINY, "rope_parameters": LINEAR_SCALING}
        ),
        "softcap_bias": build_checkpoint(
            root / "softcap_bias",
            seed=3,
            **{**TINY, "final_logit_softcapping": 15.0, "attention_bias": True},
        ),
    }


@pytest.fixture(scope="session")
def other_forms(checkpoints, tmp_path_factory):
    """The linear_rope checkpoint as other versions of Transformers write it."""
    root = tmp_path_factory.mktemp("forms")
    origin = checkpoints["linear_rope"]
    return {
        "text_model names": copy_with(origin, root / "a", tensors=in_memory_names),
        "old config keys": copy_with(origin, root / "b", config=old_config_keys),
        "both": copy_with(origin, root / "c", tensors=in_memory_names, config=old_config_keys),
    }
