"""Chapter 2: exact networks, the schedule, augmentation, and every script by its command line."""

import importlib.util
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import (
    ROOT,
    assert_one_line_error,
    interrupt_script,
    load_script,
    read_json,
    run_script,
)

from lib import classifier, one_cycle
from lib.files import weights
from lib.files.errors import UserError
from lib.measure import plots
from lib.run import training
from lib.run.program import Run

CNN = "chapter2-deep-networks/cnn-functional-2.1.1.py"
Y_NETWORK = "chapter2-deep-networks/cnn-y-network-2.1.2.py"
RESNET = "chapter2-deep-networks/resnet-cifar10-2.2.1.py"
DENSENET = "chapter2-deep-networks/densenet-cifar10-2.4.1.py"


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def conv(inputs, outputs, size):
    return size**2 * inputs * outputs + outputs


def resnet_v1_parameters(n):
    """Kernels, biases, and gain and offset of each normalization."""
    count, inputs = conv(3, 16, 3) + 2 * 16, 16
    for filters in (16, 32, 64):
        count += conv(inputs, filters, 3) + (2 * n - 1) * conv(filters, filters, 3)
        count += 2 * n * 2 * filters
        if inputs != filters:
            count += conv(inputs, filters, 1)
        inputs = filters
    return count + 64 * 10 + 10


def resnet_v2_parameters(n):
    count, inputs = conv(3, 16, 3) + 2 * 16, 16
    for inner, outer in ((16, 64), (64, 128), (128, 256)):
        for block in range(n):
            count += conv(inputs, inner, 1) + conv(inner, inner, 3) + conv(inner, outer, 1)
            count += 2 * (2 * inner + (0 if (inner, block) == (16, 0) else inputs))
            if block == 0:
                count += conv(inputs, outer, 1)
            inputs = outer
    return count + 2 * 256 + 256 * 10 + 10


def test_the_functional_cnn_is_the_sequential_one():
    assert load_script(CNN).build_classifier().count_params() == 80_266


def test_the_y_network_has_two_branches_of_which_one_is_dilated():
    model = load_script(Y_NETWORK).build_classifier()
    branch = conv(1, 32, 3) + conv(32, 64, 3) + conv(64, 128, 3)
    assert model.count_params() == 2 * branch + 2 * 3 * 3 * 128 * 10 + 10
    rates = [layer.dilation_rate for layer in model.layers if hasattr(layer, "dilation_rate")]
    assert sorted(rates) == [(1, 1)] * 3 + [(2, 2)] * 3


@pytest.mark.parametrize("n, papers", [(3, 0.27), (5, 0.46), (9, 0.85)])
def test_resnet_v1_counts(n, papers):
    script = load_script(RESNET)
    model = script.build_resnet(script.resnet_depth(n, 1), 1)
    assert trainable(model) == resnet_v1_parameters(n)
    assert trainable(model) / 1e6 == pytest.approx(papers, abs=0.01)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    # The two projections on the shortcuts are not counted as layers.
    assert len(convolutions) - 2 + 1 == 6 * n + 2


def test_resnet_v2_counts():
    script = load_script(RESNET)
    model = script.build_resnet(script.resnet_depth(6, 2), 2)
    assert trainable(model) == resnet_v2_parameters(6)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) - 3 + 1 == 9 * 6 + 2 == 56


@pytest.mark.parametrize("depth, version", [(21, 1), (2, 1), (21, 2)])
def test_another_depth_is_refused(depth, version):
    with pytest.raises(ValueError, match=rf"v{version}: expected a depth of .*, found {depth}"):
        load_script(RESNET).build_resnet(depth, version)


def test_densenet_bc_100_has_the_papers_parameters():
    model = load_script(DENSENET).build_densenet(100, 12)
    assert trainable(model) == 769_162
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) + 1 == 100
    channels = [layer.output.shape[-1] for layer in convolutions if layer.kernel_size == (1, 1)]
    assert [c for c in channels if c != 48] == [(24 + 16 * 12) // 2, (108 + 16 * 12) // 2]


def test_densenet_has_dropout_without_augmentation_only():
    script = load_script(DENSENET)
    for augmentation in (script.augment, None):
        model = script.build_densenet(10, 4, augmentation)
        dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert len(dropouts) == (0 if augmentation else 6)
    assert not any(
        isinstance(layer, keras.layers.Dropout)
        for layer in script.build_densenet(10, 4, None, dropout=0).layers
    )


@pytest.mark.parametrize("path, flags", [(RESNET, "--n 1"), (DENSENET, "--depth 10")])
def test_the_diagram_is_of_the_printed_network(path, flags, monkeypatch, tmp_path, data_dir):
    script = load_script(path)
    drawn = []
    monkeypatch.setattr(plots, "model_diagram", lambda model, file: drawn.append(model))
    flags = [*flags.split(), "--output-dir", str(tmp_path), "--weights=none.h5"]
    monkeypatch.setattr(sys, "argv", ["script.py", *flags])
    with pytest.raises(UserError, match=r"no weight file 'none\.h5'"):
        script.main(script.parse_args())
    (model,) = drawn
    names = {type(layer).__name__ for layer in model.layers}
    assert "Conv2D" in names
    assert not names & {"RandomFlip", "RandomTranslation", "Dropout"}


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_augmentation_shifts_by_whole_pixels_and_mirrors_in_training_only(path):
    script = load_script(path)
    images = keras.Input((32, 32, 3))
    model = keras.Model(images, script.augment(images))
    # A ramp from left to right: its slope shows the mirroring, its value in the middle the shift.
    x = np.tile(np.arange(32, dtype="float32")[None, None, :, None], (400, 32, 1, 3))
    np.testing.assert_array_equal(model(x, training=False), x)
    y = keras.ops.convert_to_numpy(model(x, training=True))[:, 16, :, 0]
    mirrored = y[:, 20] < y[:, 12]
    assert 0.4 < mirrored.mean() < 0.6
    middle = np.where(mirrored[:, None], y[:, ::-1], y)[:, 16]
    shifts = middle - 16
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-5)
    assert np.abs(shifts).max() == 3
    assert np.abs(shifts).std() > 0.5


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_the_learning_rate_falls_at_the_books_epochs(path):
    script = load_script(path)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(10)])
    steps_per_epoch = 1563
    script.compile_classifier(model, 200 * steps_per_epoch)
    schedule = model.optimizer._learning_rate
    for epoch, factor in ((0, 1), (79, 1), (81, 0.1), (121, 1e-2), (161, 1e-3), (181, 5e-4)):
        assert float(schedule(epoch * steps_per_epoch)) == pytest.approx(1e-3 * factor)


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_one_cycle_shifts_by_up_to_four_pixels_and_reflects(path):
    script = load_script(path)
    images = keras.Input((32, 32, 3))
    outputs = script.augment(images, script.ONE_CYCLE["shift"], "reflect", flip=False)
    model = keras.Model(images, outputs)
    x = np.tile(np.arange(32, dtype="float32")[None, None, :, None], (2000, 32, 1, 3))
    y = keras.ops.convert_to_numpy(model(x, training=True))[:, 16, :, 0]
    shifts = 16 - y[:, 16]
    values, counts = np.unique(shifts, return_counts=True)
    assert values.tolist() == list(range(-4, 5))
    assert counts.min() > 150 and counts.max() < 300  # 222 each
    right = y[shifts == 2][0]
    assert right[:4].tolist() == [1, 0, 0, 1]


def settings(**changes):
    return {**load_script(RESNET).ONE_CYCLE, "warm_up": 0.25, "learning_rate": 0.4, **changes}


def compiled(steps=100, **changes):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Softmax(),
        ]
    )
    one_cycle.compile_one_cycle(model, steps, settings(**changes))
    model.optimizer.build(model.trainable_variables)
    return model


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    schedule = compiled().optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 10, 25, 62.5, 100)]
    np.testing.assert_allclose(rates, [0, 0.16, 0.4, 0.2, 0], atol=1e-6)
    schedule = compiled(warm_up=0).optimizer._learning_rate
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 50)], [0.4, 0.2], rtol=1e-5)
    # A warm-up that rounds to the whole run leaves one step.
    schedule = compiled(steps=1, warm_up=0.9).optimizer._learning_rate
    assert float(schedule(0)) == pytest.approx(0.4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_cycle_decays_kernels_only(optimizer):
    model = compiled(warm_up=0, weight_decay=1e-3, optimizer=optimizer)
    before = [keras.ops.convert_to_numpy(v) + 1 for v in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    zeros = [keras.ops.zeros_like(v) for v in model.trainable_variables]
    model.optimizer.apply(zeros, model.trainable_variables)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        # Momentum multiplies a gradient by 1 / (1 - 0.9) in the long run, and not the decay.
        decay = 0.4 * 1e-3 * (10 if optimizer == "sgd" else 1)
        factor = 1 - decay if "kernel" in variable.name else 1
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), factor * value, rtol=1e-5, err_msg=variable.path
        )
    assert not model.losses  # the network's own regularizers


def test_smoothed_labels():
    probabilities = np.float32([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    loss = one_cycle.smoothed_cross_entropy(0.3)(np.int64([0, 1]), probabilities)
    expected = [
        -np.log([0.7, 0.2, 0.1]) @ [0.8, 0.1, 0.1],
        -np.log([0.1, 0.1, 0.8]) @ [0.1, 0.8, 0.1],
    ]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss), expected, rtol=1e-5)


def test_whole_batches_leave_out_other_images_in_each_epoch():
    x = np.arange(50)
    batch, steps = training.shuffled_epochs(x, x, 16, 0, whole_batches=True)
    assert steps == 3
    left_out = []
    for epoch in range(3):
        seen = np.concatenate([batch(3 * epoch + step)["x"] for step in range(3)])
        assert len(set(seen.tolist())) == 48
        left_out.append(frozenset(range(50)) - set(seen.tolist()))
    assert len(set(left_out)) == 3
    # A batch larger than the data set is the data set.
    batch, steps = training.shuffled_epochs(x[:5], x[:5], 16, 0, whole_batches=True)
    assert steps == 1
    assert len(batch(2)["x"]) == 5


def test_operations_are_the_papers():
    script = load_script(RESNET)
    # 40.55 million multiplications and additions, and 0.27 million of the projections.
    operations = classifier.forward_flops(script.build_resnet(20, 1))
    assert operations == pytest.approx(2 * 40.82e6, rel=1e-3)
    model = load_script(CNN).build_classifier()
    dense = 2 * 576 * 10
    convolutions = 2 * 9 * 64 * (26**2 + 64 * 11**2 + 64 * 3**2)
    assert classifier.forward_flops(model) == dense + convolutions
    recurrent = keras.Sequential([keras.Input((4, 3)), keras.layers.SimpleRNN(2)])
    assert classifier.forward_flops(recurrent) is None


def test_a_record_has_the_operations_of_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "forward_flops", lambda model: 10**12)
    monkeypatch.setattr(sys, "argv", ["script.py"])
    folder = tmp_path / "net"
    folder.mkdir()
    run = Run(tmp_path / "script.py", folder, tmp_path, budget=2, batch_size=4)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])

    def compile_for(steps):
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])

    data = (np.ones((10, 3), "float32"), np.zeros(10, int))
    # Two epochs of 10 images, or of 8 in whole batches, and three passes through the network.
    for whole_batches, expected in ((False, 3 * 20 / 1000), (True, 3 * 16 / 1000)):
        classifier.train_and_test(
            run, model, lambda: (data, data), compile_for, None, whole_batches=whole_batches
        )
        record = read_json(folder / "metrics.json")
        assert record["train_pflop"] == pytest.approx(expected)


def test_held_out_images_are_the_last_training_images():
    train, test = (np.arange(10), np.arange(10) % 3), (np.arange(4), np.arange(4))
    assert one_cycle.hold_out((train, test), 0) == (train, test)
    (x, y), (x_held, y_held) = one_cycle.hold_out((train, test), 3)
    assert x.tolist() == list(range(7)) and x_held.tolist() == [7, 8, 9]
    assert len(y) == 7 and y_held.tolist() == [1, 2, 0]
    with pytest.raises(UserError, match="--hold-out: expected less than 10, found 10"):
        one_cycle.hold_out((train, test), 10)


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_the_defaults_are_those_of_the_recipe(path, monkeypatch):
    script = load_script(path)

    def parse(*flags):
        monkeypatch.setattr(sys, "argv", ["script.py", *flags])
        return script.parse_args()

    book = parse()
    assert (book.epochs, book.batch_size, book.learning_rate, book.shift) == (200, 32, 1e-3, 0.1)
    args = parse("--recipe", "one-cycle", "--epochs", "7", "--weight-decay", "0")
    assert (args.epochs, args.batch_size, args.weight_decay) == (7, 128, 0)
    assert args.learning_rate == script.ONE_CYCLE["learning_rate"]


def test_jax_compiles_the_whole_step():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("no JAX")
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from conftest import load_script
from lib import classifier, one_cycle
script = load_script({RESNET!r})
model = script.build_resnet(8, 1)
for compile in (
    lambda: script.compile_classifier(model, 10),
    lambda: one_cycle.compile_one_cycle(model, 10, script.ONE_CYCLE),
):
    classifier.allow_compilation(model)
    compile()
    print(model.jit_compile)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_the_page_has_the_recipe_of_the_scripts(path):
    page = (ROOT / "chapter2-deep-networks" / "README.md").read_text()
    rows = re.findall(r"^\|[^|]*\|[^|]*\| *([^|]*)\| `--([a-z-]+)` \|$", page, re.MULTILINE)
    shown = {flag: value for value, flag in rows}
    for name, value in load_script(path).ONE_CYCLE.items():
        if name not in ("optimizer", "shift"):
            first = shown[name.replace("_", "-")].split(",")[0].strip(" `")
            assert float(first) == value, name


@pytest.mark.parametrize("path, flags", [(RESNET, ("--n", 1)), (DENSENET, ("--depth", 10))])
def test_tuning_does_not_touch_the_test_set(path, flags, tmp_path, data_dir):
    flags = (*flags, "--recipe", "one-cycle", "--epochs", 2, "--batch-size", 10, "--hold-out", 20)
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("*/metrics.json")
    record = read_json(metrics)
    assert "test_accuracy" not in record
    # A multiple of 1/20; the test set has 32 images.
    assert record["held_out_accuracy"] * 20 == pytest.approx(
        round(record["held_out_accuracy"] * 20)
    )
    assert record["train_images"] == 44
    assert record["settings"]["hold_out"] == 20
    assert "best_epoch" not in record


def test_a_one_cycle_that_was_interrupted_ends_as_the_whole_one(tmp_path, data_dir):
    flags = ("--n", 1, "--recipe", "one-cycle", "--epochs", 6, "--batch-size", 10)
    losses = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        folder.mkdir()
        resume = ()
        if name == "parts":
            code, errors = interrupt_script(RESNET, *flags, after="epoch 2:", folder=folder)
            assert code == 130, errors
            assert "Stopped after step" in errors and "--batch-size 10 --resume" in errors
            resume = ("--resume",)
        done = run_script(RESNET, *flags, *resume, folder=folder, data=data_dir)
        assert done.returncode == 0, done.stderr
        losses.append(read_json(folder / "cifar10_resnet8v1/metrics.json"))
    whole, parts = losses
    assert parts["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-3)
    assert parts["train"]["loss"] == pytest.approx(whole["train"]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "path, flags, name",
    [
        (CNN, (), "cnn_functional"),
        (Y_NETWORK, (), "cnn_y_network"),
        (RESNET, ("--n", 1), "cifar10_resnet8v1"),
        (RESNET, ("--n", 1, "--version", 2, "--no-augmentation"), "cifar10_resnet11v2"),
        (DENSENET, ("--depth", 10, "--growth-rate", 4), "cifar10_densenet10k4"),
        (RESNET, ("--n", 1, "--recipe", "one-cycle"), "cifar10_resnet8v1"),
        (DENSENET, ("--depth", 10, "--recipe", "one-cycle"), "cifar10_densenet10k12"),
    ],
)
def test_trains_saves_and_loads(path, flags, name, tmp_path, data_dir):
    flags = (*flags, "--batch-size", 16)
    done = run_script(path, *flags, "--epochs", 2, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = read_json(tmp_path / name / "metrics.json")
    assert (trained["epochs"], trained["batch_size"], trained["train_images"]) == (2, 16, 64)
    assert weights.about(tmp_path / f"{name}.h5") == trained["settings"]
    if "cifar10" in name:
        assert trained["settings"]["recipe"] == ("one-cycle" if "one-cycle" in flags else "book")
    done = run_script(path, *flags, f"--weights={name}.h5", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    loaded = read_json(tmp_path / name / "evaluation.json")
    assert loaded["test_loss"] == pytest.approx(trained["test_loss"], rel=1e-3)
    assert np.sum(loaded["confusion_matrix"]) == 32
    assert (tmp_path / name / "confusion-matrix.png").exists()
    if "cifar10" in name and "one-cycle" not in flags:
        best = trained["best_epoch"]
        assert best["test_accuracy"] >= trained["test_accuracy"]
        kept = list((tmp_path / name / "saved_models").iterdir())
        assert [p.name for p in kept] == [f"{name}_model.{best['epoch']:03d}.h5"]


@pytest.mark.parametrize(
    "path, flags, parts",
    [
        (RESNET, ("--version=3",), ("--version", "3")),
        (RESNET, ("--n=0",), ("--n", "at least 1")),
        (RESNET, ("--weight-decay=1e-4",), ("--weight-decay", "--recipe one-cycle")),
        (RESNET, ("--warm-up=1",), ("--warm-up", "below 1")),
        (RESNET, ("--devices=3",), ("--devices 3 must divide the batch size, which is 32",)),
        (DENSENET, ("--depth=50",), ("--depth", "6m + 4", "'50'")),
        (DENSENET, ("--growth-rate=-1",), ("--growth-rate", "at least 1")),
        (RESNET, ("--weights=none.h5",), ("no weight file 'none.h5'",)),
    ],
)
def test_bad_input_is_one_line(path, flags, parts, tmp_path, data_dir):
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, *parts)
