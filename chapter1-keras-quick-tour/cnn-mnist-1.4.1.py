"""CNN on MNIST: three convolutions and one Dense layer tell the ten digits apart.

Realizes listing 1.4.1 of "Advanced Deep Learning with Keras" (R. Atienza), with its sequential API.

    python3 cnn-mnist-1.4.1.py                               train, 10 epochs
    python3 cnn-mnist-1.4.1.py --epochs 20                   train for longer
    python3 cnn-mnist-1.4.1.py --weights=cnn_mnist.h5        load trained weights and test them

Result to expect: 99.3 % test accuracy (99.32 % and 99.27 % with seeds 0 and 1; the book: 99.4 %).

Departures from the printed listing, and why:
 1. Adam's learning rate falls from 1e-3 to 0 along a cosine, so that the last epoch is a settled
    one. `--constant` holds it, as printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

BATCH_SIZE = 128
EPOCHS = 10
LEARNING_RATE = 1e-3
KERNEL_SIZE = 3
FILTERS = 64
POOL_SIZE = 2
DROPOUT = 0.2
MODEL_NAME = "cnn_mnist"


def parse_args():
    parser = cli.training_parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE)
    parser.add_argument("--weights", metavar="FILE", help="test these weights, do not train")
    parser.add_argument("--constant", action="store_true", help="hold the learning rate")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import keras
from keras import layers

from lib import datasets, plots, results, training, weights


def build_classifier():
    """Images (batch, 28, 28, 1) -> probabilities (batch, 10)."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(FILTERS, KERNEL_SIZE, activation="relu"),
            layers.MaxPooling2D(POOL_SIZE),
            layers.Conv2D(FILTERS, KERNEL_SIZE, activation="relu"),
            layers.MaxPooling2D(POOL_SIZE),
            layers.Conv2D(FILTERS, KERNEL_SIZE, activation="relu"),
            layers.Flatten(),
            layers.Dropout(DROPOUT),
            layers.Dense(10),
            layers.Activation("softmax", dtype="float32"),
        ],
        name="cnn",
    )


def compile_classifier(model, steps, constant=False):
    """Sets Adam, with its cosine over `steps` steps unless `constant`, and the loss."""
    rate = LEARNING_RATE
    if not constant:
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def main(args):
    folder = cli.prepare(args, MODEL_NAME)
    (x_train, y_train), (x_test, y_test) = datasets.mnist()
    model = build_classifier()
    model.summary()
    plots.model_diagram(model, folder / "cnn-mnist.png")
    facts = {}
    if args.weights:
        weights.load(model, weights.find(args.weights, __file__))
        compile_classifier(model, steps=1)
    else:
        batch, epoch_steps = training.shuffled_epochs(x_train, y_train, args.batch_size, args.seed)
        compile_classifier(model, args.epochs * epoch_steps, args.constant)

        def test(step, logs):
            _, accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0)
            print(f"epoch {step // epoch_steps}: test accuracy {100 * accuracy:.2f} %", flush=True)

        minutes, logs = training.train(
            model,
            batch,
            steps=args.epochs * epoch_steps,
            interval=epoch_steps,
            restart=folder / "restart.npz",
            settings={
                "seed": args.seed,
                "batch size": args.batch_size,
                "epochs": args.epochs,
                "constant rate": args.constant,
            },
            resume=args.resume,
            after_interval=test,
        )
        weights.save(model, args.output_dir / f"{MODEL_NAME}.h5")
        facts = {
            "epochs": args.epochs,
            "batch_size": args.batch_size,
            "train_images": len(x_train),
            "minutes": round(minutes, 1),
            "train": logs,
        }
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0)
    print(f"Test accuracy: {100 * accuracy:.2f} %")
    results.record(
        folder / "metrics.json",
        args,
        parameters=model.count_params(),
        test_accuracy=round(accuracy, 4),
        test_loss=round(loss, 5),
        **facts,
    )


if __name__ == "__main__":
    cli.run(main, args)
