"""Chapter 7: normalization, networks, losses, steps, data, measures, files, and the script."""

import hashlib
import os
import threading
from argparse import Namespace
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import scipy.io
from conftest import load_script, numbers, read_csv, read_json, run_script
from keras import layers, ops
from matplotlib.image import imread

from lib.cyclegan import domains, translation
from lib.cyclegan.instance_normalization import InstanceNormalization
from lib.cyclegan.tasks import Task, form_of
from lib.data import datasets
from lib.files import weights
from lib.files.errors import UserError
from lib.measure import image_quality
from lib.run.program import Run

CYCLEGAN = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"
# Networks of two levels instead of four, for which TensorFlow traces half as many operations.
SHALLOW = {"ENCODER_FILTERS": (32, 64), "DISCRIMINATOR_FILTERS": (32, 64)}


@pytest.fixture(scope="module")
def script():
    return load_script(CYCLEGAN)


@pytest.fixture
def shallow(script, monkeypatch):
    """The script with networks of two levels."""
    for name, filters in SHALLOW.items():
        monkeypatch.setattr(script, name, filters)
    return script


def randomized(model, seed=0):
    """The model with random weights, gains and offsets included."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0.1, 0.2, v.shape) for v in model.weights])
    return model


# The layer


def normalized(x, axis, gamma, beta, epsilon=1e-3):
    """Instance normalization in plain float64, image by image."""
    result = np.empty(x.shape)
    for image, out in zip(x.astype("float64"), result, strict=True):
        groups = [...] if axis is None else [(..., c) for c in range(x.shape[-1])]
        for i, group in enumerate(groups):
            values = image[group]
            unit = (values - values.mean()) / np.sqrt(values.var() + epsilon)
            out[group] = gamma[i] * unit + beta[i]
    return result


@pytest.mark.parametrize("axis", [-1, None])
def test_instance_normalization_against_numpy(axis):
    rng = np.random.default_rng(0)
    x = (3 * rng.normal(size=(4, 6, 5, 3)) + [0, 10, -5]).astype("float32")
    layer = InstanceNormalization(axis)
    layer.build(x.shape)
    size = 1 if axis is None else 3
    assert [(v.name, v.shape) for v in layer.weights] == [("gamma", (size,)), ("beta", (size,))]
    unit = normalized(x, axis, np.ones(size), np.zeros(size))
    np.testing.assert_allclose(numbers(layer(x)), unit, atol=1e-5)
    gamma, beta = rng.normal(size=(2, size))
    layer.set_weights([gamma, beta])
    expected = normalized(x, axis, gamma, beta)
    np.testing.assert_allclose(numbers(layer(x)), expected, atol=1e-5)
    # The other images of the batch do not matter.
    np.testing.assert_allclose(numbers(layer(x[1:2])), expected[1:2], atol=1e-5)
    one_value = numbers(layer(np.full_like(x, 7)))
    np.testing.assert_allclose(one_value, np.zeros(x.shape) + beta, atol=1e-4)


def test_per_channel_it_is_keras_group_normalization_of_single_channels():
    x = np.random.default_rng(0).normal(2, 3, (2, 8, 8, 4)).astype("float32")
    ours, keras_s = InstanceNormalization(), layers.GroupNormalization(groups=-1, epsilon=1e-3)
    for layer in (ours, keras_s):
        layer.build(x.shape)
        layer.set_weights(np.array([[1, 2, 3, 4], [4, 3, 2, 1]]))
    np.testing.assert_allclose(numbers(ours(x)), numbers(keras_s(x)), atol=1e-5)


def test_in_mixed_precision_statistics_and_gain_are_float32():
    x = ops.cast(np.random.default_rng(0).normal(30, 0.5, (2, 8, 8, 4)), "bfloat16")
    layer = InstanceNormalization(dtype="mixed_bfloat16")
    layer.build(x.shape)
    layer.set_weights([np.full(4, 1.001), np.full(4, 0.001)])
    found = layer(x)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    expected = normalized(numbers(ops.cast(x, "float32")), -1, np.full(4, 1.001), np.full(4, 0.001))
    # bfloat16 has 8 significant bits.
    np.testing.assert_allclose(numbers(ops.cast(found, "float32")), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("axis", [-1, None])
def test_a_network_with_the_layer_is_saved_and_reloaded(axis, tmp_path):
    def build():
        images = keras.Input((4, 4, 3))
        x = InstanceNormalization(axis, epsilon=0.1)(layers.Conv2D(5, 3)(images))
        return keras.Model(images, x)

    saved = randomized(build())
    x = np.random.default_rng(1).random((2, 4, 4, 3), "float32")
    weights.save(saved, tmp_path / "net.h5")
    loaded = build()
    weights.load(loaded, tmp_path / "net.h5")
    opened = keras.models.load_model(tmp_path / "net.h5")
    for model in (loaded, opened):
        np.testing.assert_array_equal(numbers(model(x)), numbers(saved(x)))
    assert opened.layers[-1].axis == axis and opened.layers[-1].epsilon == 0.1


def test_another_axis_is_refused():
    with pytest.raises(ValueError, match="axis"):
        InstanceNormalization(1)


# The networks


def convolutions(kernel_size, *channels):
    """Parameters of convolutions, plain or transposed, from each size to the next."""
    return sum(kernel_size**2 * a * b + b for a, b in pairwise(channels))


@pytest.mark.parametrize("task, kernel", [("cifar10", 3), ("svhn", 5), ("mnist-m", 5)])
@pytest.mark.parametrize("identity", [False, True])
def test_generators_have_the_books_layers(script, task, kernel, identity):
    source = 3 if identity else 1
    generators = script.build_generators(Task(task, identity=identity))
    for generator, ins, outs in zip(generators, (3, source), (source, 3), strict=True):
        assert generator.input_shape == (None, 32, 32, ins)
        assert generator.output_shape == (None, 32, 32, outs)
        encoder = convolutions(kernel, ins, 32, 64, 128, 256)
        # An output of the decoder has as many channels as the one it is concatenated with.
        decoder = convolutions(kernel, 256, 128) + convolutions(kernel, 256, 64)
        decoder += convolutions(kernel, 128, 32) + convolutions(kernel, 64, outs)
        gains_and_offsets = 2 * (32 + 64 + 128) + 2 * (256 + 256 + 128)
        assert generator.count_params() == encoder + decoder + gains_and_offsets
        strides = [layer.strides[0] for layer in generator.layers if hasattr(layer, "kernel")]
        assert strides == [1, 2, 2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("form, size", [("channel", 864), ("channel-and-image", 867), ("book", 7)])
def test_forms_of_normalization(script, form, size):
    generator, _ = script.build_generators(Task("cifar10", normalization=form))
    gains = [layer.gamma for layer in generator.layers if hasattr(layer, "gamma")]
    assert sum(gamma.shape[0] for gamma in gains) == size


@pytest.mark.parametrize("form", ["channel", "channel-and-image", "book"])
def test_only_a_normalized_image_loses_its_brightness_and_contrast(script, form):
    _, g_target = script.build_generators(Task("cifar10", normalization=form))
    x = np.random.default_rng(1).random((2, 32, 32, 1), "float32")
    outputs = numbers(g_target(x))
    difference = np.abs(outputs - numbers(g_target(0.6 * x + 0.3))).max() / outputs.std()
    assert (difference < 0.1) == (form != "channel"), difference


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_discriminators(script, channels, kernel):
    body = convolutions(kernel, channels, 32, 64, 128, 256)
    plain = script.build_discriminator(channels, kernel, False, "d")
    assert plain.output_shape == (None, 1)
    assert plain.count_params() == body + 4 * 4 * 256 + 1
    patches = script.build_discriminator(channels, kernel, True, "d")
    assert patches.output_shape == (None, 2, 2, 1)
    assert patches.count_params() == body + convolutions(kernel, 256, 1)
    for model in (plain, patches):
        assert not any(isinstance(layer, InstanceNormalization) for layer in model.layers)
        real = model.get_layer("real")
        assert real.activation.__name__ == "linear" and real.output.dtype == "float32"


# Losses and steps

NETWORKS = ("d_target", "d_source", "g_source", "g_target")


def images(seed=0, channels=(1, 3), size=3):
    rng = np.random.default_rng(seed)
    return [rng.random((size, 32, 32, c), "float32") for c in channels]


@pytest.mark.parametrize("patchgan", [False, True])
def test_discriminators_losses(script, patchgan):
    model = script.build_cyclegan(Task("cifar10", patchgan))
    source, target = images()
    fake_target, fake_source = reversed(images(1))
    for network, reals, fakes in (
        (model.d_target, target, fake_target),
        (model.d_source, source, fake_source),
    ):
        real, fake = numbers(network(reals)), numbers(network(fakes))
        expected = (((1 - real) ** 2).mean() + (fake**2).mean()) / 2
        loss = float(script.discriminator_loss(network, reals, fakes))
        assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("identity", [False, True])
def test_generators_loss(script, identity):
    weight = (2.0, 3.0, 5.0)
    model = script.build_cyclegan(Task("cifar10", identity=identity), loss_weights=weight)
    channels = (3, 3) if identity else (1, 3)
    source, target = images(0, channels)
    fake_target, fake_source = reversed(images(1, channels))
    loss, named = model.generators_loss(source, target, fake_target, fake_source)
    found = [float(v) for v in (loss, *named.values())]
    assert list(named) == ["adversarial", "cycle", "identity"][: 3 if identity else 2]

    def error(a, b):
        return np.abs(a - numbers(b)).mean()

    parts = [
        ((1 - numbers(model.d_target(fake_target))) ** 2).mean()
        + ((1 - numbers(model.d_source(fake_source))) ** 2).mean(),
        error(source, model.g_source(fake_target)) + error(target, model.g_target(fake_source)),
    ]
    if identity:
        parts.append(error(source, model.g_source(source)) + error(target, model.g_target(target)))
    assert found[1:] == pytest.approx(parts, rel=1e-4)
    assert found[0] == pytest.approx(sum(np.multiply(parts, weight[: len(parts)])), rel=1e-4)


def test_each_update_moves_its_own_networks_and_no_other(shallow, monkeypatch):
    updates = {
        "t_optimizer": NETWORKS[:1],
        "s_optimizer": NETWORKS[1:2],
        "g_optimizer": NETWORKS[2:],
    }
    for name, own in updates.items():
        model = shallow.build_cyclegan(Task("cifar10"))
        before = {network: getattr(model, network).get_weights() for network in NETWORKS}
        one = getattr(model, name)

        def only(optimizer, loss, *inputs, minimize=model.minimize, one=one):
            if optimizer is one:
                return minimize(optimizer, loss, *inputs)
            return (ops.zeros(()), {}) if "generators" in loss.__name__ else ops.zeros(())

        monkeypatch.setattr(model, "minimize", only)
        model.fit(x=tuple(images()), verbose=0)
        for network, old in before.items():
            new = getattr(model, network).get_weights()
            still = [np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
            assert not any(still) if network in own else all(still), (name, network)


def test_the_updates_come_in_the_order_of_the_book(shallow):
    model = shallow.build_cyclegan(Task("cifar10"))
    model.fit(x=tuple(images()), verbose=0)
    assert list(model.learning_rates()) == ["d_target", "d_source", "generators"]


def test_no_network_passes_twice_over_what_it_can_pass_over_once(script):
    model = script.build_cyclegan(Task("cifar10", identity=True))
    passes = dict.fromkeys(NETWORKS, 0)

    def counted(name):
        network = getattr(model, name)

        class Counted:
            trainable_variables = network.trainable_variables

            def __call__(self, x, **kwargs):
                passes[name] += len(x)
                return network(x, **kwargs)

        Counted.name = name
        return Counted()

    for name in NETWORKS:
        # Bypasses Keras, which tracks the networks among the attributes.
        object.__setattr__(model, name, counted(name))
    model.run_step(images(channels=(3, 3)))
    # Three pairs of images. A generator makes fake, cycle and identity; a discriminator sees the
    # real and the fake images, and the fakes again for the generators.
    assert passes == {"g_source": 9, "g_target": 9, "d_source": 9, "d_target": 9}


def test_learning_rates_decay_as_in_the_book(script):
    model = script.build_cyclegan(Task("cifar10"))
    rates = [(2e-4, 6e-8), (2e-4, 6e-8), (1e-4, 3e-8)]
    optimizers = model.t_optimizer, model.s_optimizer, model.g_optimizer
    for optimizer, (rate, decay) in zip(optimizers, rates, strict=True):
        found = float(optimizer._learning_rate(100_000))
        assert found == pytest.approx(rate / (1 + decay * 100_000), rel=1e-6)


def test_figures_and_files_get_the_averaged_generators(shallow):
    model = shallow.build_cyclegan(Task("cifar10"), ema=0.5)
    for average, network in zip(model.samplers, (model.g_source, model.g_target), strict=True):
        assert average is not network and average.name == network.name
        start = average.get_weights()
        for old, new in zip(start, network.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    starts = [network.get_weights() for network in model.samplers]
    model.fit(x=tuple(images()), verbose=0)
    for average, network, start in zip(
        model.samplers, (model.g_source, model.g_target), starts, strict=True
    ):
        # The first update keeps min(0.5, 1 / 10) of the start.
        for mean, new, old in zip(average.get_weights(), network.get_weights(), start, strict=True):
            np.testing.assert_allclose(mean, 0.1 * old + 0.9 * new, atol=1e-6)
    plain = shallow.build_cyclegan(Task("cifar10"))
    assert list(plain.samplers) == [plain.g_source, plain.g_target]


def photographs(size, seed=0):
    """Smooth random color images: the brightness of neighbors is similar, as in photographs."""
    coarse = np.random.default_rng(seed).random((size, 4, 4, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype("float32")


@pytest.mark.parametrize("seed", range(5))
def test_untrained_generators_keep_bright_pixels_bright(script, seed):
    color = photographs(20)
    gray = color.mean(axis=-1, keepdims=True)

    def correlations(images):
        keras.utils.set_random_seed(seed)
        model = script.build_cyclegan(Task("cifar10"), images=images)
        return [
            translation.brightness_correlation(inputs, numbers(generator(inputs)))
            for generator, inputs in ((model.g_source, color), (model.g_target, gray))
        ]

    found, without = correlations((gray, color)), correlations(None)
    assert min(found) > 0
    # Negating the logits mirrors the outputs, and the size of the correlation stays.
    np.testing.assert_allclose(found, np.abs(without), atol=1e-5)


def test_the_seeds_need_orientation(script):
    color = photographs(20)
    gray = color.mean(axis=-1, keepdims=True)
    signs = []
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        _, g_target = script.build_generators(Task("cifar10"))
        outputs = numbers(g_target(gray))
        signs.append(np.sign(translation.brightness_correlation(gray, outputs)))
    assert set(signs) == {-1, 1}


def test_brightness_correlation_of_copies_negatives_and_flat_images():
    color = photographs(3)
    gray = color.mean(axis=-1, keepdims=True)
    assert translation.brightness_correlation(gray, color) == pytest.approx(1)
    assert translation.brightness_correlation(gray, 1 - color) == pytest.approx(-1)
    assert translation.brightness_correlation(gray, np.zeros_like(color)) == 0


# The data


def test_source_and_target_are_drawn_independently():
    # Each image is its own number.
    source = np.arange(100.0)[:, None, None, None]
    target = np.arange(70.0)[:, None, None, None]
    batch = domains.batches(source, target, batch_size=50, seed=0)
    drawn = [[x.ravel() for x in batch(step)["x"]] for step in range(400)]
    a, b = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03  # 4 standard deviations of 20,000 draws
    assert np.mean(a == b) == pytest.approx(1 / 100, abs=0.003)
    # Nearly each source image is drawn with nearly each target image.
    assert len(set(zip(a, b, strict=True))) > 0.9 * 7000
    np.testing.assert_array_equal(np.bincount(a.astype(int)) > 0, True)
    again = domains.batches(source, target, batch_size=50, seed=0)
    for old, new in zip(drawn[7], again(7)["x"], strict=True):
        np.testing.assert_array_equal(old, new.ravel())


def test_digits_on_photographs_are_absolute_differences():
    rng = np.random.default_rng(0)
    digits = rng.random((20, 32, 32, 1), "float32")
    photographs = rng.random((5, 32, 32, 3), "float32")
    blended = domains.MnistM(digits, photographs, seed=0)
    assert len(blended) == 20 and blended[:3].shape == (3, 32, 32, 3)
    index = np.array([7, 7, 19])
    for found, i in zip(blended[index], index, strict=True):
        distances = np.abs(np.abs(photographs - digits[i]) - found).max(axis=(1, 2, 3))
        assert distances.min() == 0
    assert len(set(blended.chosen)) == 5
    np.testing.assert_array_equal(domains.MnistM(digits, photographs, seed=0)[:], blended[:])


def write_svhn(folder, n=12):
    """Tiny train_32x32.mat and test_32x32.mat as the official ones: images last, digit 0 as 10."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        x = rng.integers(0, 256, (32, 32, 3, n), dtype="uint8")
        y = (np.arange(n, dtype="uint8") % 10 + 1)[:, None]
        scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": x, "y": y})


def write_svhn_npz(folder, n=12):
    """A tiny svhn.npz."""
    x = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype="uint8")
    y = np.arange(n, dtype="uint8") % 10
    np.savez(folder / "svhn.npz", x_train=x, y_train=y, x_test=x, y_test=y)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("task", ["cifar10", "svhn", "mnist-m"])
def test_data_of_each_task(data_dir, task, identity):
    write_svhn_npz(data_dir)
    (source, target), test = domains.load(Task(task, identity=identity))
    channels = 3 if identity else 1
    assert source[:2].shape == test.source[:2].shape == (2, 32, 32, channels)
    assert target[:2].shape == test.target[:2].shape == (2, 32, 32, 3)
    assert source[:2].dtype == target[:2].dtype == np.float32
    (x, y) = domains.batches(source, target, batch_size=5, seed=0)(0)["x"]
    assert x.shape == (5, 32, 32, channels) and y.shape == (5, 32, 32, 3)
    if task == "cifar10":
        gray = test.target.astype("float64") @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(test.source, np.stack([gray] * channels, -1), atol=1e-6)
        assert test.source_digits is None and test.target_digits is None
        return
    assert len(test.source) == len(test.source_digits) == 32
    assert len(test.target) == len(test.target_digits) == (12 if task == "svhn" else 32)
    border = np.ones((32, 32), bool)
    border[2:-2, 2:-2] = False
    assert test.source[:, border].max() == 0 and test.source[:, ~border].max() == 1


# The measures


def test_the_distance_of_colorfulness_is_that_of_histograms():
    color = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    true = float(image_quality.colorfulness(color).mean())

    def distance(copies):
        return image_quality.compare_colors(color, copies)["colorfulness_distance"]

    assert distance(color) == distance(color[::-1]) == 0
    assert distance(np.zeros_like(color)) == pytest.approx(true, abs=1e-4)
    assert distance(color / 2) == pytest.approx(true / 2, abs=1e-4)


def test_errors_of_luminance_and_of_chroma_are_separate():
    color = np.random.default_rng(0).random((4, 32, 32, 3), "float32")

    def errors(copies):
        return image_quality.luminance_and_chroma_mse(color, copies)

    assert errors(color) == (0, 0)
    assert errors(color + 0.1) == (pytest.approx(0.01, abs=1e-5), pytest.approx(0, abs=1e-6))
    gray = 0.299 * color[..., :1] + 0.587 * color[..., 1:2] + 0.114 * color[..., 2:]
    assert errors(np.broadcast_to(gray, color.shape)) == (
        pytest.approx(0, abs=1e-6),
        pytest.approx(np.mean((color - gray) ** 2), abs=1e-5),
    )


class Network:
    """Stands in for a generator."""

    def __init__(self, translated):
        self.translated = translated

    def predict(self, images, **kwargs):
        return self.translated(images)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_an_inverted_mapping_gets_a_warning(tmp_path, capsys, inverted, identity):
    color = np.random.default_rng(0).random((12, 32, 32, 3), "float32")
    gray = color.mean(axis=-1, keepdims=True)
    held_out = domains.HeldOut(domains.as_color(gray) if identity else gray, color)

    def to_color(images):
        tinted = 0.7 * domains.as_color(images) + 0.3 * color[: len(images)]
        return 1 - tinted if inverted else tinted

    generators = Network(lambda images: images.mean(axis=-1, keepdims=True)), Network(to_color)
    translation.draw_cycles(generators, held_out, Task("cifar10"), tmp_path / "00500.png")
    assert ("Inverted mapping" in capsys.readouterr().out) == inverted
    # Digits on photographs are darker as often as brighter.
    translation.draw_cycles(generators, held_out, Task("mnist-m"), tmp_path / "00500.png")
    assert capsys.readouterr().out == ""


def test_flipped_labels_are_counted(monkeypatch, tmp_path):
    # Images of one value, which is the predicted digit.
    monkeypatch.setattr(
        translation.digit_quality, "predicted_digits", lambda x: x[:, 0, 0, 0].round().astype(int)
    )

    def digits(*values):
        return np.ones((len(values), 32, 32, 1)) * np.reshape(values, (-1, 1, 1, 1))

    source = digits(1, 2, 3, 4)
    target = np.zeros((5, 32, 32, 3))
    held_out = domains.HeldOut(source, target, np.array([1, 2, 3, 5]), np.arange(5))
    made = {
        "predicted_source": digits(0, 1, 7, 3, 7),
        "reconstructed_source": digits(1, 2, 2, 2).repeat(3, axis=3),
    }
    found = translation.measure_digits(made, held_out, tmp_path / "label_flips.png", show=False)
    assert found == {"classifier_accuracy": 0.75, "label_flip_rate": 0.4, "kept_after_cycle": 0.5}
    assert imread(tmp_path / "label_flips.png").std() > 0


def test_measures_of_the_log_are_those_of_the_first_test_images(monkeypatch):
    monkeypatch.setattr(translation, "QUICK_IMAGES", 5)
    color = photographs(8)
    gray = color.mean(axis=-1, keepdims=True)

    def to_color(images):
        return np.concatenate([images**2, images, images**0.5], axis=-1)

    def to_gray(images):
        return 0.9 * images.max(axis=-1, keepdims=True)

    generators = Network(to_gray), Network(to_color)
    held_out = domains.HeldOut(gray, color)
    found = translation.quick_measures(generators, held_out, Task("cifar10"))
    source, target = gray[:5], color[:5]
    colored, grayed = to_color(source), to_gray(target)

    def error(a, b):
        return np.abs(a - b).mean()

    true, made = (image_quality.colorfulness(x) for x in (target, colored))
    squared = ((target - colored) ** 2).mean(axis=(1, 2, 3))
    luminance, chroma = image_quality.luminance_and_chroma_mse(target, colored)
    expected = {
        "to_color_mse": squared.mean(),
        "to_color_luminance_mse": luminance,
        "to_color_chroma_mse": chroma,
        "to_color_mae": error(target, colored),
        "to_color_psnr": np.mean(-10 * np.log10(squared)),
        "to_color_colorfulness": made.mean(),
        "to_color_colorfulness_distance": np.abs(np.sort(true) - np.sort(made)).mean(),
        "true_colorfulness": true.mean(),
        "to_gray_mae": error(source, grayed),
        "cycle_mae_source": error(source, to_gray(colored)),
        "cycle_mae_target": error(target, to_color(grayed)),
    }
    assert found == pytest.approx(expected, abs=6e-4)
    assert len(set(found.values())) == len(found)


def test_measures_of_the_log_of_a_task_with_digits(monkeypatch):
    monkeypatch.setattr(translation, "QUICK_IMAGES", 3)
    monkeypatch.setattr(
        translation.digit_quality, "predicted_digits", lambda x: x[:, 0, 0, 0].round().astype(int)
    )
    source = np.ones((4, 32, 32, 1)) * np.reshape([1, 2, 3, 4], (-1, 1, 1, 1))
    target = domains.as_color(source)
    held_out = domains.HeldOut(source, target, np.array([1, 2, 3, 4]), np.array([1, 2, 4, 5]))
    generators = (
        Network(lambda images: np.minimum(images[..., :1], 2)),
        Network(lambda images: domains.as_color(images) - 0.25),
    )
    found = translation.quick_measures(generators, held_out, Task("mnist-m"))
    # A 3 becomes a 2; the last image would add a flip.
    assert found == {
        "label_flip_rate": round(1 / 3, 4),
        "kept_after_cycle": round(2 / 3, 4),
        "cycle_mae_source": round((0.25 + 0.25 + 1) / 3, 5),
        "cycle_mae_target": round((0.25 + 0.25 + 1.25) / 3, 5),
    }


# Files


def keras_2_generator(source_channels, target_channels, kernel, axis):
    """The generator of the book as plain Keras layers that normalize in the form of `axis`."""

    def normalize(x):
        if axis is None:
            return layers.GroupNormalization(groups=1, epsilon=1e-3)(x)
        return layers.GroupNormalization(groups=-1, epsilon=1e-3)(x)

    images = keras.Input((32, 32, source_channels))
    x, kept = images, []
    for filters, strides in ((32, 1), (64, 2), (128, 2), (256, 2)):
        x = layers.LeakyReLU(0.2)(normalize(x))
        x = layers.Conv2D(filters, kernel, strides, padding="same")(x)
        kept.append(x)
    for filters, paired in zip((128, 64, 32), kept[2::-1], strict=True):
        x = layers.ReLU()(normalize(x))
        x = layers.Conv2DTranspose(filters, kernel, 2, padding="same")(x)
        x = layers.concatenate([x, paired])
    x = layers.Conv2DTranspose(target_channels, kernel, padding="same", activation="sigmoid")(x)
    return keras.Model(images, x)


def write_keras_2(model, path):
    """Writes a whole-model .h5 as Keras 2 did, with normalization layers of an unknown package."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.4.0", b"tensorflow"
        file.attrs["model_config"] = b'{"class_name": "Addons>InstanceNormalization"}'
        root = file.create_group("model_weights")
        names = [layer.name.replace("group", "instance") for layer in model.layers]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name, layer in zip(names, model.layers, strict=True):
            group = root.create_group(name)
            own = [f"{name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [text.encode() for text in own]
            for text, variable in zip(own, layer.weights, strict=True):
                group[text] = ops.convert_to_numpy(variable)


def load(script, domain, path, task):
    """The generator to a domain in one file."""
    index = ("source", "target").index(domain)
    return translation._load(index, path, script.build_generators, task)


@pytest.mark.parametrize("domain, channels", [("source", (3, 1)), ("target", (1, 3))])
def test_generators_that_keras_2_wrote_load_as_they_are(script, tmp_path, domain, channels):
    written = randomized(keras_2_generator(*channels, 5, axis=-1))
    write_keras_2(written, tmp_path / "old.h5")
    loaded = load(script, domain, tmp_path / "old.h5", Task("svhn"))
    x = np.random.default_rng(1).random((3, 32, 32, channels[0]), "float32")
    np.testing.assert_allclose(numbers(loaded(x)), numbers(written(x)), atol=1e-5)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("form", ["channel", "channel-and-image", "book"])
def test_a_file_shows_its_form(script, tmp_path, form, identity, recorded):
    built = Task("cifar10", normalization=form, identity=identity)
    generators = script.build_generators(built)
    about = {"normalization": form, "identity": identity} if recorded else {}
    paths = [tmp_path / f"{generator.name}.h5" for generator in generators]
    for generator, path in zip(generators, paths, strict=True):
        weights.save(randomized(generator), path, half=recorded, about=about)
        assert form_of(path) == {"normalization": form, "identity": identity}
    task = Task("cifar10", files=tuple(map(str, paths))).with_recorded(paths[0])
    assert (task.identity, task.normalization) == (identity, form)
    run = Run(Path("script.py"), tmp_path, tmp_path)
    loaded = translation.load_generators(script.build_generators, task, run)
    for ours, theirs in zip(loaded, generators, strict=True):
        assert ours.name == theirs.name
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_settings_in_a_file_replace_the_flags(script, tmp_path):
    about = {"task": "mnist-m", "patchgan": False, "identity": True, "normalization": "channel"}
    generators = script.build_generators(Task("mnist-m", identity=True))
    for generator in generators:
        path = tmp_path / f"{generator.name}.h5"
        weights.save(generator, path, about={**about, "network": generator.name})
    paths = [tmp_path / "g_source.h5", tmp_path / "g_target.h5"]
    task = Task("svhn").with_recorded(paths[0])
    assert (task.name, task.patchgan, task.identity) == ("mnist-m", False, True)
    # A target that a flag names stays.
    task = Task("svhn", fixed=True).with_recorded(paths[0])
    assert task.name == "svhn"
    task = replace(task, files=tuple(map(str, paths[::-1])))
    with pytest.raises(UserError, match=r"g_target.h5' holds g_target, expected g_source"):
        run = Run(Path("script.py"), tmp_path, tmp_path)
        translation.load_generators(script.build_generators, task, run)


def test_a_file_of_another_format_leaves_the_form_to_the_flags(script, tmp_path):
    task = Task("cifar10", normalization="book")
    _, saved = script.build_generators(task)
    saved.save(tmp_path / "book.keras")
    assert form_of(tmp_path / "book.keras") == {}
    loaded = load(script, "target", tmp_path / "book.keras", task)
    x = np.random.default_rng(1).random((3, 32, 32, 1), "float32")
    np.testing.assert_array_equal(numbers(loaded(x)), numbers(saved(x)))


def test_a_generator_of_another_task_is_refused_with_both_shapes(script, tmp_path):
    write_keras_2(keras_2_generator(1, 3, 3, axis=-1), tmp_path / "small.h5")
    with pytest.raises(UserError, match=r"small.h5' belongs to another.*\(5, 5, 1, 32\).*found"):
        load(script, "target", tmp_path / "small.h5", Task("svhn"))


def test_weights_of_the_larger_networks_stay_below_10_mb(script, tmp_path):
    for generator in script.build_generators(Task("svhn", identity=True)):
        weights.save(generator, tmp_path / "g.h5", half=True)
        assert (tmp_path / "g.h5").stat().st_size < 10e6


# The script


def run(*flags, folder, data):
    done = run_script(CYCLEGAN, *flags, folder=folder, data=data, edits=SHALLOW)
    assert done.returncode == 0, done.stderr
    return done


def assert_drawn(folder, *names):
    for name in names:
        assert imread(folder / f"{name}.png").std() > 0


def rows_of(path):
    """The rows of a log.csv as dicts of numbers."""
    return [{name: float(value) for name, value in row.items()} for row in read_csv(path)]


GRIDS = ("source-to-target", "target-to-source", "cycles")


def test_color_task_trains_then_loads(tmp_path, data_dir):
    flags = ("--no-patchgan", "--batch-size=2")
    run("-c", "--train-steps=2", *flags, folder=tmp_path, data=data_dir)
    folder = tmp_path / "cyclegan_cifar10_plain"
    assert_drawn(folder, "00002", "evolution", *GRIDS)
    trained = read_json(folder / "metrics.json")
    assert set(trained["losses"]) == {
        "d_target",
        "d_source",
        "generators",
        "adversarial",
        "cycle",
    }
    assert trained["patchgan"] is False and trained["normalization"] == "channel"
    assert trained["ema"] == 0.999 and trained["orientation"] is True
    # A finished run continues where it ended.
    run("-c", "--train-steps=3", *flags, "--resume", "--evaluate", folder=tmp_path, data=data_dir)
    assert_drawn(folder, "00003")
    measured = read_json(folder / "evaluation.json")
    assert set(measured["unaveraged"]) == {
        "cyclegan",
        "to_gray_mae",
        "cycle_mae_source",
        "cycle_mae_target",
    }
    rows = rows_of(folder / "log.csv")
    assert [row["step"] for row in rows] == [2, 3]
    # The last row has the measures of the same generators and, of so few, the same images.
    expected = {f"to_color_{name}": value for name, value in measured["cyclegan"].items()}
    names = ("true_colorfulness", "to_gray_mae", "cycle_mae_source", "cycle_mae_target")
    expected |= {name: measured[name] for name in names}
    assert {name: rows[1][name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert rows[0]["to_gray_mae"] != rows[1]["to_gray_mae"]
    # The log measures the averages.
    assert measured["unaveraged"]["to_gray_mae"] != pytest.approx(rows[1]["to_gray_mae"], rel=1e-4)
    files = [
        f"--cifar10_g_{domain}=cyclegan_cifar10_plain-g_{domain}.h5"
        for domain in ("source", "target")
    ]
    for file in files:
        about = weights.about(tmp_path / file.partition("=")[2])
        assert about["steps"] == 3 and about["patchgan"] is False and about["task"] == "cifar10"
    # The files say that no PatchGAN was trained.
    run(*files, "--evaluate", folder=tmp_path, data=data_dir)
    assert not (tmp_path / "cyclegan_cifar10").exists()
    assert_drawn(folder, *GRIDS)
    measured = read_json(folder / "evaluation.json")
    assert measured["test_images"] == [32, 32]
    assert measured["gray_copy"]["colorfulness"] == 0
    for key in ("to_gray_mae", "cycle_mae_source", "cycle_mae_target"):
        assert 0 < measured[key] < 1
    assert {"mae", "psnr", "colorfulness_distance"} <= set(measured["cyclegan"])


def test_digit_tasks_train_then_load(tmp_path, data_dir):
    write_svhn_npz(data_dir)
    flags = ("-m", "--target=mnist-m", "--identity", "--loss-weights=1,5,2", "--evaluate")
    run(*flags, "--train-steps=2", "--batch-size=2", folder=tmp_path, data=data_dir)
    folder = tmp_path / "cyclegan_mnist_m"
    assert_drawn(folder, "00002", "label_flips", *GRIDS)
    trained = read_json(folder / "metrics.json")
    assert trained["loss_weights"] == [1, 5, 2] and "identity" in trained["losses"]
    measured = read_json(folder / "evaluation.json")
    assert 0 <= measured["label_flip_rate"] <= 1
    assert set(measured["unaveraged"]) == {
        "label_flip_rate",
        "kept_after_cycle",
        "cycle_mae_source",
        "cycle_mae_target",
    }
    assert {"classifier_accuracy", "kept_after_cycle", "cycle_mae_target"} <= set(measured)
    [row] = rows_of(folder / "log.csv")
    for name in measured["unaveraged"]:
        assert row[name] == pytest.approx(measured[name], rel=1e-3)
    # The networks of both tasks with digits are the same.
    files = [
        f"--mnist_svhn_g_{domain}=cyclegan_mnist_m-g_{domain}.h5" for domain in ("source", "target")
    ]
    run(*files, "--target=svhn", "--evaluate", folder=tmp_path, data=data_dir)
    measured = read_json(tmp_path / "cyclegan_mnist_svhn" / "evaluation.json")
    assert measured["test_images"] == [32, 12]


@pytest.fixture
def svhn_server(tmp_path):
    """(address of an HTTP proxy that serves the files of write_svhn, list of requested URLs)."""
    folder = tmp_path / "site"
    folder.mkdir()
    write_svhn(folder)
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = (folder / self.path.rpartition("/")[2]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_svhn_is_downloaded_trained_on_and_evaluated(tmp_path, data_dir, svhn_server):
    proxy, asked = svhn_server
    # The generated files have other checksums than the official ones.
    sums = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (tmp_path / "site").iterdir()
    }
    assert set(datasets.SVHN_SHA256) == set(sums)

    def run(*flags):
        done = run_script(
            CYCLEGAN,
            *flags,
            folder=tmp_path,
            data=data_dir,
            patch={"lib.data.datasets": {"SVHN_SHA256": sums}},
            edits=SHALLOW,
            http_proxy=proxy,
            no_proxy="",
            NO_PROXY="",
        )
        assert done.returncode == 0, done.stderr

    run("--mnist-svhn", "--train-steps=1", "--batch-size=2")
    site = "http://ufldl.stanford.edu/housenumbers"
    assert asked == [f"{site}/train_32x32.mat", f"{site}/test_32x32.mat"]
    assert {file.name for file in Path(os.environ["KERAS_HOME"]).rglob("*.mat")} == set(sums)
    files = [f"cyclegan_mnist_svhn-g_{domain}.h5" for domain in ("source", "target")]
    run(f"--mnist_svhn_g_source={files[0]}", f"--mnist_svhn_g_target={files[1]}", "--evaluate")
    # The second run finds the files of the first one.
    assert len(asked) == 2
    folder = tmp_path / "cyclegan_mnist_svhn"
    assert_drawn(folder, "00001", "label_flips", *GRIDS)
    measured = read_json(folder / "evaluation.json")
    assert measured["test_images"] == [32, 12] and measured["weights"] == files


def test_an_interrupted_run_ends_as_a_whole_one(shallow, tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(shallow, "FIGURE_INTERVAL", 2)
    data, held_out = domains.load(Task("cifar10"))
    drawn = []

    def train(name, resume=False, interrupted_at=None, **changes):
        """The averaged weights of both generators after 4 steps."""

        def draw(generators, held_out, task, path):
            drawn.append(path.stem)
            if path.stem == interrupted_at:
                raise KeyboardInterrupt

        monkeypatch.setattr(shallow.translation, "draw_cycles", draw)
        monkeypatch.setattr(shallow.gan_training.plots, "evolution", lambda *args, **kwargs: None)
        keras.utils.set_random_seed(0)
        folder = tmp_path / name / "cyclegan_cifar10"
        folder.mkdir(parents=True, exist_ok=True)
        args = Namespace(orientation=True, loss_weights=[1, 10, 0.5], ema=0.9)
        task = Task("cifar10", **changes)
        run = Run(
            Path("script.py"),
            folder,
            folder.parent,
            budget=4,
            batch_size=2,
            resume=resume,
            settings={"normalization": task.normalization},
        )
        generators = shallow.train(*data, held_out, task, args, run).samplers
        if not interrupted_at:
            assert {path.name for path in folder.parent.glob("*.h5")} == {
                "cyclegan_cifar10-g_source.h5",
                "cyclegan_cifar10-g_target.h5",
            }
        return [w for generator in generators for w in generator.get_weights()]

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", interrupted_at="00004")
    with pytest.raises(UserError, match="normalization channel, this one has book"):
        train("cut", resume=True, normalization="book")
    drawn.clear()
    resumed = train("cut", resume=True)
    assert drawn == ["00004"]
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    logs = [rows_of(tmp_path / name / "cyclegan_cifar10/log.csv") for name in ("whole", "cut")]
    for rows in logs:
        assert [row["step"] for row in rows] == [2, 4]
        for row, first in zip(rows, logs[0], strict=True):
            assert {"d_target", "to_color_psnr", "cycle_mae_target"} <= set(row)
            for name in set(row) - {"seconds"}:
                assert row[name] == pytest.approx(first[name], rel=1e-3, abs=2e-5), name


@pytest.mark.parametrize(
    "flags, parts",
    [
        ((), ("--cifar10 or --mnist-svhn", "found none")),
        (("-c", "-m"), ("one task", "found both")),
        (("-c", "--target=mnist-m"), ("--target goes with --mnist-svhn",)),
        (("-m", "--target=usps"), ("--target", "usps")),
        (("--cifar10_g_source=a.h5",), ("both --cifar10_g_source and --cifar10_g_target",)),
        (("-c", "--loss-weights=1,10"), ("three numbers", "'1,10'")),
        (("-c", "--loss-weights=1,10,-1"), ("three numbers", "'1,10,-1'")),
        (("-c", "--loss-weights=1,ten,1"), ("three numbers", "'1,ten,1'")),
        (("-c", "--normalization=batch"), ("--normalization", "batch")),
        (("--cifar10_g_source=a.h5", "--cifar10_g_target=b.h5"), ("a.h5", "weights")),
        (("--cifar10_g_source=f.h5", "--cifar10_g_target=f.h5"), ("f.h5", "another network")),
        (("-m", "--train-steps=1"), ("data set svhn not found", "svhn.npz", "train_32x32.mat")),
    ],
)
def test_bad_input_gets_exit_code_2(flags, parts, tmp_path, data_dir):
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(tmp_path / "f.h5")
    done = run_script(
        CYCLEGAN,
        *flags,
        folder=tmp_path,
        data=data_dir,
        http_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 2
    # A data set that is nowhere gets two lines, all else one.
    assert len(done.stderr.splitlines()) == (2 if "svhn.npz" in parts else 1), done.stderr
    for part in parts:
        assert part in done.stderr
