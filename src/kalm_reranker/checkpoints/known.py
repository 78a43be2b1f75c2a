"""The models this package knows by a short name."""

from dataclasses import dataclass

_ORGANISATION = "KaLM-Embedding"
_OFFICIAL_LICENCE = "Apache-2.0 or MIT as stated on the model card; base model: Gemma terms of use"
_PICO_LICENCE = (
    "development checkpoint, trained partly on non-commercial or unstated-licence sources: "
    "not for redistribution or commercial use until its successor replaces it"
)
_V1_RATIOS = (1, 2, 4, 8, 16, 32)
_R2_RATIOS = (*_V1_RATIOS, 64, 128)


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model with a short name. Sizes are for choosing; real values are in its `config.json`.

    Args:
        name: The short name `resolve_checkpoint` accepts.
        hub_id: Its repository on the model hub; None for the model inside this package.
        parameters: Active parameters (decoder and embedding), as text.
        layers: Layers of the encoder, and as many of the decoder.
        width: Hidden width, which is also the width of a stored passage state.
        mlp: Width of the MLP.
        trained_ratios: Compression ratios it was trained for, ascending.
        licence: Under which terms the weights are, as text.
        note: When to choose it, one phrase.
    """

    name: str
    hub_id: str | None
    parameters: str
    layers: int
    width: int
    mlp: int
    trained_ratios: tuple[int, ...]
    licence: str
    note: str


def _official(
    size: str, *, revised: bool, parameters: str, layers: int, width: int, mlp: int, note: str
) -> KnownModel:
    suffix = "-R2" if revised else ""
    return KnownModel(
        name=f"{size}{suffix}".lower(),
        hub_id=f"{_ORGANISATION}/KaLM-Reranker-V1-{size}{suffix}",
        parameters=parameters,
        layers=layers,
        width=width,
        mlp=mlp,
        trained_ratios=_R2_RATIOS if revised else _V1_RATIOS,
        licence=_OFFICIAL_LICENCE,
        note=f"{note}; R2: pooling trained up to 128x" if revised else note,
    )


def _both_releases(
    size: str, *, parameters: str, layers: int, width: int, mlp: int, note: str
) -> tuple[KnownModel, KnownModel]:
    first, second = (
        _official(
            size,
            revised=revised,
            parameters=parameters,
            layers=layers,
            width=width,
            mlp=mlp,
            note=note,
        )
        for revised in (False, True)
    )
    return first, second


_PICO = KnownModel(
    name="pico",
    hub_id=None,
    parameters="15.3M",
    layers=6,
    width=256,
    mlp=768,
    trained_ratios=(2, 4, 8, 16, 32),
    licence=_PICO_LICENCE,
    note="bundled, works offline; for demonstration and tests, not an official model",
)
_NANO = _both_releases(
    "Nano", parameters="0.27B", layers=18, width=640, mlp=2048, note="smallest official model"
)
_SMALL = _both_releases(
    "Small", parameters="1B", layers=26, width=1152, mlp=6912, note="middle official model"
)
_LARGE = _both_releases(
    "Large", parameters="4B", layers=34, width=2560, mlp=10240, note="best official model"
)

# By size, the first releases before the revised ones: the order in which they are listed.
KNOWN_MODELS: dict[str, KnownModel] = {
    model.name: model
    for model in (_PICO, *(pair[release] for release in (0, 1) for pair in (_NANO, _SMALL, _LARGE)))
}


def known_by_hub_id(hub_id: str) -> KnownModel | None:
    """Returns the known model of a hub repository, or None. Case is ignored, as on the hub."""
    wanted = hub_id.casefold()
    for model in KNOWN_MODELS.values():
        if model.hub_id is not None and model.hub_id.casefold() == wanted:
            return model
    return None
