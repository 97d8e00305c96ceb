"""RNN on MNIST: a recurrent layer reads each image row by row and tells the ten digits apart.

Realizes listing 1.5.1 of "Advanced Deep Learning with Keras" (R. Atienza), with its sequential API.

    python3 rnn-mnist-1.5.1.py                               train, 20 epochs
    python3 rnn-mnist-1.5.1.py --cell lstm                   another recurrent layer
    python3 rnn-mnist-1.5.1.py --cell gru --bidirectional    from top to bottom and back
    python3 rnn-mnist-1.5.1.py --weights=rnn_mnist.h5        load trained weights and test them

Result to expect: 98.8 % test accuracy (98.81 %, 98.86 % and 98.68 % with seeds 0, 1 and 2; the
book: 98 %, the lowest of its three networks). With --constant --no-momentum, which is the printed
listing, 98.08 % with seed 0.

Departures from the printed listing, and why:
 1. SGD has a momentum of 0.9: without it the network is still learning after 20 epochs, and its
    accuracy wanders from one to the next. `--no-momentum` takes it away.
 2. The learning rate falls from the optimizer's default to 0 along a cosine, so that the last epoch
    is a settled one. `--constant` holds it, as printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

BATCH_SIZE = 128
EPOCHS = 20
LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2, "rmsprop": 1e-3}  # the defaults of Keras
OPTIMIZER = "sgd"
MOMENTUM = 0.9  # of SGD
CELL = "simple"
UNITS = 256
DROPOUT = 0.2
MODEL_NAME = "rnn_mnist"


def parse_args():
    parser = cli.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument(
        "--cell", choices=("simple", "lstm", "gru"), default=CELL, help=f"(default {CELL})"
    )
    parser.add_argument(
        "--bidirectional", action="store_true", help="read the rows from the last to the first, too"
    )
    parser.add_argument(
        "--dropout",
        type=cli.dropout_rate,
        default=DROPOUT,
        help=f"share of each row that training drops (default {DROPOUT})",
    )
    parser.add_argument(
        "--optimizer", choices=LEARNING_RATES, default=OPTIMIZER, help=f"(default {OPTIMIZER})"
    )
    parser.add_argument(
        "--learning-rate", type=cli.positive, help="of the optimizer (default: that of Keras)"
    )
    parser.add_argument("--constant", action="store_true", help="hold the learning rate")
    parser.add_argument("--no-momentum", action="store_true", help="SGD without momentum")
    parser.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers

from lib import classification, datasets, plots


def build_classifier(cell=CELL, dropout=DROPOUT, bidirectional=False):
    """Images (batch, 28, 28), a sequence of 28 rows -> probabilities (batch, 10)."""
    kinds = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
    recurrent = kinds[cell](UNITS, dropout=dropout)
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Bidirectional(recurrent) if bidirectional else recurrent,
            layers.Dense(10),
            layers.Activation("softmax", dtype="float32"),
        ],
        name="rnn",
    )


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


def main(args):
    folder = cli.prepare(args, MODEL_NAME)
    momentum = 0.0 if args.no_momentum else MOMENTUM
    model = build_classifier(args.cell, args.dropout, args.bidirectional)
    model.summary()
    plots.model_diagram(model, folder / "rnn-mnist.png")
    classification.train_and_test(
        model,
        [(x.reshape(len(x), 28, 28), y) for x, y in datasets.mnist()],
        args,
        folder,
        script=__file__,
        name=MODEL_NAME,
        compile_for=lambda steps: compile_classifier(
            model, None if args.constant else steps, args.optimizer, args.learning_rate, momentum
        ),
        settings={
            "epochs": args.epochs,
            "constant rate": args.constant,
            "cell": args.cell,
            "bidirectional": args.bidirectional,
            "dropout": args.dropout,
            "optimizer": args.optimizer,
            "learning rate": args.learning_rate,
            "momentum": momentum,
        },
    )


if __name__ == "__main__":
    cli.run(main, args)
