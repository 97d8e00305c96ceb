"""Chapter 2: exact networks, the schedule, augmentation, and every script by its command line."""

import json

import keras
import numpy as np
import pytest
from conftest import load_script, run_script

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
    for augmentation in (True, False):
        model = script.build_densenet(10, 4, augmentation)
        dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert len(dropouts) == (0 if augmentation else 6)


@pytest.mark.parametrize("path", [RESNET, DENSENET])
def test_augmentation_shifts_by_whole_pixels_and_mirrors_in_training_alone(path):
    script = load_script(path)
    images = keras.Input((32, 32, 3))
    model = keras.Model(images, script.augment(images))
    # A ramp from left to right: its slope tells the mirror, its values at the middle the shift.
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


@pytest.mark.parametrize(
    "path, flags, name",
    [
        (CNN, (), "cnn_functional"),
        (Y_NETWORK, (), "cnn_y_network"),
        (RESNET, ("--n", 1), "cifar10_resnet8v1"),
        (RESNET, ("--n", 1, "--version", 2, "--no-augmentation"), "cifar10_resnet11v2"),
        (DENSENET, ("--depth", 10, "--growth-rate", 4), "cifar10_densenet10k4"),
    ],
)
def test_trains_saves_and_loads(path, flags, name, tmp_path, data_dir):
    flags = (*flags, "--batch-size", 16)
    done = run_script(path, *flags, "--epochs", 2, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = json.loads((tmp_path / name / "metrics.json").read_text())
    assert (trained["epochs"], trained["batch_size"], trained["train_images"]) == (2, 16, 64)
    done = run_script(path, *flags, f"--weights={name}.h5", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    loaded = json.loads((tmp_path / name / "evaluation.json").read_text())
    assert loaded["test_loss"] == pytest.approx(trained["test_loss"], rel=1e-3)
    assert np.sum(loaded["confusion_matrix"]) == 32
    assert (tmp_path / name / "confusion-matrix.png").exists()
    if "cifar10" in name:
        best = trained["best_epoch"]
        assert best["test_accuracy"] >= trained["test_accuracy"]
        kept = list((tmp_path / name / "saved_models").iterdir())
        assert [p.name for p in kept] == [f"{name}_model.{best['epoch']:03d}.h5"]


@pytest.mark.parametrize(
    "path, flags, parts",
    [
        (RESNET, ("--version=3",), ("--version", "3")),
        (RESNET, ("--n=0",), ("--n", "at least 1")),
        (DENSENET, ("--depth=50",), ("--depth", "6m + 4", "'50'")),
        (DENSENET, ("--growth-rate=-1",), ("--growth-rate", "at least 1")),
        (RESNET, ("--weights=none.h5",), ("no weight file 'none.h5'",)),
    ],
)
def test_bad_input_is_one_line(path, flags, parts, tmp_path, data_dir):
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts)
