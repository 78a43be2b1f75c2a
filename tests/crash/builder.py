"""A server that adds passages to an index in processes of their own, so that they can be killed.

Importing torch takes longer than the work that is to be killed: it is done once, here, and every
builder is a fork of this process. Until then it has one thread and no file of a store open.

    python -m tests.crash.builder CHECKPOINT

Each line on stdin is JSON: {"folder": ..., "passages": [[id, text, metadata], ...], "block": n}.
The builder prints lines of JSON: {"pid"}, {"committed": passages so far} after every commit,
{"finished", "encoded", ...}; then this process prints {"status": how the builder ended}.
"""

import json
import os
import sys
import traceback

import torch

from kalm_reranker.index import adding
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.passage import Passage
from tests.crash.small_index import load_reranker


def say(**message):
    os.write(1, (json.dumps(message) + "\n").encode())


def build(reranker, folder, passages, block):
    say(pid=os.getpid())
    adding._FIRST_BLOCK = adding._LARGEST_BLOCK = block
    with PassageIndex.open(folder, reranker) as index:
        report = index.add(
            [Passage(*passage) for passage in passages],
            on_progress=lambda report: say(committed=report.num_records),
        )
    say(
        finished=True,
        encoded=reranker.stats.passages_encoded,
        unchanged=report.unchanged,
        added=report.added,
        replaced=report.replaced,
        metadata_updated=report.metadata_updated,
    )


def main():
    torch.set_num_threads(1)
    reranker = load_reranker(sys.argv[1])
    _ = reranker.provenance  # hashes the checkpoint
    for line in sys.stdin:
        order = json.loads(line)
        builder = os.fork()
        if builder == 0:
            try:
                build(reranker, **order)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(builder, 0)
        say(status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
