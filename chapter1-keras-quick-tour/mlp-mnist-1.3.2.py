"""MLP on MNIST: two hidden Dense layers with dropout classify digits.

Each hidden layer has 256 units with ReLU. Dropout keeps the network from overfitting.

Realizes listing 1.3.2 of "Advanced Deep Learning with Keras" (R. Atienza), with its sequential API,
and the book's table of other layers, regularizers and optimizers.

    python3 mlp-mnist-1.3.2.py                               # train, 20 epochs
    python3 mlp-mnist-1.3.2.py --layers 512-512 --dropout 0.2 --optimizer rmsprop
    python3 mlp-mnist-1.3.2.py --dropout 0 --l2 0.001        # the other regularizer
    python3 mlp-mnist-1.3.2.py --sweep                       # train all 18 rows of the book's table
    python3 mlp-mnist-1.3.2.py --sweep --optimizer sgd --learning-rate 0.1   # its SGD rows at 0.1
    python3 mlp-mnist-1.3.2.py --sweep --resume              # continue an interrupted sweep
    python3 mlp-mnist-1.3.2.py --weights=mlp_mnist.h5        # test pretrained weights

Result to expect: 98.7 % test accuracy in a minute on 2 CPU cores (98.71 %, 98.65 % and 98.66 % with
seeds 0, 1 and 2; the book: 98.5 %). The printed listing (--constant --no-shift) has 98.2 % (98.21 %
and 98.17 % with seeds 0 and 1).

Departures from the printed listing. `--sweep` has the first two as printed:
 1. The listing's learning rate is constant. Here it decreases to 0 along a cosine, so that the last
    epoch is stable (`--constant` restores the listing).
 2. The listing trains on the images as they are. Here each training image is shifted at random by
    up to one pixel. `--no-shift` restores the listing and has 98.35 %.
 3. The listing encodes labels as one-hot vectors with to_categorical. Here they are integers, with
    the sparse cross-entropy. Both losses have the same value; integers need no conversion.

The 13 SGD rows of `--sweep` are up to 3.7 points below the book's: at a rate of 0.01, SGD is still
learning after 20 epochs. `--learning-rate 0.1` brings them within 0.9 points. One row trained for
200 epochs at 0.01 is within 0.1 points.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

BATCH_SIZE = 128
EPOCHS = 20
LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2, "rmsprop": 1e-3}  # the defaults of Keras
OPTIMIZER = "adam"
HIDDEN_LAYERS = "256-256"
DROPOUT = 0.45
L2 = 0.0
SHIFT = 1  # pixels
MODEL_NAME = "mlp_mnist"

# The book's table: hidden layers, dropout, L2, optimizer, ReLU; train and test accuracy in percent.
SWEEP_COLUMNS = ("layers", "dropout", "l2", "optimizer", "relu")
SWEEP = [
    ("256-256-256", 0.0, 0.0, "sgd", False, 93.65, 92.5),
    ("256-256-256", 0.0, 0.001, "sgd", True, 99.35, 98.0),
    ("256-256-256", 0.0, 0.01, "sgd", True, 96.90, 96.7),
    ("256-256-256", 0.0, 0.0, "sgd", True, 99.93, 98.0),
    ("256-256-256", 0.4, 0.0, "sgd", True, 98.23, 98.1),
    ("256-256-256", 0.45, 0.0, "sgd", True, 98.07, 98.1),
    ("256-256-256", 0.5, 0.0, "sgd", True, 97.68, 98.1),
    ("256-256-256", 0.6, 0.0, "sgd", True, 97.11, 97.9),
    ("256-512-256", 0.45, 0.0, "sgd", True, 98.21, 98.2),
    ("512-512-512", 0.2, 0.0, "sgd", True, 99.45, 98.3),
    ("512-512-512", 0.4, 0.0, "sgd", True, 98.95, 98.3),
    ("512-1024-512", 0.45, 0.0, "sgd", True, 98.90, 98.2),
    ("1024-1024-1024", 0.4, 0.0, "sgd", True, 99.37, 98.3),
    ("256-256-256", 0.6, 0.0, "adam", True, 98.64, 98.2),
    ("256-256-256", 0.55, 0.0, "adam", True, 99.02, 98.3),
    ("256-256-256", 0.45, 0.0, "adam", True, 99.39, 98.5),
    ("256-256-256", 0.45, 0.0, "rmsprop", True, 98.75, 98.1),
    ("128-128-128", 0.45, 0.0, "adam", True, 98.70, 97.7),
]


def layer_sizes(text):
    """Units of the hidden layers, as in 256-256; raises ValueError if the text is none."""
    return [int(size) for size in text.split("-")]


def parse_args():
    parser = flags.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_setting(
        "--layers",
        type=kinds.reader(layer_sizes, lambda sizes: min(sizes) >= 1, "units such as 256-256"),
        default=HIDDEN_LAYERS,
        metavar="N-N-...",
        help=f"units of the hidden layers (default {HIDDEN_LAYERS})",
    )
    parser.add_setting(
        "--dropout",
        type=kinds.dropout_rate,
        default=DROPOUT,
        help=f"share of each hidden layer that training drops (default {DROPOUT})",
    )
    parser.add_setting(
        "--l2", type=kinds.not_negative, default=L2, help=f"weight of the L2 penalty (default {L2})"
    )
    parser.add_setting(
        "--optimizer", choices=LEARNING_RATES, default=OPTIMIZER, help=f"(default {OPTIMIZER})"
    )
    parser.add_setting(
        "--learning-rate", type=kinds.positive, help="of the optimizer (default: that of Keras)"
    )
    parser.add_setting(
        "--no-relu", dest="relu", action="store_false", help="make the hidden layers linear"
    )
    parser.add_setting("--constant", action="store_true", help="hold the learning rate")
    parser.add_setting(
        "--no-shift",
        dest="shift",
        action="store_const",
        const=0,
        default=SHIFT,
        help="train on the images as they are",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    what.add_argument(
        "--sweep",
        action="store_true",
        help="train every row of the book's table, which sets the network and the optimizer",
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import functools

import keras
from keras import layers

from lib import classifier, settings_table
from lib.data import datasets


def build_classifier(hidden=(256, 256), dropout=DROPOUT, l2=L2, relu=True, shift=0):
    """Images (batch, 784) -> probabilities (batch, 10); training shifts by up to `shift` pixels."""
    model = keras.Sequential([keras.Input((784,))], name="mlp")
    if shift:
        model.add(layers.Reshape((28, 28, 1)))
        model.add(
            layers.RandomTranslation(
                shift / 28,
                shift / 28,
                fill_mode="constant",
                interpolation="nearest",
                dtype="float32",
            )
        )
        model.add(layers.Flatten())
    for units in hidden:
        model.add(
            layers.Dense(
                units,
                activation="relu" if relu else None,
                kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            )
        )
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(10))
    model.add(layers.Activation("softmax", dtype="float32"))
    return model


def compile_classifier(model, steps=None, optimizer=OPTIMIZER, rate=None):
    """Sets the loss and the optimizer; its rate falls to 0 in `steps` steps, or is constant.

    Without a rate, it is the optimizer's in LEARNING_RATES.
    """
    rate = rate or LEARNING_RATES[optimizer]
    if steps:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    kinds = {
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    model.compile(
        optimizer=kinds[optimizer](rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def build_row(rates, hidden, dropout, l2, optimizer, relu):
    """The compiled classifier of one row of SWEEP, its learning rate constant as in the book.

    `rates` has the learning rates that are not those in LEARNING_RATES.
    """
    model = build_classifier(layer_sizes(hidden), dropout, l2, relu)
    compile_classifier(model, optimizer=optimizer, rate=rates.get(optimizer))
    return model


def load_data():
    return [(x.reshape(len(x), 784), y) for x, y in datasets.mnist()]


def main(args):
    run = program.start(args, MODEL_NAME, __file__, epochs=args.epochs)
    if args.sweep:
        # The flag sets the rate of the rows with its optimizer.
        rates = {args.optimizer: args.learning_rate} if args.learning_rate else {}
        build = functools.partial(build_row, rates)
        settings_table.train(
            SWEEP_COLUMNS, SWEEP, build, load_data(), run, {"learning_rates": rates}
        )
        return
    network = args.layers, args.dropout, args.l2, args.relu
    model = build_classifier(*network, args.shift)
    printed = build_classifier(*network)  # what shifts the images is not one of its layers
    run.introduce("multilayer perceptron", "MNIST", printed, diagram="mlp-mnist")
    classifier.train_and_test(
        run,
        model,
        load_data,
        lambda steps: compile_classifier(
            model, None if args.constant else steps, args.optimizer, args.learning_rate
        ),
        args.weights,
        printed=printed,
    )


if __name__ == "__main__":
    program.run(main, args)
