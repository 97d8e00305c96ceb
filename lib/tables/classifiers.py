"""Tables of the classifiers of chapter 1."""

from lib.tables.cells import record, spread, table

CLASSIFIERS = {
    "MLP": ("mlp-mnist-1.3.2", "98.5 %"),
    "CNN": ("cnn-mnist-1.4.1", "99.4 %"),
    "RNN": ("rnn-mnist-1.5.1", "98 %"),
}


MEASURES = ("train_accuracy", "book_train", "test_accuracy", "book_test")


def percent(share):
    return f"{100 * share:.2f} %"


def chapter1():
    header = ["", "parameters", "test accuracy", "the book", "epochs", "minutes"]
    rows = []
    for label, (name, book) in CLASSIFIERS.items():
        found = record(name)
        accuracy, minutes = percent(found["test_accuracy"]), f"{found['minutes']:.1f}"
        parameters, epochs = f"{found['parameters']:,}", str(found["epochs"])
        rows.append([label, parameters, accuracy, book, epochs, minutes])
    return table(header, rows)


def departures():
    header = ["test accuracy, %", "default", "seeds", "as printed", "seeds", "no shifts"]
    printed = {
        "MLP": [record(f"mlp-mnist-1.3.2-printed{s}") for s in ("", "-seed1")],
        "CNN": [record("cnn-mnist-1.4.1-sweep")["rows"][2]],
        "RNN": [record("rnn-mnist-1.5.1-printed")],
    }
    shifts = {"MLP": "mlp-mnist-1.3.2-no-shift", "CNN": "cnn-mnist-1.4.1-no-shift"}
    rows = []
    for label, (name, _) in CLASSIFIERS.items():
        suffixes = ("", "-seed1") if label == "CNN" else ("", "-seed1", "-seed2")
        found = [record(f"{name}{suffix}") for suffix in suffixes]
        alone = [record(shifts[label])] if label in shifts else []
        rows.append(
            [
                label,
                spread(found, "test_accuracy", ".2f", 100),
                str(len(found)),
                spread(printed[label], "test_accuracy", ".2f", 100),
                str(len(printed[label])),
                spread(alone, "test_accuracy", ".2f", 100) if alone else "-",
            ]
        )
    return table(header, rows)


def mlp_sweep():
    header = ["layers", "dropout", "L2", "optimizer", "train", "book", "test", "book", "SGD 0.1"]
    faster = {
        tuple(row["settings"].values()): row
        for row in record("mlp-mnist-1.3.2-sweep-sgd-0.1")["rows"]
    }
    rows = []
    for row in record("mlp-mnist-1.3.2-sweep")["rows"]:
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
                f"{100 * faster[key]['test_accuracy']:.2f}"
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


def mlp_gap():
    rows = []
    for label, (name, row, book) in GAP.items():
        found = record(name) if row is None else record(name)["rows"][row]
        rows.append([label, percent(found["test_accuracy"]), book])
    return table(["256-256-256, dropout 0.45", "test", "the book"], rows)


def cnn_sweep():
    header = ["optimizer", "dropout", "train", "the book", "test", "the book"]
    rows = []
    for row in record("cnn-mnist-1.4.1-sweep")["rows"]:
        settings = row["settings"]
        cells = [percent(row[key]) for key in MEASURES]
        rows.append([settings["optimizer"], str(settings["dropout"]), *cells])
    sgd = percent(record("cnn-mnist-1.4.1-sgd-0.1")["test_accuracy"])
    rows.append(["sgd, rate 0.1", "0.2", "-", "-", sgd, "-"])
    return table(header, rows)


TABLES = {
    "accuracy-1": chapter1,
    "departures-1": departures,
    "mlp-sweep": mlp_sweep,
    "mlp-gap": mlp_gap,
    "cnn-sweep": cnn_sweep,
}
