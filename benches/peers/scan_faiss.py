"""The scan of Onrush against faiss, in turns: exact (IndexFlatIP) and with a byte a number (QT_8bit).

python3 benches/peers/scan_faiss.py [ITEMS [ROUNDS]]

One thread, one user at a time, vectors of 64 numbers drawn with a fixed seed, the best 20. Each of three turns runs
`cargo run --release -p onrush-scoring --example scan` and then both indexes of faiss; the ratios are of medians.
Needs numpy and faiss-cpu of PyPI, and says what is missing.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from needed import needed

DIMENSIONS = 64
K = 20
USERS = 256
SEED = 5
TURNS = 3


def ours(items, rounds):
    """Times of one user in us by the widest instructions, which the example prints last."""
    command = ["cargo", "run", "--release", "-q", "-p", "onrush-scoring", "--example", "scan", "--"]
    root = Path(__file__).resolve().parents[2]
    told = subprocess.run(
        [*command, str(items), str(rounds)], cwd=root, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line.startswith("| ")]
    found = {}
    for _, matrix, users, _, _, per_user, *_ in rows[1:]:
        if users == "1":
            found[matrix] = float(per_user)
    return {"exact": found["f32"], "a byte a number": found["i8, rescore from rows"]}


def theirs(faiss, indexes, users, rounds):
    """The same of faiss."""
    times = {name: [] for name in indexes}
    for turn in range(rounds):
        user = users[turn % USERS : turn % USERS + 1]
        for name, index in indexes.items():
            began = time.perf_counter_ns()
            index.search(user, K)
            times[name].append((time.perf_counter_ns() - began) / 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main():
    faiss, numpy = needed(faiss="faiss-cpu", numpy="numpy")
    given = [int(text) for text in sys.argv[1:3]]
    items, rounds = given + [100_000, 200][len(given) :]
    faiss.omp_set_num_threads(1)
    random = numpy.random.default_rng(SEED)
    factors = random.standard_normal((items, DIMENSIONS), dtype=numpy.float32)
    users = random.standard_normal((USERS, DIMENSIONS), dtype=numpy.float32)
    metric = faiss.METRIC_INNER_PRODUCT
    indexes = {
        "exact": faiss.IndexFlatIP(DIMENSIONS),
        "a byte a number": faiss.IndexScalarQuantizer(DIMENSIONS, faiss.ScalarQuantizer.QT_8bit, metric),
    }
    for index in indexes.values():
        index.train(factors)
        index.add(factors)
        index.search(users[:1], K)
    turns = [(ours(items, rounds), theirs(faiss, indexes, users, rounds)) for _ in range(TURNS)]
    print(f"{items} x {DIMENSIONS}, top {K}, faiss {faiss.__version__}, medians of {TURNS} turns")
    print("| | Onrush us | faiss us | ratio | turns |\n|---|---|---|---|---|")
    for name in indexes:
        mine, other = (statistics.median(turn[at][name] for turn in turns) for at in (0, 1))
        ratios = sorted(turn[1][name] / turn[0][name] for turn in turns)
        told = f"{ratios[len(ratios) // 2]:.1f}x | {ratios[0]:.1f}..{ratios[-1]:.1f}"
        print(f"| {name} | {mine:.0f} | {other:.0f} | {told} |")


if __name__ == "__main__":
    main()
