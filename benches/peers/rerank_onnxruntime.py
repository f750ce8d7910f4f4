"""The re-ranker of Onrush against ONNX Runtime, in turns: a trained network on 200 rows of 32 features, one thread.

python3 benches/peers/rerank_onnxruntime.py [ROUNDS]

Trains a model on a few drawn sales (services/tests/onnx/sales.py). Each of five turns runs the binary, which scores the rows
by the model's own network and by its ONNX file (tract), one after the other, and then ONNX Runtime on the same file; times are
medians of the rounds, the ratios are of medians. The binary is built, or the one that ONRUSH names. Needs numpy and onnxruntime of PyPI, and says what is missing.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from needed import needed

ROWS = 200
FEATURES = 32
SEED = 5
TURNS = 5
ROOT = Path(__file__).resolve().parents[2]


def onrush(*arguments):
    """What the release binary prints."""
    built = os.environ.get("ONRUSH")
    command = [built] if built else ["cargo", "run", "--release", "-q", "--bin", "onrush", "--"]
    return subprocess.run([*command, "model", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def theirs(session, rows, rounds):
    """The median time of ONNX Runtime in us."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        session.run(["scores"], {"features": rows})
        taken.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(taken)


def main():
    numpy, onnxruntime = needed(numpy="numpy", onnxruntime="onnxruntime")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    rows = numpy.random.default_rng(SEED).normal(1, 2, (ROWS, FEATURES)).astype(numpy.float32)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        subprocess.run([sys.executable, ROOT / "services/tests/onnx/sales.py", work], check=True)
        files = ["--products", work / "products.csv", "--transactions", work / "sales.csv"]
        onrush("train", *files, "--out", work / "model", "--threads", "1")
        network = work / "model" / "next_basket.onnx"
        (work / "rows").write_bytes(rows.astype("<f4").tobytes())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        theirs(session, rows, rounds // 10 + 1)
        turns = []
        for _ in range(TURNS):
            score = ["score", "--onnx", network, "--model", work / "model", "--rows", work / "rows"]
            found = json.loads(onrush(*score, "--rounds", str(rounds)))
            turns.append((found["own_us"], found["onnx_us"], theirs(session, rows, rounds)))
            expected = session.run(["scores"], {"features": rows})[0].reshape(-1)
            if not numpy.allclose(found["onnx"], expected, rtol=1e-4, atol=1e-4):
                sys.exit("expected the same scores of both, found others")
    print(f"{ROWS} x {FEATURES}, ONNX Runtime {onnxruntime.__version__}, one thread, medians of {TURNS} turns")
    print("| | us | ONNX Runtime us | ratio | turns |\n|---|---|---|---|---|")
    for at, of in enumerate(("Onrush, its own network", "Onrush, the ONNX file by tract")):
        mine, other = (statistics.median(turn[column] for turn in turns) for column in (at, 2))
        ratios = sorted(turn[2] / turn[at] for turn in turns)
        told = f"{ratios[len(ratios) // 2]:.2f}x | {ratios[0]:.2f}..{ratios[-1]:.2f}"
        print(f"| {of} | {mine:.1f} | {other:.1f} | {told} |")


if __name__ == "__main__":
    main()
