"""Everything in an index as safetensors and JSON lines, for other software.

export.json            what the index says of itself, and the list of shards
states-00001.safetensors   slots [sum of C, D], token_counts [P], truncated [P]
passages-00001.jsonl   id, text, metadata, text_hash; line i belongs to token_counts[i]
...                    as many of both as it takes
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kalm_reranker.errors import StoreError, StoreExistsError, StoreWriteError
from kalm_reranker.model.pooling import num_slots
from kalm_reranker.store.damage import damage_error
from kalm_reranker.store.records import Damage

if TYPE_CHECKING:
    from kalm_reranker.store.records import StoredPassage, StoredStates
    from kalm_reranker.store.sqlite_store import SQLiteStore

_FORMAT = 1
_SHARD_BYTES = 2**30  # of float32 values: what one shard takes in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was exported.

    Attributes:
        folder: Where to.
        num_passages: Passages.
        num_shards: Pairs of files.
        num_bytes: Size of all files together.
    """

    folder: Path
    num_passages: int
    num_shards: int
    num_bytes: int


def export_index(store: "SQLiteStore", folder: Path) -> ExportReport:
    """Writes everything in a store to a new or empty folder.

    States keep the store's precision: float32 for the codec float32, bfloat16 for bf16, and for
    int8 and int4 the float32 values that they stand for.

    Raises:
        StoreExistsError: The folder holds something already.
        StoreWriteError: It cannot be written.
        DamagedStoreError: A record is damaged.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreExistsError(
                f"{folder} is there already and is no empty folder.",
                hint="Export into a new or an empty folder.",
            )
        # Under another name first: what broke off must not look like an export.
        unfinished = folder.absolute().with_name(f"{folder.absolute().name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            with store.snapshot():
                report = _export(store, unfinished)
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return replace(report, folder=folder)
    except StoreError:
        raise
    except OSError as error:
        raise StoreWriteError(
            f"{folder} cannot be written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        ) from error


def _export(store: "SQLiteStore", folder: Path) -> ExportReport:
    shards: list[dict[str, object]] = []
    num_passages = 0
    for passages, states in _shards(store):
        number = f"{len(shards) + 1:05d}"
        _write_states(store, states, folder / f"states-{number}.safetensors")
        with (folder / f"passages-{number}.jsonl").open("w", encoding="utf-8") as file:
            for passage in passages:
                record = {
                    "id": passage.id,
                    "text": passage.text,
                    "metadata": passage.metadata,
                    "text_hash": passage.text_hash.hex(),
                }
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        shards.append(
            {
                "states": f"states-{number}.safetensors",
                "passages": f"passages-{number}.jsonl",
                "num_passages": len(passages),
            }
        )
        num_passages += len(passages)
    header = {"format": _FORMAT, "header": asdict(store.header), "shards": shards}
    (folder / "export.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    return ExportReport(
        folder=folder,
        num_passages=num_passages,
        num_shards=len(shards),
        num_bytes=sum(path.stat().st_size for path in folder.iterdir()),
    )


def _shards(
    store: "SQLiteStore",
) -> "Iterator[tuple[list[StoredPassage], list[StoredStates]]]":
    passages: list[StoredPassage] = []
    states: list[StoredStates] = []
    num_bytes = 0
    header = store.header
    for read in store.all_passages():
        stored = store.read_states(list(read.found))
        without = [
            Damage(key, read.found[key].id, "its states are missing") for key in stored.missing
        ]
        if damaged := [*read.damaged, *stored.damaged, *without]:
            raise damage_error(store.path, damaged)
        for key, passage in read.found.items():
            passages.append(passage)
            states.append(stored.found[key])
            slots = num_slots(stored.found[key].token_count, header.compression_ratio)
            num_bytes += slots * header.width * 4  # decoded, at most
        if num_bytes >= _SHARD_BYTES:
            yield passages, states
            passages, states, num_bytes = [], [], 0
    if passages:
        yield passages, states


def _write_states(store: "SQLiteStore", states: "list[StoredStates]", path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from kalm_reranker.store.codecs import codec_named

    header = store.header
    codec = codec_named(header.codec)
    dtype = torch.bfloat16 if header.codec == "bf16" else torch.float32
    rows = torch.frombuffer(bytearray(b"".join(s.slots for s in states)), dtype=torch.uint8)
    slots: torch.Tensor = codec.decode(
        rows.view(-1, codec.slot_bytes(header.width)), header.width, dtype
    )
    tensors = {
        "slots": slots.contiguous(),
        "token_counts": torch.tensor([s.token_count for s in states], dtype=torch.int64),
        "truncated": torch.tensor([s.truncated for s in states], dtype=torch.bool),
    }
    save_file(tensors, path)
