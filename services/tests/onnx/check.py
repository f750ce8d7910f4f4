"""Reads a network with the checker, the reference evaluator and ONNX Runtime; all must give what onrush gives.

check.py ONRUSH MODEL WORK: the networks next_basket.onnx and discovery.onnx of a directory.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

ROWS = 700
# Of the size of the score, or of 1: sums of 32-bit floats in another sequence.
NEAR = 1e-4


def near(name, found, expected):
    """Ends the script if numbers differ."""
    found, expected = numpy.asarray(found).reshape(-1), numpy.asarray(expected).reshape(-1)
    if found.shape != expected.shape:
        sys.exit(f"{name}: expected {expected.shape} scores, found {found.shape}")
    off = float(numpy.max(numpy.abs(found - expected) / numpy.maximum(1, numpy.abs(expected))))
    if not off <= NEAR:
        sys.exit(f"{name}: expected scores within {NEAR}, found {off}")
    print(f"{name}: {len(found)} scores, off by {off:.1e} at most")


def main():
    onrush, directory, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows = numpy.random.default_rng(1).normal(1, 2, (ROWS, 32)).astype(numpy.float32)
    (work / "rows").write_bytes(rows.astype("<f4").tobytes())
    for network in ("next_basket", "discovery"):
        file = directory / f"{network}.onnx"
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        command = [onrush, "model", "score", "--onnx", file, "--model", directory, "--rows", work / "rows"]
        scored = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        runtime = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        near(f"{network}, ONNX Runtime", scored["onnx"], runtime.run(["scores"], {"features": rows})[0])
        reference = ReferenceEvaluator(model).run(["scores"], {"features": rows})[0]
        near(f"{network}, reference evaluator", scored["onnx"], reference)
        if network == "next_basket":
            near(f"{network}, the model's own", scored["onnx"], scored["own"])


if __name__ == "__main__":
    main()
