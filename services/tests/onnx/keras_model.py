"""Makes keras.onnx: a small Keras model of two dense layers, put through tf2onnx.

keras_model.py DIRECTORY, with TensorFlow 2.21.0, Keras 3.15.1 and tf2onnx 1.17.0. The weights are set, not learned: the
fewer orders a customer has of a product, the higher it stands, so that a page tells whether the network put it in order.
"""

import subprocess
import sys
from pathlib import Path

import keras
import numpy

FEATURES = 32
HIDDEN = 8


def main():
    directory = Path(sys.argv[1])
    model = keras.Sequential(
        [
            keras.Input((FEATURES,), name="features"),
            keras.layers.Dense(HIDDEN, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="score"),
        ]
    )
    drawn = numpy.random.default_rng(1)
    first = drawn.normal(0, 0.01, (FEATURES, HIDDEN)).astype("float32")
    # The first number of a product is the logarithm of what history counts of it.
    first[0, 0] = 1.0
    last = drawn.normal(0, 0.01, (HIDDEN, 1)).astype("float32")
    last[0, 0] = -1.0
    model.get_layer("hidden").set_weights([first, numpy.full(HIDDEN, 0.25, "float32")])
    model.get_layer("score").set_weights([last, numpy.full(1, 0.5, "float32")])
    model.save(directory / "keras.h5")
    # The file says what it was made of: no directory of a machine.
    command = [sys.executable, "-m", "tf2onnx.convert", "--keras", "keras.h5", "--output", "keras.onnx"]
    subprocess.run(command, check=True, cwd=directory)


if __name__ == "__main__":
    main()
