"""A leaderboard run: the BEIR tasks through mteb, with one first stage for every model.

    pip install "kalm-reranker[eval]"
    python examples/mteb_leaderboard.py --model nano --states states --results results
    python examples/mteb_leaderboard.py --model nano --states states --results results --ratio 16

The second run encodes nothing. Results are in `results/results/<model>/<revision>/`, in the form
that the leaderboard takes.
"""

import argparse
import sys
from pathlib import Path

import kalm_reranker.integrations.mteb_registry as ours
from kalm_reranker.evaluation.data.benchmarks import benchmark_parts

BEIR = [part.task for part in benchmark_parts("beir")]


def arguments() -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="nano", help="short name, directory or hub id")
    parser.add_argument("--tasks", nargs="+", default=BEIR, help="retrieval tasks, mteb's names")
    parser.add_argument("--first-stage", default="mteb/baseline-bm25s", help="mteb's name")
    parser.add_argument("--predictions", type=Path, default=Path("predictions"))
    parser.add_argument("--top-k", type=int, default=100, help="candidates of a query")
    parser.add_argument("--states", type=Path, help="where passage states are kept between runs")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument(
        "--ratio", type=int, help="compression ratio; the model's own, if not given"
    )
    parser.add_argument("--instructions", help="beir, miracl, lmeb, or a file; the model's default")
    return parser.parse_args()


def main() -> None:
    """Finds candidates where there are none yet, reranks them, and shows nDCG@10."""
    import mteb

    asked = arguments()
    settings = {
        "states_folder": asked.states,
        "compression_ratio": asked.ratio,
        "instructions": asked.instructions,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    meta = ours.model_meta(asked.model, protocol="cross-encoder", **given)
    # Loaded here once: given a description, mteb would load the model for each task anew.
    model = meta.load_model()
    # mteb files results by model, whatever found the candidates: a folder for each first stage.
    first_stage = asked.first_stage.replace("/", "__")
    candidates = asked.predictions / first_stage
    cache = mteb.ResultCache(asked.results / f"{first_stage}-top{asked.top_k}")
    for name in asked.tasks:
        task = mteb.get_task(name)
        if not (candidates / task.prediction_file_name).exists():
            finder = mteb.get_model(asked.first_stage)
            mteb.evaluate(finder, task, cache=None, prediction_folder=candidates)
        task = mteb.get_task(name).convert_to_reranking(candidates, top_k=asked.top_k)
        result = mteb.evaluate(model, task, cache=cache)
        score = result.task_results[0].get_score()
        sys.stdout.write(f"{name}\t{100 * score:.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
