"""How the classifier of query types that ships was made. From the root of a checkout:

    python recipes/query_types.py
    python recipes/query_types.py --held-out alpaca_eval.jsonl --labels qtype

The first trains it on our own prompts, all of them written and labelled for this project: the 300 built-in ones and
`data/query_type_prompts.jsonl`. The second trains nothing, and measures what ships against labels it never saw, such as
GPT-4's of the AlpacaEval prompts in the paper's released data.

Everything is chosen by cross-validation on our own prompts. Whoever changes them or the training does not look at the
held-out labels to do so.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from proxygold.analysis.agreement import measure_agreement
from proxygold.data.query_types import LabelledQuery, read_labelled_queries
from proxygold.models.query_type_classifier import load_classifier
from proxygold.records import CLOSED_ENDED, OPEN_ENDED
from proxygold.training.query_types import train_query_types

PROMPTS = ("builtin_prompts.jsonl", "query_type_prompts.jsonl")
SHIPPED = Path(__file__).parents[1] / "src/proxygold/models/query_type_minilm"
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="directory for classifier.json")
    parser.add_argument("--held-out", type=Path, help="labelled prompts to measure what ships on, instead of training")
    parser.add_argument("--labels", default="query_type", help="the column of --held-out with the types")
    arguments = parser.parse_args()
    if arguments.held_out is None:
        _, result = train_query_types(own_prompts(), arguments.out, seed=SEED)
        print(result)
    else:
        measure(arguments.held_out, arguments.labels)


def own_prompts() -> list[LabelledQuery]:
    queries = []
    for name in PROMPTS:
        some, rejected = read_labelled_queries(Path(str(files("proxygold.data").joinpath(name))))
        assert not rejected, rejected
        queries += some
    return queries


def measure(path: Path, column: str) -> None:
    queries, rejected = read_labelled_queries(path, column)
    odds = load_classifier().probabilities([query.text for query in queries])
    ours = [OPEN_ENDED if p > 0.5 else CLOSED_ENDED for p in odds]
    print(measure_agreement(ours, [query.query_type for query in queries]), f"{len(rejected)} rows without a label")


if __name__ == "__main__":
    main()
