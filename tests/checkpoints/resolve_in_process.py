"""Resolves a model in a process of its own and prints the outcome as JSON.

The hub library reads its environment at import, so each setting needs a fresh process.
"""

import json
import logging
import sys
import time


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    from kalm_reranker.checkpoints import KNOWN_MODELS, resolve_checkpoint, size_on_disk_bytes
    from kalm_reranker.errors import KalmRerankerError

    model, options = sys.argv[1], json.loads(sys.argv[2])
    outcome = {}
    start = time.perf_counter()
    try:
        checkpoint = resolve_checkpoint(model, **options)
    except KalmRerankerError as error:
        outcome = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    else:
        outcome = {
            "name": checkpoint.name,
            "source": checkpoint.source,
            "revision": checkpoint.revision,
            "files": sorted(path.name for path in checkpoint.directory.iterdir()),
            "weight_files": [path.name for path in checkpoint.weight_files],
            "weights": [path.read_bytes().hex() for path in checkpoint.weight_files],
            "max_length": checkpoint.settings.max_length,
            "trained_ratios": checkpoint.settings.trained_ratios,
        }
    outcome["elapsed_s"] = time.perf_counter() - start
    outcome["on_disk"] = {name: size_on_disk_bytes(known) for name, known in KNOWN_MODELS.items()}
    sys.stdout.write(json.dumps(outcome))


main()
