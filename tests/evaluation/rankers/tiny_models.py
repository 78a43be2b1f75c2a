"""Real sentence-transformers models of a few thousand random weights, saved to a folder."""

import json
from pathlib import Path

WORDS = "gravity attracts bodies the capital of china red fox what is question instruct query find"
POSITIONS = 48
WIDTH = 16
TOKEN_WIDTH = 8


def tokenizer():
    """A WordPiece tokenizer that knows some words, and all others by their letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*special, *WORDS.split(), *letters, *(f"##{letter}" for letter in letters), ":", "."]
    raw = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
        model_max_length=POSITIONS,
    )


def save_encoder(folder, *, seed=0, num_labels=None):
    """A plain BERT of two layers; with a number of labels, one that classifies pairs."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    tokens = tokenizer()
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        num_labels=num_labels or 1,
        initializer_range=0.6,  # the usual 0.02 gives all texts nearly the same vector
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = BertModel if num_labels is None else BertForSequenceClassification
        made(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return Path(folder)


def save_cross_encoder(folder, *, seed=0, num_labels=1, prompt=None):
    from sentence_transformers import CrossEncoder

    plain = save_encoder(
        Path(folder).with_name(f"{Path(folder).name}-plain"), seed=seed, num_labels=num_labels
    )
    CrossEncoder(str(plain), device="cpu", local_files_only=True).save(
        str(folder), create_model_card=False
    )
    if prompt is not None:
        edit_json(
            folder / "config_sentence_transformers.json",
            prompts={"search": prompt},
            default_prompt_name="search",
        )
    return Path(folder)


def save_chat_reranker(folder, *, template):
    """A decoder that says yes or no to a conversation."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = tokenizer()
    tokens.add_tokens(["yes", "no"])
    tokens.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
        initializer_range=0.6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return Path(folder)


def save_embedding(folder, *, seed=0):
    from sentence_transformers import SentenceTransformer

    plain = save_encoder(Path(folder).with_name(f"{Path(folder).name}-plain"), seed=seed)
    model = SentenceTransformer(str(plain), device="cpu", local_files_only=True)
    model.prompts = {"query": "question: ", "document": ""}
    model.save(str(folder), create_model_card=False)
    return Path(folder)


def save_late_interaction(folder, *, seed=0, prompt="question: ", skipped=(".",)):
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    plain = save_encoder(Path(folder).with_name(f"{Path(folder).name}-plain"), seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MultiVectorEncoder(
            modules=[
                Transformer(str(plain)),
                Dense(
                    in_features=WIDTH,
                    out_features=TOKEN_WIDTH,
                    bias=False,
                    activation_function=torch.nn.Identity(),
                    module_input_name="token_embeddings",
                ),
                MultiVectorMask(skiplist_words=list(skipped)),
                Normalize(module_input_name="token_embeddings"),
            ],
            device="cpu",
            prompts={"query": prompt, "document": ""},
        )
    model.save(str(folder), create_model_card=False)
    return Path(folder)


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
