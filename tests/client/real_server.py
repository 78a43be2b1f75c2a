"""`kalm serve` in a process of its own."""

from contextlib import contextmanager

from tests.server.running import ServerProcess

KEY = "a-key-for-tests"
MAX_DOCUMENTS = 7

_KALM = ("-c", "from kalm_reranker.cli.main import main; main()")


@contextmanager
def serving(index):
    """Serves an index, guarded by `KEY`; yields the address."""
    options = ["--index", index, "--dtype", "float32", "--port", 0, "--no-warm-up"]
    options += ["--max-documents", MAX_DOCUMENTS]
    running = ServerProcess(*_KALM, "serve", *map(str, options), KALM_API_KEYS=KEY)
    try:
        running.line_with("ready")
        yield running.url
        running.signal()
        assert running.ended() == 0
    finally:
        running.close()
