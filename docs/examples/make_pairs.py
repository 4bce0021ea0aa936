"""Preference pairs from scored responses: of each prompt, every response beside every one that scores lower.

    python3 docs/examples/make_pairs.py scored.jsonl > pairs.jsonl

`scored.jsonl` is what `experiments score` writes.
"""

import itertools
import json
import sys

scored = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for prompt, group in itertools.groupby(scored, key=lambda line: line["prompt"]):
    ranked = sorted(group, key=lambda line: line["score"], reverse=True)
    for better, worse in itertools.combinations(ranked, 2):
        if better["score"] > worse["score"]:
            pair = {
                "prompt": prompt,
                "chosen": better["response"],
                "rejected": worse["response"],
                "score_chosen": better["score"],
                "score_rejected": worse["score"],
            }
            print(json.dumps(pair, ensure_ascii=False))
