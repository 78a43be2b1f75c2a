"""A small index with everything that a store can hold, and what was put into it."""

import random

from kalm_reranker import KaLMReranker
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.passage import Passage

WORDS = "river stone cloud mill bread song glass north copper field lamp paper winter rope".split()
QUERY = "the copper mill by the river"


def load_reranker(checkpoint):
    """Every passage has a forward pass of its own: its states never depend on its neighbours."""
    return KaLMReranker(checkpoint, dtype="float32", device="cpu", deterministic=True)


def sentence(generator, num_words):
    return " ".join(generator.choice(WORDS) for _ in range(num_words))


def passages(seed=0, count=32):
    """Short and long texts, ids of all kinds, some metadata; different ones for every seed."""
    generator = random.Random(seed)
    odd_ids = ["", "line\nbreak", "nul\0inside", "🦀" * 40, "x" * 10_000, "a'b\"c--", "%_", " "]
    found = []
    for number in range(count):
        odd = odd_ids[number] if number < len(odd_ids) else ""
        text = f"{sentence(generator, generator.randint(3, 30))} {seed}-{number}"
        if number == 5:
            text = ""
        elif number == 6:
            text = sentence(generator, 6_000)  # its row and its states go over several pages
        elif number % 13 == 7:
            text = sentence(generator, 400)
        metadata = {"number": number, "seed": seed, "note": odd} if number % 3 else None
        found.append(Passage(odd or f"p{number}", text, metadata))
    return found


def build(folder, reranker):
    """Makes an index with replaced and deleted passages, all of it in its file; returns them."""
    final = {passage.id: passage for passage in passages()}
    with PassageIndex.create(folder, reranker) as index:
        index.add([Passage(p.id, f"old {p.text}", p.metadata) for p in passages()[::4]])
        index.add(passages())
        index.add([Passage(p.id, p.text, {"changed": True}) for p in passages()[10:12]])
        for passage in passages()[10:12]:
            final[passage.id] = Passage(passage.id, passage.text, {"changed": True})
        index.delete(["p20", "p21", "p31"])
        index.search(QUERY)
    for gone in ("p20", "p21", "p31"):
        del final[gone]
    assert not (folder / "passages.sqlite-wal").exists()
    return final


def records(store):
    """Everything that a store holds, by id, as it is read; raises where something is damaged."""
    found = {}
    keys = list(store.keys())
    passages_read, states_read = store.read_passages(keys), store.read_states(keys)
    assert not passages_read.damaged
    assert not states_read.damaged
    assert passages_read.missing == states_read.missing == ()
    for key in keys:
        passage, states = passages_read.found[key], states_read.found[key]
        found[passage.id] = (
            passage.text,
            passage.metadata,
            states.token_count,
            states.truncated,
            states.slots,
        )
    assert len(found) == len(keys)
    return found
