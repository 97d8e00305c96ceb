"""The scripts of chapter 1: their networks, their flags, and the sweeps over the book's tables."""

import argparse
import itertools
import json
import signal
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, read_json, run_script
from matplotlib.image import imread

from lib import settings_table
from lib.files.errors import Stopped, UserError
from lib.measure import plots
from lib.run.program import Run

CHAPTER = "chapter1-keras-quick-tour"
SAMPLER = f"{CHAPTER}/mnist-sampler-1.3.1.py"
MLP = f"{CHAPTER}/mlp-mnist-1.3.2.py"
CNN = f"{CHAPTER}/cnn-mnist-1.4.1.py"
RNN = f"{CHAPTER}/rnn-mnist-1.5.1.py"


def dense_layers(model):
    return [layer for layer in model.layers if type(layer).__name__ == "Dense"]


def dropout_rates(model):
    return [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]


def test_mlp_has_the_books_network():
    model = load_script(MLP).build_classifier()
    assert model.count_params() == 269_322
    assert dropout_rates(model) == [0.45, 0.45]
    hidden = dense_layers(model)[:-1]
    assert [layer.activation.__name__ for layer in hidden] == ["relu", "relu"]
    assert [layer.kernel_regularizer for layer in hidden] == [None, None]


def test_mlp_arguments_change_the_network():
    model = load_script(MLP).build_classifier([128, 64, 32], dropout=0.2, l2=0.01, relu=False)
    sizes = [784, 128, 64, 32, 10]
    assert model.count_params() == sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert dropout_rates(model) == [0.2] * 3
    hidden = dense_layers(model)[:-1]
    assert [layer.activation.__name__ for layer in hidden] == ["linear"] * 3
    assert [float(layer.kernel_regularizer.l2) for layer in hidden] == pytest.approx([0.01] * 3)
    # Without ReLU and dropout all layers together are one affine map.
    x = np.random.default_rng(0).random((2, 784), "float32")
    linear = keras.Model(model.inputs, model.layers[-2].output)
    ends, middle = linear(x), linear(x.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(middle[0], (ends[0] + ends[1]) / 2, rtol=1e-4, atol=1e-5)


def test_mlp_shifts_by_whole_pixels_in_training_only():
    script = load_script(MLP)
    model = script.build_classifier(shift=1)
    assert model.count_params() == 269_322
    entry = keras.Sequential(model.layers[:3])
    image = np.zeros((1, 28, 28), "float32")
    image[0, 10, 20] = image[0, 10, 0] = 1
    images = np.repeat(image.reshape(1, 784), 200, axis=0)
    np.testing.assert_array_equal(entry(images, training=False), images)
    shifted = np.asarray(entry(images, training=True)).reshape(200, 28, 28)
    assert set(np.unique(shifted)) == {0, 1}
    spots = {tuple(spot) for spot in np.argwhere(shifted[:, :, 10:])[:, 1:]}
    assert spots == {(row, column) for row in (9, 10, 11) for column in (9, 10, 11)}
    # What leaves the image on the left does not come back on the right.
    assert not shifted[:, :, 25:].any()
    assert not any("Random" in type(layer).__name__ for layer in script.build_classifier().layers)


@pytest.mark.parametrize(
    "cell, parameters",
    [
        ("simple", 256 * (28 + 256 + 1)),
        ("lstm", 4 * 256 * (28 + 256 + 1)),
        # The GRU of Keras has a second bias, inside its reset gate.
        ("gru", 3 * 256 * (28 + 256 + 2)),
    ],
)
def test_rnn_parameters(cell, parameters):
    script = load_script(RNN)
    one, two = (script.build_classifier(cell, 0.3, both) for both in (False, True))
    assert one.count_params() == parameters + 256 * 10 + 10
    assert two.count_params() == 2 * parameters + 512 * 10 + 10
    assert one.layers[0].dropout == 0.3
    if cell == "simple":
        assert script.build_classifier().count_params() == 75_530
        assert script.build_classifier().layers[0].dropout == 0.2


def test_rnn_layers_and_units():
    script = load_script(RNN)
    model = script.build_classifier(depth=3, units=8)
    first, later = 8 * (28 + 8 + 1), 8 * (8 + 8 + 1)
    assert model.count_params() == first + 2 * later + 8 * 10 + 10
    assert [layer.return_sequences for layer in model.layers[:3]] == [True, True, False]


def test_rnn_rows_of_the_sweep_are_in_the_printed_form():
    script = load_script(RNN)
    rows = [script.build_row(*row[:-2]) for row in script.SWEEP]
    assert [type(row.optimizer).__name__ for row in rows] == ["SGD", "RMSprop", "Adam", "SGD"]
    assert rows[0].optimizer.momentum == 0
    assert float(rows[0].optimizer.learning_rate) == pytest.approx(0.01)
    assert rows[0].count_params() == 75_530
    assert rows[3].count_params() == 512 * (28 + 512 + 1) + 5130


@pytest.mark.parametrize("path", [MLP, CNN])
def test_the_diagram_is_of_the_printed_network(path, monkeypatch, tmp_path, data_dir):
    script = load_script(path)
    drawn = []
    monkeypatch.setattr(plots, "model_diagram", lambda model, file: drawn.append(model))
    monkeypatch.setattr(
        sys, "argv", ["script.py", "--output-dir", str(tmp_path), "--weights=no.h5"]
    )
    with pytest.raises(UserError, match=r"no weight file 'no\.h5'"):
        script.main(script.parse_args())
    (model,) = drawn
    expected = {"Dense", "Dropout", "Activation"}
    if path == CNN:
        expected |= {"Conv2D", "MaxPooling2D", "Flatten"}
    assert {type(layer).__name__ for layer in model.layers} == expected


def test_cnn_dropout_and_shift():
    script = load_script(CNN)
    shifting = script.build_classifier(shift=1)
    assert shifting.count_params() == 80_266
    assert len(shifting.layers) == len(script.build_classifier().layers) + 1
    images = np.random.default_rng(0).random((8, 28, 28, 1), "float32")
    shifted = np.asarray(shifting.layers[0](images, training=True))
    assert (shifted != images).any()
    np.testing.assert_array_equal(shifting.layers[0](images, training=False), images)
    assert dropout_rates(script.build_classifier()) == [0.2]
    assert dropout_rates(script.build_classifier(dropout=0.4)) == [0.4]


@pytest.mark.parametrize("path", [MLP, CNN, RNN])
def test_the_learning_rate_falls_to_zero(path):
    script = load_script(path)
    model = script.build_classifier()
    script.compile_classifier(model, 100)
    schedule = model.optimizer._learning_rate
    expected = script.LEARNING_RATES[script.OPTIMIZER]
    if path == CNN:
        expected *= script.COSINE_START
    assert float(schedule(0)) == pytest.approx(expected)
    assert float(schedule(50)) == pytest.approx(expected / 2)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-9)
    script.compile_classifier(model, optimizer="sgd", rate=0.25)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.25)


def test_rnn_momentum():
    script = load_script(RNN)
    model = script.build_classifier()
    for momentum in (script.MOMENTUM, 0.0):
        script.compile_classifier(model, momentum=momentum)
        assert model.optimizer.momentum == momentum
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    script.compile_classifier(model, optimizer="rmsprop")
    assert type(model.optimizer).__name__ == "RMSprop"


@pytest.mark.parametrize("path", [MLP, CNN])
def test_a_row_of_the_sweep_has_the_optimizer_of_keras_with_its_default_rate(path):
    script = load_script(path)
    for name, rate in (("sgd", 0.01), ("rmsprop", 0.001), ("adam", 0.001)):
        *values, _, _ = next(row for row in script.SWEEP if name in row)
        optimizer = script.build_row({}, *values).optimizer
        assert type(optimizer).__name__.lower() == name
        assert float(optimizer.learning_rate) == pytest.approx(rate)
        other = script.build_row({"sgd": 0.1}, *values).optimizer
        assert float(other.learning_rate) == pytest.approx(0.1 if name == "sgd" else rate)


def test_mlp_row_of_the_sweep():
    script = load_script(MLP)
    first, second, *_, last = [script.build_row({}, *row[:-2]) for row in script.SWEEP]
    assert first.count_params() == 784 * 256 + 256 + 2 * (256 * 256 + 256) + 2570
    assert dense_layers(first)[0].activation.__name__ == "linear"
    assert dense_layers(first)[0].kernel_regularizer is None
    assert dense_layers(second)[0].activation.__name__ == "relu"
    assert float(dense_layers(second)[0].kernel_regularizer.l2) == pytest.approx(0.001)
    assert dropout_rates(second) == [0.0] * 3
    assert dropout_rates(last) == [0.45] * 3


def rows_of_table(text):
    """The lines of an output, without the last lines of every run."""
    return [line for line in text.splitlines() if not line.startswith(("Published", "Files"))]


def test_sampler(tmp_path, data_dir):
    done = run_script(SAMPLER, "--output-dir=first", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    # The labels of the 64 and of the 32 tiny images repeat 0..9.
    assert [list(map(int, line.split()[1:])) for line in done.stdout.splitlines()[:3]] == [
        list(range(10)),
        [7, 7, 7, 7, 6, 6, 6, 6, 6, 6],
        [4, 4, 3, 3, 3, 3, 3, 3, 3, 3],
    ]
    drawn = imread(tmp_path / "first" / "mnist_samples" / "mnist-samples.png")
    for seed in (0, 1):
        args = argparse.Namespace(seed=seed, output_dir=tmp_path, show=False)
        load_script(SAMPLER).main(args)
        again = imread(tmp_path / "mnist_samples" / "mnist-samples.png")
        assert np.array_equal(drawn, again) == (seed == 0)


@pytest.mark.parametrize(
    "path, name, flags, parameters",
    [
        (
            MLP,
            "mlp_mnist",
            "--layers 8-16 --dropout 0 --l2 0.01 --no-relu --optimizer rmsprop",
            784 * 8 + 8 + 8 * 16 + 16 + 170,
        ),
        (
            RNN,
            "rnn_mnist",
            "--cell gru --bidirectional --units 8 --layers 2 --dropout 0.1 --optimizer adam",
            2 * 3 * 8 * (28 + 8 + 2) + 2 * 3 * 8 * (16 + 8 + 2) + 170,
        ),
    ],
)
def test_trains_and_loads_with_flags(path, name, flags, parameters, tmp_path, data_dir):
    flags = flags.split()
    done = run_script(path, *flags, "--epochs", 1, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = read_json(tmp_path / name / "metrics.json")
    assert trained["parameters"] == parameters
    if path == MLP:
        flags.append("--no-shift")  # the layer has no weights, and acts only in training
    done = run_script(path, *flags, f"--weights={name}.h5", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    loaded = read_json(tmp_path / name / "evaluation.json")
    assert loaded["test_accuracy"] == trained["test_accuracy"]
    assert loaded["test_loss"] == pytest.approx(trained["test_loss"], abs=1e-4)


def test_sweep_writes_every_row_and_resumes(tmp_path, data_dir):
    def run_sweep(*flags):
        flags = ("--sweep", "--epochs=1", "--batch-size=64", *flags)
        return run_script(CNN, *flags, folder=tmp_path, data=data_dir)

    path = tmp_path / "cnn_mnist" / "sweep.json"
    done = run_sweep()
    assert done.returncode == 0, done.stderr
    whole = read_json(path)
    script = load_script(CNN)
    assert (whole["seed"], whole["epochs"], whole["batch_size"]) == (0, 1, 64)
    assert [
        (*row["settings"].values(), 100 * row["book_train"], 100 * row["book_test"])
        for row in whole["rows"]
    ] == [(*row[:-2], pytest.approx(row[-2]), pytest.approx(row[-1])) for row in script.SWEEP]
    assert all(0 <= row["test_accuracy"] <= 1 for row in whole["rows"])
    table = [line.split() for line in rows_of_table(done.stdout)[-5:]]
    assert table[0] == ["optimizer", "dropout", "train", "book", "test", "book"]
    assert [(row[0], float(row[1]), float(row[3]), float(row[5])) for row in table[1:]] == (
        script.SWEEP
    )

    # As if a kill had lost the second and the last row.
    path.write_text(json.dumps({**whole, "rows": whole["rows"][0:3:2]}))
    done = run_sweep("--resume")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("row ")] == [
        "row 2 of 4: {'optimizer': 'rmsprop', 'dropout': 0.2}",
        "row 4 of 4: {'optimizer': 'adam', 'dropout': 0.4}",
    ]
    resumed = read_json(path)["rows"]
    for a, b in zip(resumed, whole["rows"], strict=True):
        assert {**a, "minutes": 0} == {**b, "minutes": 0}


def test_mlp_sweep_trains_the_remaining_rows(tmp_path, data_dir):
    script = load_script(MLP)
    settings = [dict(zip(script.SWEEP_COLUMNS, row[:-2], strict=True)) for row in script.SWEEP]
    done = {"minutes": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.25}
    former = {
        "seed": 2,
        "epochs": 1,
        "batch_size": 32,
        "train_images": 64,
        "precision": "float32",
        "learning_rates": {"sgd": 0.5},
        "rows": [
            {"settings": row, **done, "book_train": 1.0, "book_test": 1.0} for row in settings[:-1]
        ],
    }
    path = tmp_path / "mlp_mnist" / "sweep.json"
    path.parent.mkdir()
    path.write_text(json.dumps(former))
    flags = ("--sweep", "--resume", "--epochs=1", "--batch-size=32", "--seed=2")
    run = run_script(MLP, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(run, "belongs to a sweep with learning_rates {'sgd': 0.5}")
    flags = (*flags, "--optimizer=sgd", "--learning-rate=0.5")
    run = run_script(MLP, *flags, folder=tmp_path, data=data_dir)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("row ") == 1
    rows = read_json(path)["rows"]
    assert [row["settings"] for row in rows] == settings
    assert [100 * row["book_test"] for row in rows] == pytest.approx([r[-1] for r in script.SWEEP])
    assert [row["test_accuracy"] for row in rows[:-1]] == [0.25] * 17
    table = [line.split() for line in rows_of_table(run.stdout)[-19:]]
    assert table[0] == [*script.SWEEP_COLUMNS, "train", "book", "test", "book"]
    assert " ".join(table[1]) == "256-256-256 0.0 0.0 sgd False 50.00 93.65 25.00 92.50"


def test_a_sweep_resumes_within_a_row(tmp_path):
    rng = np.random.default_rng(0)
    data = [(rng.random((32, 6), "float32"), rng.integers(0, 3, 32)) for _ in range(2)]
    run = Run(tmp_path / "script.py", tmp_path, tmp_path, seed=7, budget=3, batch_size=8)
    trained = []

    def build(units, ctrl_c=False):
        trained.append(units)
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
        )
        model.add(keras.layers.Dense(3, activation="softmax"))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        if ctrl_c:
            fit = model.fit
            model.fit = lambda **given: (fit(**given), signal.raise_signal(signal.SIGINT))
        return model

    def rows(folder):
        return [{**row, "minutes": 0} for row in read_json(folder / "sweep.json")["rows"]]

    table = [(4, 90, 80), (5, 90, 80), (6, 90, 80)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    settings_table.train(["units"], table, build, data, replace(run, folder=whole))
    assert trained == [4, 5, 6]
    with pytest.raises(Stopped, match="step 4 of 12"):
        stopped = replace(run, folder=broken)
        settings_table.train(
            ["units"], table, lambda units: build(units, units == 5), data, stopped
        )
    assert rows(broken) == rows(whole)[:1]
    trained.clear()
    settings_table.train(["units"], table, build, data, replace(run, folder=broken, resume=True))
    assert trained == [5, 6]
    assert rows(broken) == rows(whole)

    other = replace(run, seed=8, resume=True)
    with pytest.raises(UserError, match=r"sweep\.json' belongs to a sweep with seed 7, this one"):
        settings_table.train(["units"], table, build, data, replace(other, folder=whole))
    with pytest.raises(UserError, match=r"nothing to resume: no .*sweep\.json"):
        settings_table.train(["units"], table, build, data, other)
    assert rows(whole) == rows(broken)


@pytest.mark.parametrize(
    "path, flags, parts",
    [
        (MLP, ("--layers", "256-x"), ("--layers", "256-256", "'256-x'")),
        (MLP, ("--layers=256-0",), ("--layers", "'256-0'")),
        (MLP, ("--dropout=1.5",), ("--dropout", "'1.5'")),
        (MLP, ("--l2=-1",), ("--l2", "'-1'")),
        (MLP, ("--optimizer=sdg",), ("--optimizer", "'sdg'", "rmsprop")),
        (MLP, ("--sweep", "--weights=mlp_mnist.h5"), ("--sweep", "--weights")),
        (CNN, ("--dropout=half",), ("--dropout", "'half'")),
        (RNN, ("--cell=rnn",), ("--cell", "'rnn'", "gru")),
        (RNN, ("--dropout=nan",), ("--dropout", "'nan'")),
        (CNN, ("--learning-rate=0",), ("--learning-rate", "a number above 0", "'0'")),
        (SAMPLER, ("--seed=x",), ("--seed", "'x'")),
    ],
)
def test_bad_flags_get_one_line_and_exit_code_2(path, flags, parts, tmp_path, data_dir):
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, *parts)
