"""CycleGAN: normalization, networks, losses, turns, data, measures, files, and the script."""

import json
from argparse import Namespace
from itertools import pairwise

import h5py
import keras
import numpy as np
import pytest
import scipy.io
from conftest import load_script, run_script
from keras import layers, ops
from matplotlib.image import imread

from lib import weights
from lib.cli import UserError
from lib.instance_normalization import InstanceNormalization

CYCLEGAN = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"


@pytest.fixture(scope="module")
def script():
    return load_script(CYCLEGAN)


def numbers(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")


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
    # Each image by itself: what else is in the batch does not matter.
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
    generators = script.build_generators(task, identity=identity)
    for generator, ins, outs in zip(generators, (3, source), (source, 3), strict=True):
        assert generator.input_shape == (None, 32, 32, ins)
        assert generator.output_shape == (None, 32, 32, outs)
        encoder = convolutions(kernel, ins, 32, 64, 128, 256)
        # What a decoder layer gives is as wide as what it is put beside.
        decoder = convolutions(kernel, 256, 128) + convolutions(kernel, 256, 64)
        decoder += convolutions(kernel, 128, 32) + convolutions(kernel, 64, outs)
        gains_and_offsets = 2 * (32 + 64 + 128) + 2 * (256 + 256 + 128)
        assert generator.count_params() == encoder + decoder + gains_and_offsets
        strides = [layer.strides[0] for layer in generator.layers if hasattr(layer, "kernel")]
        assert strides == [1, 2, 2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("form, size", [("channel", 864), ("channel-and-image", 867), ("book", 7)])
def test_forms_of_normalization(script, form, size):
    generator, _ = script.build_generators("cifar10", form)
    gains = [layer.gamma for layer in generator.layers if hasattr(layer, "gamma")]
    assert sum(gamma.shape[0] for gamma in gains) == size


@pytest.mark.parametrize("form", ["channel", "channel-and-image", "book"])
def test_only_a_normalized_image_loses_its_brightness_and_contrast(script, form):
    _, g_target = script.build_generators("cifar10", form)
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


# Losses and turns

NETWORKS = ("d_target", "d_source", "g_source", "g_target")


def images(seed=0, channels=(1, 3), size=3):
    rng = np.random.default_rng(seed)
    return [rng.random((size, 32, 32, c), "float32") for c in channels]


@pytest.mark.parametrize("patchgan", [False, True])
def test_discriminators_losses(script, patchgan):
    model = script.build_cyclegan("cifar10", patchgan)
    batch = (*images(), *reversed(images(1)))
    source, target, fake_target, fake_source = batch
    for network, loss, reals, fakes in (
        (model.d_target, model.d_target_loss, target, fake_target),
        (model.d_source, model.d_source_loss, source, fake_source),
    ):
        real, fake = numbers(network(reals)), numbers(network(fakes))
        expected = (((1 - real) ** 2).mean() + (fake**2).mean()) / 2
        assert float(loss(*batch)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("identity", [False, True])
def test_generators_loss(script, identity):
    weight = (2.0, 3.0, 5.0)
    model = script.build_cyclegan("cifar10", True, identity=identity, loss_weights=weight)
    channels = (3, 3) if identity else (1, 3)
    source, target = images(0, channels)
    fake_target, fake_source = reversed(images(1, channels))
    found = [float(v) for v in model.generators_loss(source, target, fake_target, fake_source)]

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


def test_each_turn_moves_its_own_networks_and_no_other(script):
    model = script.build_cyclegan("cifar10")
    turns = model.turns
    assert [turn.name for turn in turns] == ["d_target", "d_source", "generators"]
    for turn, own in zip(turns, (NETWORKS[:1], NETWORKS[1:2], NETWORKS[2:]), strict=True):
        before = {name: getattr(model, name).get_weights() for name in NETWORKS}
        model.compile([turn], share=model.fakes)
        model.fit(x=tuple(images()), verbose=0)
        for name, old in before.items():
            new = getattr(model, name).get_weights()
            still = [np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
            assert not any(still) if name in own else all(still), (turn.name, name)


def test_no_network_passes_twice_over_what_it_can_pass_over_once(script):
    model = script.build_cyclegan("cifar10", identity=True)
    passes = dict.fromkeys(NETWORKS, 0)

    def counted(name):
        network = getattr(model, name)

        def call(x):
            passes[name] += len(x)
            return network(x)

        return call

    for name in NETWORKS:
        # A plain function in the place of the network, which Keras would not let go of.
        object.__setattr__(model, name, counted(name))
    model.play(images(channels=(3, 3)))
    # For each pair of images: fake, cycle, identity; real and fake, and the fake once more.
    assert passes == {"g_source": 9, "g_target": 9, "d_source": 9, "d_target": 9}


def test_learning_rates_decay_as_in_the_book(script):
    model = script.build_cyclegan("cifar10")
    rates = [(2e-4, 6e-8), (2e-4, 6e-8), (1e-4, 3e-8)]
    for turn, (rate, decay) in zip(model.turns, rates, strict=True):
        found = float(turn.optimizer._learning_rate(100_000))
        assert found == pytest.approx(rate / (1 + decay * 100_000), rel=1e-6)


# The data


def test_source_and_target_are_drawn_without_regard_to_each_other(script):
    # Each image is its own number.
    source = np.arange(100.0)[:, None, None, None]
    target = np.arange(70.0)[:, None, None, None]
    batch = script.batches(source, target, Namespace(seed=0, batch_size=50))
    drawn = [[x.ravel() for x in batch(step)["x"]] for step in range(400)]
    a, b = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03  # 4 standard deviations of 20,000 draws
    assert np.mean(a == b) == pytest.approx(1 / 100, abs=0.003)
    # Nor is there any other rule: each source image is met by nearly each target image.
    assert len(set(zip(a, b, strict=True))) > 0.9 * 7000
    np.testing.assert_array_equal(np.bincount(a.astype(int)) > 0, True)
    again = script.batches(source, target, Namespace(seed=0, batch_size=50))
    for old, new in zip(drawn[7], again(7)["x"], strict=True):
        np.testing.assert_array_equal(old, new.ravel())


def test_digits_on_photographs_are_absolute_differences(script):
    rng = np.random.default_rng(0)
    digits = rng.random((20, 32, 32, 1), "float32")
    photographs = rng.random((5, 32, 32, 3), "float32")
    blended = script.MnistM(digits, photographs, seed=0)
    assert len(blended) == 20 and blended[:3].shape == (3, 32, 32, 3)
    index = np.array([7, 7, 19])
    for found, i in zip(blended[index], index, strict=True):
        distances = np.abs(np.abs(photographs - digits[i]) - found).max(axis=(1, 2, 3))
        assert distances.min() == 0
    assert len(set(blended.chosen)) == 5
    np.testing.assert_array_equal(script.MnistM(digits, photographs, seed=0)[:], blended[:])


def task_args(task, **changes):
    return Namespace(
        **{
            "task": task,
            "identity": False,
            "seed": 0,
            "batch_size": 2,
            "normalization": "channel",
            **changes,
        }
    )


def write_svhn(folder, n=12):
    """Tiny train_32x32.mat and test_32x32.mat as the official ones: images last, digit 0 as 10."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        x = rng.integers(0, 256, (32, 32, 3, n), dtype="uint8")
        y = (np.arange(n, dtype="uint8") % 10 + 1)[:, None]
        scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": x, "y": y})


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("task", ["cifar10", "svhn", "mnist-m"])
def test_data_of_each_task(script, data_dir, task, identity):
    write_svhn(data_dir)
    (source, target), test = script.load_data(task_args(task, identity=identity))
    channels = 3 if identity else 1
    assert source[:2].shape == test.source[:2].shape == (2, 32, 32, channels)
    assert target[:2].shape == test.target[:2].shape == (2, 32, 32, 3)
    assert source[:2].dtype == target[:2].dtype == np.float32
    (x, y) = script.batches(source, target, Namespace(seed=0, batch_size=5))(0)["x"]
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


def test_colourfulness_against_the_formula(script):
    rng = np.random.default_rng(0)
    colour = rng.random((3, 32, 32, 3), "float32")
    for image, found in zip(colour.astype("float64"), script.colourfulness(colour), strict=True):
        red, green, blue = image.reshape(-1, 3).T
        rg, yb = red - green, (red + green) / 2 - blue
        expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
        assert found == pytest.approx(expected, rel=1e-4)
    gray = np.broadcast_to(rng.random((3, 32, 32, 1), "float32"), (3, 32, 32, 3))
    np.testing.assert_allclose(script.colourfulness(gray), 0, atol=1e-6)


def test_the_distance_of_colourfulness_is_that_of_histograms(script):
    colour = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    true = float(script.colourfulness(colour).mean())

    def distance(copies):
        return script.compare_colours(colour, copies)["colourfulness_distance"]

    assert distance(colour) == distance(colour[::-1]) == 0
    assert distance(np.zeros_like(colour)) == pytest.approx(true, abs=1e-4)
    assert distance(colour / 2) == pytest.approx(true / 2, abs=1e-4)


@pytest.mark.parametrize("identity", [False, True])
def test_the_variant_beside_may_be_of_the_other_identity(script, tmp_path, monkeypatch, identity):
    _, other = script.build_generators("cifar10", identity=not identity)
    weights.save(other, tmp_path / "cyclegan_cifar10_patchgan-g_target.h5")
    args = Namespace(
        task="cifar10",
        patchgan=False,
        identity=identity,
        normalization="channel",
        output_dir=tmp_path,
        show=False,
    )
    found = script.load_other_variant(args)
    assert found.input_shape == other.input_shape
    np.testing.assert_array_equal(found.get_weights()[0], other.get_weights()[0])
    _, own = script.build_generators("cifar10", identity=identity)
    colour = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    gray = colour.mean(axis=-1, keepdims=True)
    test = script.Test(script.as_colour(gray) if identity else gray, colour)
    drawn = {}

    def image_grid(images, path, row_titles, **rest):
        drawn.update(zip(row_titles, np.split(images, len(row_titles)), strict=True))

    monkeypatch.setattr(script.plots, "image_grid", image_grid)
    script.draw_comparison(own, None, test, args, tmp_path)
    assert list(drawn) == ["ground truth", "gray", "CycleGAN", "CycleGAN, PatchGAN"]
    given = script.as_colour(gray)[..., : other.input_shape[-1]]
    np.testing.assert_allclose(drawn["CycleGAN, PatchGAN"], other(given), atol=1e-5)


class Network:
    """Stands in for a generator."""

    def __init__(self, translated):
        self.translated = translated

    def predict(self, images, **kwargs):
        return self.translated(images)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("negative", [False, True])
def test_negatives_are_told_of(script, tmp_path, capsys, negative, identity):
    rng = np.random.default_rng(0)
    colour = rng.random((12, 32, 32, 3), "float32")
    gray = colour.mean(axis=-1, keepdims=True)
    test = script.Test(script.as_colour(gray) if identity else gray, colour)

    def to_colour(images):
        tinted = 0.7 * script.as_colour(images) + 0.3 * colour[: len(images)]
        return 1 - tinted if negative else tinted

    generators = Network(lambda images: images.mean(axis=-1, keepdims=True)), Network(to_colour)
    args = Namespace(task="cifar10")
    script.draw_cycles(generators, test, args, tmp_path / "00500.png")
    assert ("It learns negatives" in capsys.readouterr().out) == negative
    # Digits on photographs are as often darker as brighter.
    script.draw_cycles(generators, test, Namespace(task="mnist-m"), tmp_path / "00500.png")
    assert capsys.readouterr().out == ""


def test_flipped_labels_are_counted(script, monkeypatch, tmp_path):
    # Images of one value, which is the digit that the judge sees.
    monkeypatch.setattr(
        script.metrics, "judged_digits", lambda x: x[:, 0, 0, 0].round().astype(int)
    )

    def digits(*values):
        return np.ones((len(values), 32, 32, 1)) * np.reshape(values, (-1, 1, 1, 1))

    source = digits(1, 2, 3, 4)
    test = script.Test(source, np.zeros((5, 32, 32, 3)), np.array([1, 2, 3, 5]), np.arange(5))
    made = {
        "predicted_source": digits(0, 1, 7, 3, 7),
        "reconstructed_source": digits(1, 2, 2, 2).repeat(3, axis=3),
    }
    found = script.measure_digits(made, test, Namespace(show=False), tmp_path)
    assert found == {"judge_accuracy": 0.75, "label_flip_rate": 0.4, "kept_there_and_back": 0.5}
    assert imread(tmp_path / "label_flips.png").std() > 0


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


@pytest.mark.parametrize("domain, channels", [("source", (3, 1)), ("target", (1, 3))])
def test_generators_that_keras_2_wrote_load_as_they_are(script, tmp_path, domain, channels):
    written = randomized(keras_2_generator(*channels, 5, axis=-1))
    write_keras_2(written, tmp_path / "old.h5")
    loaded = script.load_generator(domain, tmp_path / "old.h5", task_args("svhn"))
    x = np.random.default_rng(1).random((3, 32, 32, channels[0]), "float32")
    np.testing.assert_allclose(numbers(loaded(x)), numbers(written(x)), atol=1e-5)


def test_generators_of_the_books_form_load_without_being_told(script, tmp_path):
    _, saved = script.build_generators("cifar10", "book")
    weights.save(randomized(saved), tmp_path / "book.h5")
    loaded = script.load_generator("target", tmp_path / "book.h5", task_args("cifar10"))
    x = np.random.default_rng(1).random((3, 32, 32, 1), "float32")
    np.testing.assert_array_equal(numbers(loaded(x)), numbers(saved(x)))


def test_a_generator_of_another_task_is_refused_with_both_shapes(script, tmp_path):
    write_keras_2(keras_2_generator(1, 3, 3, axis=-1), tmp_path / "small.h5")
    with pytest.raises(UserError, match=r"small.h5' belongs to another.*\(5, 5, 1, 32\).*found"):
        script.load_generator("target", tmp_path / "small.h5", task_args("svhn"))


def test_the_autoencoder_is_that_of_chapter_3(script, tmp_path):
    chapter_3 = load_script("chapter3-autoencoders/colorization-autoencoder-cifar10-3.4.1.py")
    theirs = chapter_3.build_autoencoder(chapter_3.build_encoder(), chapter_3.build_decoder())
    weights.save(theirs, tmp_path / "colorized_ae.h5")
    ours = script.build_autoencoder()
    weights.load(ours, tmp_path / "colorized_ae.h5")
    x = images()[0]
    np.testing.assert_allclose(numbers(ours(x)), numbers(theirs(x)), atol=1e-6)


def test_weights_of_the_larger_networks_stay_below_10_mb(script, tmp_path):
    for generator in script.build_generators("svhn", identity=True):
        weights.save(generator, tmp_path / "g.h5", half=True)
        assert (tmp_path / "g.h5").stat().st_size < 10e6


# The script


def run(*flags, folder, data):
    done = run_script(CYCLEGAN, *flags, folder=folder, data=data)
    assert done.returncode == 0, done.stderr
    return done


def assert_drawn(folder, *names):
    for name in names:
        assert imread(folder / f"{name}.png").std() > 0


GRIDS = (
    "test_source",
    "test_target",
    "predicted_source",
    "predicted_target",
    "reconstructed_source",
    "reconstructed_target",
)


def test_colour_task_trains_then_loads(tmp_path, data_dir):
    run("-c", "--patchgan", "--train-steps=2", "--batch-size=2", folder=tmp_path, data=data_dir)
    folder = tmp_path / "cyclegan_cifar10_patchgan"
    assert_drawn(folder, "00002", "evolution", "comparison", *GRIDS)
    trained = json.loads((folder / "metrics.json").read_text())
    assert set(trained["losses"]) == {
        "d_target",
        "d_source",
        "generators",
        "adversarial",
        "cycle",
    }
    assert trained["patchgan"] is True and trained["normalization"] == "channel"
    files = [
        f"--cifar10_g_{domain}=cyclegan_cifar10_patchgan-g_{domain}.h5"
        for domain in ("source", "target")
    ]
    run(*files, "--evaluate", folder=tmp_path, data=data_dir)
    folder = tmp_path / "cyclegan_cifar10"
    assert_drawn(folder, "comparison", *GRIDS)
    assert not (folder / "metrics.json").exists()
    measured = json.loads((folder / "evaluation.json").read_text())
    assert measured["test_images"] == [32, 32]
    assert measured["gray_copy"]["colourfulness"] == 0
    for key in ("to_gray_mae", "cycle_mae_source", "cycle_mae_target"):
        assert 0 < measured[key] < 1
    assert {"mae", "psnr", "colourfulness_distance"} <= set(measured["cyclegan"])


def test_digit_tasks_train_then_load(tmp_path, data_dir):
    write_svhn(data_dir)
    flags = ("-m", "--target=mnist-m", "--identity", "--loss-weights=1,5,2", "--evaluate")
    run(*flags, "--train-steps=2", "--batch-size=2", folder=tmp_path, data=data_dir)
    folder = tmp_path / "cyclegan_mnist_m"
    assert_drawn(folder, "00002", "label_flips", *GRIDS)
    trained = json.loads((folder / "metrics.json").read_text())
    assert trained["loss_weights"] == [1, 5, 2] and "identity" in trained["losses"]
    measured = json.loads((folder / "evaluation.json").read_text())
    assert 0 <= measured["label_flip_rate"] <= 1
    assert {"judge_accuracy", "kept_there_and_back", "cycle_mae_target"} <= set(measured)
    # The networks of both tasks with digits are the same.
    files = [
        f"--mnist_svhn_g_{domain}=cyclegan_mnist_m-g_{domain}.h5" for domain in ("source", "target")
    ]
    run(*files, "--identity", "--evaluate", folder=tmp_path, data=data_dir)
    measured = json.loads((tmp_path / "cyclegan_mnist_svhn" / "evaluation.json").read_text())
    assert measured["test_images"] == [32, 12]


def test_an_interrupted_run_ends_as_a_whole_one(script, tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(script.gan, "SAVE_INTERVAL", 2)
    data, test = script.load_data(task_args("cifar10"))
    drawn = []

    def train(folder, resume=False, interrupted_at=None, **changes):
        """The weights of both generators after 4 steps."""

        def draw(generators, test, args, path):
            drawn.append(path.stem)
            if path.stem == interrupted_at:
                raise KeyboardInterrupt
            np.testing.assert_equal(args.generators[0], "cyclegan_cifar10-g_source.h5")

        monkeypatch.setattr(script, "draw_cycles", draw)
        monkeypatch.setattr(script.plots, "evolution", lambda *args, **kwargs: None)
        keras.utils.set_random_seed(0)
        folder.mkdir(exist_ok=True)
        args = task_args(
            "cifar10",
            train_steps=4,
            resume=resume,
            output_dir=folder,
            show=False,
            patchgan=False,
            loss_weights=(1, 10, 0.5),
            **changes,
        )
        generators = script.train(*data, test, args, folder)
        return [w for generator in generators for w in generator.get_weights()]

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", interrupted_at="00004")
    with pytest.raises(UserError, match="normalization channel, this one has book"):
        train(tmp_path / "cut", resume=True, normalization="book")
    drawn.clear()
    resumed = train(tmp_path / "cut", resume=True)
    assert drawn == ["00004"]
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


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
        KERAS_HOME=str(tmp_path / "empty"),
        http_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 2
    # A data set that is nowhere gets two lines, all else one.
    assert len(done.stderr.splitlines()) == (2 if "svhn.npz" in parts else 1), done.stderr
    for part in parts:
        assert part in done.stderr
