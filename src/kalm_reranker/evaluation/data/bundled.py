"""The small judged collection that ships with the package."""

from importlib.resources import as_file, files

from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.collection import Collection


def load_demo_collection() -> Collection:
    """Returns the demo collection: 43 claims and 782 abstracts of SciFact.

    Origin, licences and how it was cut: `data/demo/LICENSE.md` in this package.
    """
    with as_file(files("kalm_reranker") / "data" / "demo") as directory:
        return load_beir(directory, name="scifact-demo")
