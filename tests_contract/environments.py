"""Which clients are tested in which environment, since not all of them install together.

langchain-cohere needs cohere 5 and llama-index cohere 6 at most, so that the newest cohere has an
environment without them; infinity_client needs httpx below 0.28, which LiteLLM and Haystack refuse.
"""

MODULES = {
    "sdks": ("cohere_sdk", "voyage", "litellm_providers", "rerankers_api", "applications"),
    "frameworks": ("cohere_sdk", "langchain_cohere_rerank", "llama_index", "haystack_rankers"),
    "infinity": ("infinity",),
}
"""Modules of `tests_contract.clients` by environment."""
