#!/usr/bin/env python3
"""Holds scores against those that the project reached before.

    ratchet.py KEPT NAME SCORES [--bless]

SCORES is what `score.py --json` wrote; KEPT holds the least score of each log by NAME. Fails when a
score is below it, or a log or a case is gone. A better score is told of; with --bless KEPT is written anew.
"""
import json
import sys

# Scores are ratios of whole rows: what is nearer than this is the same.
SAME = 5e-5


def main(kept_file, name, scores_file, bless):
    with open(kept_file, encoding="utf-8") as file:
        kept = json.load(file)
    with open(scores_file, encoding="utf-8") as file:
        made = json.load(file)
    old = kept.get(name, {})
    # A log that weir does not write yet is no score of its own.
    new = {log: round(of["score"], 4) for log, of in sorted(made["logs"].items()) if of["produced"]}
    wrong = [f"{made['failed']} cases failed to run"] if made["failed"] else []
    for log, least in sorted(old.items()):
        got = new.get(log, 0.0)
        if got < least - SAME:
            wrong.append(f"{log}: {100 * got:.2f} %, it was {100 * least:.2f} %")
    better = [log for log, got in new.items() if got > old.get(log, 0.0) + SAME]
    if bless:
        kept[name] = new
        with open(kept_file, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=2, sort_keys=True)
            file.write("\n")
    elif better:
        print(f"{name}: better than kept: {', '.join(better)} (--bless keeps it)")
    for line in wrong:
        print(f"{name}: worse: {line}")
    return 1 if wrong and not bless else 0


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--bless"]
    if len(words) != 3:
        sys.exit(__doc__)
    sys.exit(main(*words, "--bless" in sys.argv))
