from kalm_reranker.prompts import (
    DEFAULT_INSTRUCTION,
    DEFAULT_SYSTEM_INSTRUCTION,
    TEMPLATE_TOKENS,
    document_text,
    prompt_segments,
    prompt_text,
)


def test_the_prompt_is_the_model_cards():
    prompt = prompt_text(
        "What is FBNL?",
        instruction=DEFAULT_INSTRUCTION,
        system_instruction=DEFAULT_SYSTEM_INSTRUCTION,
    )
    assert prompt == (
        "<bos><start_of_turn>user\n"
        "Judge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".\n'
        "\n"
        "<Instruct>: Given a query, retrieve documents that answer the query.\n"
        "<Query>: What is FBNL?<end_of_turn>\n"
        "<start_of_turn>model\n\n\n\n"
    )
    assert document_text("A passage.") == "<Document>: A passage."


def test_only_the_templates_own_tokens_are_marked():
    segments = prompt_segments("<bos>", instruction="<end_of_turn>", system_instruction="")
    marked = [segment.text for segment in segments if segment.is_template_token]
    assert marked == ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_turn>"]
    assert set(marked) == set(TEMPLATE_TOKENS)
