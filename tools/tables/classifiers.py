"""Tables of the classifiers of chapters 1 and 2."""

from operator import itemgetter
from typing import Any

from tools import registry
from tools.tables.cells import NOT_MEASURED, cell, minutes_on, record, recorded, spread, table

SEEDS = ("", "-seed1", "-seed2")
MEASURES = ("train_accuracy", "book_train", "test_accuracy", "book_test")


def sweep(name: str) -> list[dict[str, Any]]:
    """The rows of a sweep, none if it has no record."""
    return record(name).get("rows", [])


def chapter1() -> str:
    header = ["", "parameters", "test accuracy", "the book", "epochs", "minutes"]
    rows = []
    for label, row in registry.runs([1]).items():
        found = record(row.script)
        accuracy, minutes = cell(found, "test_accuracy", ".2%"), cell(found, "minutes", ".1f")
        parameters, epochs = cell(found, "parameters", ","), cell(found, "epochs", "d")
        rows.append([label, parameters, accuracy, row.book, epochs, minutes])
    return table(header, rows)


def departures() -> str:
    header = ["test accuracy, %", "default", "seeds", "as printed", "seeds", "no shifts"]
    printed: dict[str, list[Any]] = {
        "MLP": recorded(f"mlp-mnist-1.3.2-printed{s}" for s in ("", "-seed1")),
        "CNN": sweep("cnn-mnist-1.4.1-sweep")[2:3],
        "RNN": recorded(["rnn-mnist-1.5.1-printed"]),
    }
    shifts = {"MLP": "mlp-mnist-1.3.2-no-shift", "CNN": "cnn-mnist-1.4.1-no-shift"}
    rows = []
    for label, listed in registry.runs([1]).items():
        found = recorded(f"{listed.script}{seed}" for seed in SEEDS)
        as_printed = printed.get(label, [])
        unshifted = [record(shifts[label])] if label in shifts else []
        rows.append(
            [
                label,
                spread(found, "test_accuracy", ".2f", 100),
                str(len(found)),
                spread(as_printed, "test_accuracy", ".2f", 100) if label in printed else "-",
                str(len(as_printed)),
                spread(unshifted, "test_accuracy", ".2f", 100) if unshifted else "-",
            ]
        )
    return table(header, rows)


def mlp_sweep() -> str:
    header = ["layers", "dropout", "L2", "optimizer", "train", "book", "test", "book", "SGD 0.1"]
    faster = {
        tuple(row["settings"].values()): row for row in sweep("mlp-mnist-1.3.2-sweep-sgd-0.1")
    }
    rows = []
    for row in sweep("mlp-mnist-1.3.2-sweep"):
        settings = row["settings"]
        key = tuple(settings.values())
        optimizer = settings["optimizer"] + ("" if settings["relu"] else ", no ReLU")
        rows.append(
            [
                settings["layers"],
                str(settings["dropout"]),
                str(settings["l2"]),
                optimizer,
                *(f"{100 * row[measure]:.2f}" for measure in MEASURES),
                cell(faster.get(key, {}), "test_accuracy", ".2f", 100)
                if settings["optimizer"] == "sgd"
                else "-",
            ]
        )
    return table(header, rows)


GAP = {
    "SGD, as printed": ("mlp-mnist-1.3.2-sweep", 5, "98.1 %"),
    "SGD, learning rate 0.1": ("mlp-mnist-1.3.2-sweep-sgd-0.1", 5, "98.1 %"),
    "SGD, batch size 16": ("mlp-mnist-1.3.2-3-layers-sgd-batch-16", None, "98.1 %"),
    "SGD, 200 epochs": ("mlp-mnist-1.3.2-3-layers-sgd-200-epochs", None, "98.1 %"),
    "Adam, as printed": ("mlp-mnist-1.3.2-sweep", 15, "98.5 %"),
    "Adam, 100 epochs": ("mlp-mnist-1.3.2-3-layers-adam-100-epochs", None, "98.5 %"),
}


def mlp_gap() -> str:
    rows = []
    for label, (name, row, book) in GAP.items():
        key = "test_accuracy" if row is None else f"rows/{row}/test_accuracy"
        rows.append([label, cell(record(name), key, ".2%"), book])
    return table(["256-256-256, dropout 0.45", "test", "the book"], rows)


def cnn_sweep() -> str:
    sgd = cell(record("cnn-mnist-1.4.1-sgd-0.1"), "test_accuracy", ".2%")
    further = ["sgd, rate 0.1", "0.2", "-", "-", sgd, "-"]
    return printed_table("cnn-mnist-1.4.1-sweep", "optimizer", "dropout", further)


def rnn_sweep() -> str:
    return printed_table("rnn-mnist-1.5.1-sweep", "units", "optimizer")


def printed_table(name: str, first: str, second: str, *further: list[str]) -> str:
    """Accuracies of a sweep next to the book's, with two of its settings and further rows."""
    header = [first, second, "train", "the book", "test", "the book"]
    rows = []
    for row in sweep(name):
        settings = [str(row["settings"][key]) for key in (first, second)]
        rows.append([*settings, *(cell(row, key, ".2%") for key in MEASURES)])
    return table(header, [*rows, *further])


RESNET = "resnet-cifar10-2.2.1-resnet"
DEEP = {
    "CNN, functional API": ("cnn-functional-2.1.1", "99.3 to 99.4 %", 20),
    "Y-network": ("cnn-y-network-2.1.2", "99.4 to 99.5 %", 20),
    "ResNet20 v1": (f"{RESNET}20v1", "92.16 %", 200),
    "ResNet32 v1": (f"{RESNET}32v1", "92.46 %", 200),
    "ResNet44 v1": (f"{RESNET}44v1", "92.50 %", 200),
    "ResNet56 v1": (f"{RESNET}56v1", "92.71 %", 200),
    "ResNet110 v1": (f"{RESNET}110v1", "92.65 %", 200),
    "ResNet56 v2": (f"{RESNET}56v2", "93.01 %", 200),
    "ResNet110 v2": (f"{RESNET}110v2", "93.15 %", 200),
    "DenseNet-BC-100": ("densenet-cifar10-2.4.1", "93.74 %", 200),
}


def chapter2() -> str:
    """The trainings with the book's recipe, over the seeds whose records exist."""
    header = ["", "test accuracy, %", "seeds", "the book", "epochs here", "in the book", "minutes"]
    rows = []
    for label, (name, book, epochs) in DEEP.items():
        found = recorded(f"{name}{seed}" for seed in SEEDS)
        accuracy, seeds = spread(found, "test_accuracy", ".2f", 100), str(len(found))
        first = found[0] if found else {}
        here, minutes = cell(first, "epochs", "d"), cell(first, "minutes", ".1f")
        rows.append([label, accuracy, seeds, book, here, str(epochs), minutes])
    return table(header, rows)


SHIFTS = {
    "35 epochs": ("-35-epochs", "-35-epochs-blurred"),
    "200 epochs": ("", "-blurred"),
}


def shifts() -> str:
    header = ["ResNet20 v1", "whole pixels", "between pixels"]
    rows = []
    for label, suffixes in SHIFTS.items():
        found = [record(f"{RESNET}20v1{suffix}") for suffix in suffixes]
        rows.append([label, *(cell(each, "test_accuracy", ".2%") for each in found)])
    return table(header, rows)


# The book's accuracy, and that of the paper.
ONE_CYCLE = {
    "ResNet20 v1": (f"{RESNET}20v1-one-cycle", "92.16 %", "91.25 %"),
    "ResNet20 v1, smoothing": (f"{RESNET}20v1-one-cycle-smoothing", "92.16 %", "91.25 %"),
    "ResNet32 v1": (f"{RESNET}32v1-one-cycle", "92.46 %", "92.49 %"),
    "ResNet44 v1": (f"{RESNET}44v1-one-cycle", "92.50 %", "92.83 %"),
    "ResNet56 v1": (f"{RESNET}56v1-one-cycle", "92.71 %", "93.03 %"),
    "ResNet110 v1": (f"{RESNET}110v1-one-cycle", "92.65 %", "93.57 %"),
    "ResNet56 v2": (f"{RESNET}56v2-one-cycle", "93.01 %", "-"),
    "ResNet110 v2": (f"{RESNET}110v2-one-cycle", "93.15 %", "-"),
    "DenseNet-BC-100": ("densenet-cifar10-2.4.1-one-cycle", "93.74 %", "95.49 %"),
}


def one_cycle() -> str:
    """The trainings with the one-cycle recipe whose records exist."""
    header = ["", "epochs", "test accuracy, %", "seeds", "the book", "paper", "minutes", "PFLOP"]
    rows = []
    for label, (name, book, paper) in ONE_CYCLE.items():
        for length in ("-40-epochs", ""):
            found = recorded(f"{name}{length}{seed}" for seed in SEEDS)
            if found:
                accuracy = spread(found, "test_accuracy", ".2f", 100)
                # Other programs slowed the seeds down, each by a different amount.
                minutes = minutes_on(min(found, key=itemgetter("minutes")), ".0f")
                work = f"{found[0]['train_pflop']:.1f}"
                epochs, seeds = str(found[0]["epochs"]), str(len(found))
                rows.append([label, epochs, accuracy, seeds, book, paper, minutes, work])
    return table(header, rows)


PARTS = "resnet-cifar10-2.2.1-ablation"
ABLATION = {
    "the whole recipe": f"{RESNET}20v1-one-cycle-40-epochs",
    "no rise of the rate": f"{PARTS}-no-warm-up",
    "no weight decay": f"{PARTS}-no-decay",
    "no shifts": f"{PARTS}-no-shift",
    "no flips": f"{PARTS}-no-flip",
    "Adam, rate 0.002": f"{PARTS}-adam",
    "the book's, 35 epochs": f"{RESNET}20v1-35-epochs",
    "weight decay 0.0002": f"{PARTS}-decay-2e-4",
    "label smoothing 0.1": f"{PARTS}-smoothing",
    "batches of 32, rate 0.05": f"{PARTS}-batch-32",
}


def ablation() -> str:
    """ResNet20 with parts of the one-cycle recipe."""
    header = ["ResNet20 v1", "test accuracy", "training accuracy"]
    rows = []
    for label, name in ABLATION.items():
        found = record(name)
        rows.append([label, *(cell(found, k, ".2%") for k in ("test_accuracy", "train/accuracy"))])
    return table(header, rows)


HELD_OUT = "resnet-cifar10-2.2.1-held-out-80-epochs"
TUNED = {
    "the default": HELD_OUT,
    "weight decay 0.001": f"{HELD_OUT}-decay-1e-3",
    "label smoothing 0.1": f"{HELD_OUT}-smoothing",
    "both": f"{HELD_OUT}-decay-1e-3-smoothing",
}


def held_out() -> str:
    """ResNet20 on training images that were held out, over the seeds whose records exist."""
    rows = []
    for label, name in TUNED.items():
        found = recorded(f"{name}{seed}" for seed in SEEDS)
        each = ", ".join(cell(run, "held_out_accuracy", ".2f", 100) for run in found)
        rows.append([label, spread(found, "held_out_accuracy", ".2f", 100), each or NOT_MEASURED])
    return table(["ResNet20 v1, 80 epochs", "held-out accuracy, %", "seeds 0 and 1"], rows)


CELLS = {"SimpleRNN": "", "LSTM": "-lstm", "GRU": "-gru"}


def recurrent() -> str:
    """The recurrent layers, over the seeds whose records exist."""
    header = ["cell", "parameters", "test accuracy, %", "training, %", "seeds", "minutes"]
    rows = []
    for label, suffix in CELLS.items():
        found = recorded(f"rnn-mnist-1.5.1{suffix}{seed}" for seed in SEEDS)
        if found:
            keys = ("test_accuracy", "train/accuracy")
            accuracies = [spread(found, key, ".2f", 100) for key in keys]
            parameters, minutes = f"{found[0]['parameters']:,}", f"{found[0]['minutes']:.1f}"
            rows.append([label, parameters, *accuracies, str(len(found)), minutes])
    return table(header, rows)


TABLES = {
    "one-cycle": one_cycle,
    "one-cycle-parts": ablation,
    "one-cycle-held-out": held_out,
    "recurrent": recurrent,
    "accuracy-2": chapter2,
    "shifts": shifts,
    "accuracy-1": chapter1,
    "departures-1": departures,
    "mlp-sweep": mlp_sweep,
    "mlp-gap": mlp_gap,
    "cnn-sweep": cnn_sweep,
    "rnn-sweep": rnn_sweep,
}
