"""Every script runs through its real command line on a tiny budget, and answers bad input."""

import shutil
import sys
from itertools import pairwise

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, read_json, run_script
from matplotlib.image import imread

CNN = "chapter1-keras-quick-tour/cnn-mnist-1.4.1.py"
DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
CGAN = "chapter4-gan/cgan-mnist-4.3.1.py"
RESNET = "chapter2-deep-networks/resnet-cifar10-2.2.1.py"


def test_dcgan_networks():
    script = load_script(DCGAN)
    generator, discriminator = script.build_generator(), script.build_discriminator()

    def convolutions(*channels):
        return sum(25 * a * b + b for a, b in pairwise(channels))

    normalizations = 4 * (128 + 128 + 64 + 32)
    assert generator.count_params() == (
        100 * 6272 + 6272 + normalizations + convolutions(128, 128, 64, 32, 1)
    )
    assert discriminator.count_params() == convolutions(1, 32, 64, 128, 256) + 4096 + 1
    assert generator.output_shape == (None, 28, 28, 1)
    assert not any("Normalization" in type(layer).__name__ for layer in discriminator.layers)
    normalized = script.DCGAN(seed=0, bn="joint").discriminator
    assert normalized.count_params() - discriminator.count_params() == 4 * (32 + 64 + 128)


def test_cgan_networks_add_the_label_only():
    dcgan, cgan = load_script(DCGAN), load_script(CGAN)
    extra = cgan.build_generator().count_params() - dcgan.build_generator().count_params()
    assert extra == 10 * 6272
    extra = cgan.build_discriminator().count_params() - dcgan.build_discriminator().count_params()
    assert extra == 10 * 784 + 784 + 25 * 32


def test_separate_batches_change_what_batch_normalization_sees():
    images, fakes = np.random.default_rng(0).random((2, 3, 28, 28, 1), "float32")
    losses = {}
    for bn in ("joint", "separate"):
        gan = load_script(DCGAN).DCGAN(seed=0, bn=bn)
        keras.utils.set_random_seed(0)
        gan.discriminator.set_weights(
            [np.random.default_rng(1).normal(0, 0.1, w.shape) for w in gan.discriminator.weights]
        )
        losses[bn] = float(gan.discriminator_loss(images, 1 - fakes)[0])
        if bn == "separate":
            halves = [gan.discriminator(x, training=True) for x in (images, 1 - fakes)]
    logits = np.concatenate([keras.ops.convert_to_numpy(h) for h in halves]).ravel()
    signs = np.repeat([1.0, -1.0], 3)
    assert losses["separate"] == pytest.approx(np.log1p(np.exp(-signs * logits)).mean(), rel=1e-3)
    assert losses["joint"] != pytest.approx(losses["separate"], rel=1e-3)


@pytest.mark.parametrize("path", [DCGAN, CGAN])
def test_gan_losses_against_numpy(path):
    script = load_script(path)
    gan = (script.DCGAN if path == DCGAN else script.CGAN)(seed=0)
    rng = np.random.default_rng(0)
    images, fakes = rng.random((2, 3, 28, 28, 1), "float32")
    labels, fake_labels = np.eye(10, dtype="float32")[rng.integers(0, 10, (2, 3))]
    of_reals, of_fakes = ((), ()) if path == DCGAN else ((labels,), (fake_labels,))

    def probability(x, y):
        logits = gan.discriminator(x if path == DCGAN else [x, y])
        return 1 / (1 + np.exp(-keras.ops.convert_to_numpy(logits).astype("float64")))

    real, fake = probability(images, labels), probability(fakes, fake_labels)
    loss, accuracy = gan.discriminator_loss(images, *of_reals, fakes, *of_fakes)
    expected = -(np.log(real).mean() + np.log(1 - fake).mean()) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(accuracy) == pytest.approx((np.mean(real > 0.5) + np.mean(fake <= 0.5)) / 2)
    loss = gan.generator_loss(fakes, *of_fakes)
    assert float(loss) == pytest.approx(-np.log(fake).mean(), rel=1e-4)


def test_learning_rates_decay_as_in_keras_2():
    gan = load_script(DCGAN).DCGAN(seed=0)
    optimizers = gan.d_optimizer, gan.g_optimizer
    for optimizer, rate, decay in zip(optimizers, (2e-4, 1e-4), (6e-8, 3e-8), strict=True):
        schedule = optimizer._learning_rate
        for step in (0, 40_000):
            assert float(schedule(step)) == pytest.approx(rate / (1 + decay * step), rel=1e-6)


@pytest.mark.parametrize("path, name", [(DCGAN, "dcgan_mnist"), (CGAN, "cgan_mnist")])
def test_gan_trains_draws_and_evaluates(path, name, tmp_path, data_dir):
    flags = ("--train-steps", 3, "--batch-size", 4, "--seed", 5)
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stdout
    metrics = read_json(tmp_path / name / "metrics.json")
    assert {"command", "commit", "backend", "device", "minutes", "losses"} <= set(metrics)
    assert (metrics["seed"], metrics["train_steps"], metrics["ema"]) == (5, 3, 0.999)
    assert imread(tmp_path / name / "00003.png").std() > 0
    assert (tmp_path / name / "log.csv").read_text().splitlines()[1].startswith("3,")
    # A continuation with more steps needs both.
    assert (tmp_path / name / "restart.npz").exists()
    assert (tmp_path / f"{name}-discriminator.h5").exists()

    flags = ("--generator", f"{name}.h5", "--output-dir", "drawn", "--evaluate")
    digit = ("--digit", 8) if path == CGAN else ()
    done = run_script(path, *flags, *digit, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    drawn = tmp_path / "drawn" / name
    assert imread(drawn / ("generated-8.png" if digit else "generated.png")).std() > 0
    measured = read_json(drawn / "evaluation.json")
    assert sum(measured["class_histogram"]) == 32
    assert ("conditional_accuracy" in measured) == (path == CGAN)
    assert not (tmp_path / "drawn" / f"{name}.h5").exists()


def test_the_saved_generator_is_the_average_of_the_trained_one(tmp_path, data_dir, monkeypatch):
    script = load_script(DCGAN)
    build, built = script.DCGAN, []
    monkeypatch.setattr(script, "DCGAN", lambda *args: built.append(build(*args)) or built[0])
    monkeypatch.setattr(script.gan_training, "QUICK_SAMPLES", 40)
    flags = ("--train-steps=1", "--batch-size=2", f"--output-dir={tmp_path}")
    monkeypatch.setattr(sys, "argv", ["dcgan.py", *flags])
    script.main(script.parse_args())
    (dcgan,) = built
    opened = keras.models.load_model(tmp_path / "dcgan_mnist.h5", compile=False)
    noise = script.gan_training.sample_noise(0, 4, 100)
    drawn = opened.predict(noise, verbose=0)
    expected = dcgan.sampler.predict(noise, verbose=0)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)
    assert np.abs(drawn - dcgan.generator.predict(noise, verbose=0)).max() > 1e-3


def test_equal_seeds_write_equal_weights(tmp_path, data_dir):
    for folder in ("a", "b"):
        flags = ("--train-steps", 2, "--batch-size", 4, "--output-dir", folder)
        done = run_script(CGAN, *flags, folder=tmp_path, data=data_dir)
        assert done.returncode == 0, done.stderr
    a, b = (keras.models.load_model(tmp_path / name / "cgan_mnist.h5") for name in "ab")
    assert len(a.weights) == 26
    for of_a, of_b in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(of_a, of_b)


def test_cnn_trains_and_loads(tmp_path, data_dir):
    done = run_script(CNN, "--epochs", 2, "--batch-size", 24, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = read_json(tmp_path / "cnn_mnist" / "metrics.json")
    assert trained["parameters"] == 80_266
    done = run_script(CNN, "--weights=cnn_mnist.h5", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    loaded = read_json(tmp_path / "cnn_mnist" / "evaluation.json")
    assert np.sum(loaded["confusion_matrix"]) == 32
    assert np.trace(loaded["confusion_matrix"]) == round(32 * loaded["test_accuracy"])
    assert loaded["test_accuracy"] == trained["test_accuracy"]
    assert loaded["test_loss"] == pytest.approx(trained["test_loss"], abs=1e-4)
    if shutil.which("dot"):
        assert imread(tmp_path / "cnn_mnist" / "cnn-mnist.png").std() > 0


@pytest.mark.parametrize(
    "flags, parts",
    [
        (("--generator=none.h5",), ("none.h5", "weights")),
        (("--generator=truncated.h5",), ("truncated.h5", "is damaged")),
        (("--generator=text.h5",), ("text.h5", "is damaged")),
        (("--generator=cnn.h5",), ("another network", "expected", "found")),
        (("--digit=12",), ("--digit", "0 to 9", "'12'")),
        (("--train-steps=-5",), ("--train-steps", "at least 1", "'-5'")),
        (("--batch-size=0",), ("--batch-size", "at least 1", "'0'")),
        (("--output-dir=file",), ("cannot write", "file")),
        (("--steps=5",), ("--steps", "--help")),
        (("--resume",), ("nothing to resume", "cgan_mnist")),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(flags, parts, tmp_path, data_dir):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "cnn.h5")
    whole = (tmp_path / "cnn.h5").read_bytes()
    (tmp_path / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("no weights here\n")
    (tmp_path / "file").write_text("a file, not a folder\n")
    done = run_script(CGAN, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, *parts)
    assert (tmp_path / "file").read_text() == "a file, not a folder\n"


def test_no_data_set_and_no_network_gets_an_error_of_two_lines(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_script(
        RESNET,
        "--epochs=1",
        folder=tmp_path,
        data=empty,
        fresh=True,
        KERAS_HOME=str(empty),
        https_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 2
    tried, help_ = done.stderr.splitlines()
    assert "data set cifar10 not found" in tried and str(empty / "cifar10.npz") in tried
    assert "ADLK_DATA_DIR" in help_


def test_a_broken_data_file_gets_one_line(tmp_path, data_dir):
    (data_dir / "mnist.npz").write_bytes(b"PK\x03\x04")
    done = run_script(DCGAN, "--train-steps=1", folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "mnist.npz", "x_train")
