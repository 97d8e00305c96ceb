"""RNN on MNIST: a recurrent layer reads each image row by row.

The image is a sequence of 28 rows with 28 pixels each. After the last row, a Dense layer classifies
the state of the recurrent layer.

Realizes listing 1.5.1 of "Advanced Deep Learning with Keras" (R. Atienza), with its sequential API.

    python3 rnn-mnist-1.5.1.py                               # train, 20 epochs
    python3 rnn-mnist-1.5.1.py --cell lstm                   # another recurrent layer
    python3 rnn-mnist-1.5.1.py --cell gru --bidirectional    # from top to bottom and back
    python3 rnn-mnist-1.5.1.py --layers 2 --units 128        # two recurrent layers
    python3 rnn-mnist-1.5.1.py --sweep                       # the book's table 1.5.1
    python3 rnn-mnist-1.5.1.py --sweep --resume              # continue an interrupted sweep
    python3 rnn-mnist-1.5.1.py --weights=rnn_mnist.h5        # test pretrained weights

Result to expect: 98.8 % test accuracy (98.81 %, 98.86 % and 98.68 % with seeds 0, 1 and 2; the
book: 98 %, the lowest of its three networks). The printed listing (--constant --no-momentum) has
98.08 % with seed 0.

Departures from the printed listing. `--sweep` has the first two as printed:
 1. The listing's SGD has no momentum, and the accuracy changes strongly from epoch to epoch. Here
    the momentum is 0.9 (`--no-momentum` restores the listing).
 2. The listing's learning rate is constant. Here it decreases to 0 along a cosine, so that the last
    epoch is stable (`--constant` restores the listing).
 3. The listing encodes labels as one-hot vectors with to_categorical. Here they are integers, with
    the sparse cross-entropy. Both losses have the same value; integers need no conversion.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

BATCH_SIZE = 128
EPOCHS = 20
LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2, "rmsprop": 1e-3}  # the defaults of Keras
OPTIMIZER = "sgd"
MOMENTUM = 0.9  # of SGD
CELL = "simple"
LAYERS = 1
UNITS = 256
DROPOUT = 0.2
MODEL_NAME = "rnn_mnist"

# The rows of the book's table 1.5.1, with its train and test accuracy in percent.
SWEEP_COLUMNS = ("cell", "layers", "units", "dropout", "optimizer")
SWEEP = [
    ("simple", 1, 256, 0.2, "sgd", 97.26, 98.00),
    ("simple", 1, 256, 0.2, "rmsprop", 96.72, 97.60),
    ("simple", 1, 256, 0.2, "adam", 96.79, 97.40),
    ("simple", 1, 512, 0.2, "sgd", 97.88, 98.30),
]


def parse_args():
    parser = flags.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_setting(
        "--cell", choices=("simple", "lstm", "gru"), default=CELL, help=f"(default {CELL})"
    )
    parser.add_setting(
        "--layers", type=kinds.positive_int, default=LAYERS, help=f"recurrent layers ({LAYERS})"
    )
    parser.add_setting(
        "--units", type=kinds.positive_int, default=UNITS, help=f"of each of them ({UNITS})"
    )
    parser.add_setting(
        "--bidirectional", action="store_true", help="also read the rows from the last to the first"
    )
    parser.add_setting(
        "--dropout",
        type=kinds.dropout_rate,
        default=DROPOUT,
        help=f"share of each row that training drops (default {DROPOUT})",
    )
    parser.add_setting(
        "--optimizer", choices=LEARNING_RATES, default=OPTIMIZER, help=f"(default {OPTIMIZER})"
    )
    parser.add_setting(
        "--learning-rate", type=kinds.positive, help="of the optimizer (default: that of Keras)"
    )
    parser.add_setting("--constant", action="store_true", help="hold the learning rate")
    parser.add_setting(
        "--no-momentum",
        dest="momentum",
        action="store_const",
        const=0.0,
        default=MOMENTUM,
        help="SGD without momentum",
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

import keras
from keras import layers

from lib import classifier, settings_table
from lib.data import datasets


def build_classifier(cell=CELL, dropout=DROPOUT, bidirectional=False, depth=LAYERS, units=UNITS):
    """Images (batch, 28, 28), a sequence of 28 rows -> probabilities (batch, 10).

    Each of the `depth` recurrent layers but the last hands all of its 28 outputs to the next.
    """
    kinds = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
    model = keras.Sequential([keras.Input((28, 28))], name="rnn")
    for number in range(depth):
        recurrent = kinds[cell](units, dropout=dropout, return_sequences=number < depth - 1)
        model.add(layers.Bidirectional(recurrent) if bidirectional else recurrent)
    model.add(layers.Dense(10))
    model.add(layers.Activation("softmax", dtype="float32"))
    return model


def compile_classifier(model, steps=None, optimizer=OPTIMIZER, rate=None, momentum=MOMENTUM):
    """Sets the loss and the optimizer; its rate falls to 0 in `steps` steps, or is constant.

    Without a rate, it is the optimizer's in LEARNING_RATES.
    """
    rate = rate or LEARNING_RATES[optimizer]
    if steps:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    if optimizer == "sgd":
        chosen = keras.optimizers.SGD(rate, momentum=momentum)
    else:
        kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
        chosen = kinds[optimizer](rate)
    model.compile(
        optimizer=chosen,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def build_row(cell, depth, units, dropout, optimizer):
    """The compiled classifier of one row of SWEEP, in the printed form."""
    model = build_classifier(cell, dropout, depth=depth, units=units)
    compile_classifier(model, optimizer=optimizer, momentum=0.0)
    return model


def load_data():
    return [(x.reshape(len(x), 28, 28), y) for x, y in datasets.mnist()]


def main(args):
    run = program.start(args, MODEL_NAME, __file__, epochs=args.epochs)
    if args.sweep:
        settings_table.train(SWEEP_COLUMNS, SWEEP, build_row, load_data(), run)
        return
    model = build_classifier(args.cell, args.dropout, args.bidirectional, args.layers, args.units)
    run.introduce(f"recurrent network, {args.cell}", "MNIST", model, diagram="rnn-mnist")
    classifier.train_and_test(
        run,
        model,
        load_data,
        lambda steps: compile_classifier(
            model,
            None if args.constant else steps,
            args.optimizer,
            args.learning_rate,
            args.momentum,
        ),
        args.weights,
    )


if __name__ == "__main__":
    program.run(main, args)
