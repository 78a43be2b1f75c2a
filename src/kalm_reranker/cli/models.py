"""`kalm models`: the models that have a short name, and which of them are on this machine."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from kalm_reranker.checkpoints import KNOWN_MODELS, KnownModel, size_on_disk_bytes
from kalm_reranker.cli.output import console, print_json

# Of every official model; shown once instead of on each line, so that the table fits 80 columns.
_ORGANISATION = "KaLM-Embedding/"


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the known models: sizes, licences, and whether they are on disk. No network."""
    sizes = {name: size_on_disk_bytes(model) for name, model in KNOWN_MODELS.items()}
    if as_json:
        for name, model in KNOWN_MODELS.items():
            print_json(asdict(model) | {"on_disk_bytes": sizes[name]})
        return
    out = console()
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "hub id", "parameters"):
        table.add_column(heading, no_wrap=True)
    for heading in ("layers", "width"):
        table.add_column(heading, justify="right")
    table.add_column("ratios")
    table.add_column("on disk", justify="right")
    for name, model in KNOWN_MODELS.items():
        table.add_row(
            name,
            (model.hub_id or "bundled").removeprefix(_ORGANISATION),
            model.parameters,
            str(model.layers),
            str(model.width),
            f"{model.trained_ratios[0]}-{model.trained_ratios[-1]}",
            _size(sizes[name]),
        )
    out.print(table)
    out.print(f"\nHub ids begin with {_ORGANISATION}\n", highlight=False)
    for licence, names in _by_licence(list(KNOWN_MODELS.values())).items():
        out.print(f"{', '.join(names)}: {licence}", style="dim", highlight=False)


def _by_licence(known: list[KnownModel]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for model in known:
        grouped.setdefault(model.licence, []).append(model.name)
    return grouped


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "no"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"
