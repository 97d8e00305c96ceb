"""MNIST: counts the images of each digit and draws 25 of them.

MNIST has 60,000 training and 10,000 test images of 28 by 28 gray pixels.

Realizes listing 1.3.1 of "Advanced Deep Learning with Keras" (R. Atienza).

    python3 mnist-sampler-1.3.1.py                           # count the labels, draw 25 digits
    python3 mnist-sampler-1.3.1.py --seed 1                  # draw 25 others

Result to expect, in seconds: each digit has between 5,421 (the 5) and 6,742 (the 1) training
images, and 892 to 1,135 test images. mnist_samples/mnist-samples.png is a grid of 5 by 5 digits.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

SAMPLES = 25
MODEL_NAME = "mnist_samples"


def parse_args():
    parser = flags.Parser(__doc__)
    parser.add_argument("--seed", type=kinds.seed_int, default=0, help="of the choice (default 0)")
    parser.add_argument(
        "--output-dir", type=Path, default=Path(), help="output directory (default: current)"
    )
    parser.add_argument("--show", action="store_true", help="also open the figure in a window")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import numpy as np

from lib.data import datasets
from lib.measure import plots


def label_counts(labels):
    """How many of `labels` are 0, 1, ... 9, as a list."""
    return np.bincount(labels, minlength=10).tolist()


def main(args):
    program.choose_display(args.show)
    folder = program.make_folder(args.output_dir, MODEL_NAME)
    (x_train, y_train), (_, y_test) = datasets.mnist()
    print("digit:", *(f"{digit:5}" for digit in range(10)))
    print("train:", *(f"{count:5}" for count in label_counts(y_train)))
    print("test: ", *(f"{count:5}" for count in label_counts(y_test)))
    chosen = np.random.default_rng(args.seed).choice(len(x_train), SAMPLES, replace=False)
    plots.image_grid(x_train[chosen], folder / "mnist-samples.png", show=args.show)


if __name__ == "__main__":
    program.run(main, args)
