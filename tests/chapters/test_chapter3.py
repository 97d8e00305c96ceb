"""Chapter 3: networks, noise, gray images, measures and figures, and the scripts as commands."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, read_json, run_script
from matplotlib.image import imread

from lib.data import datasets
from lib.files import weights
from lib.files.errors import UserError
from lib.measure import image_quality, plots
from lib.run import training
from lib.run.program import Run

matplotlib.use("Agg")

CHAPTER = "chapter3-autoencoders/"
PLAIN = CHAPTER + "autoencoder-mnist-3.2.1.py"
TWO_DIM = CHAPTER + "autoencoder-2dim-mnist-3.2.2.py"
DENOISING = CHAPTER + "denoising-autoencoder-mnist-3.3.1.py"
COLORIZATION = CHAPTER + "colorization-autoencoder-cifar10-3.4.1.py"


def build(script):
    return script.build_autoencoder(script.build_encoder(), script.build_decoder())


def convolutions(*channels):
    """Parameters of 3x3 convolutions, plain or transposed, from each size to the next."""
    return sum(9 * a * b + b for a, b in itertools.pairwise(channels))


@pytest.mark.parametrize("path, latent", [(PLAIN, 16), (TWO_DIM, 2), (DENOISING, 16)])
def test_mnist_networks(path, latent):
    script = load_script(path)
    encoder, decoder = script.build_encoder(), script.build_decoder()
    assert encoder.count_params() == convolutions(1, 32, 64) + 3136 * latent + latent
    assert decoder.count_params() == latent * 3136 + 3136 + convolutions(64, 64, 32, 1)
    assert encoder.output_shape == decoder.input_shape == (None, latent)
    autoencoder = script.build_autoencoder(encoder, decoder)
    assert autoencoder.input_shape == autoencoder.output_shape == (None, 28, 28, 1)
    assert autoencoder.count_params() == {16: 178_001, 2: 90_179}[latent]


def test_colorization_networks():
    script = load_script(COLORIZATION)
    encoder, decoder = script.build_encoder(), script.build_decoder()
    assert encoder.count_params() == convolutions(1, 64, 128, 256) + 4096 * 256 + 256
    assert decoder.count_params() == 256 * 4096 + 4096 + convolutions(256, 256, 128, 64, 3)
    assert encoder.output_shape == decoder.input_shape == (None, 256)
    autoencoder = script.build_autoencoder(encoder, decoder)
    assert autoencoder.input_shape == (None, 32, 32, 1)
    assert autoencoder.output_shape == (None, 32, 32, 3)
    assert autoencoder.count_params() == 3_431_811


@pytest.mark.parametrize("path", [TWO_DIM, COLORIZATION])
def test_networks_of_mixed_precision_return_float32_and_are_saved_as_such(path, tmp_path):
    script = load_script(path)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build(script)
    finally:
        keras.config.set_dtype_policy("float32")
    images = np.random.default_rng(0).random((2, *mixed.input_shape[1:]), "float32")
    assert mixed.predict(images, verbose=0).dtype == np.float32
    weights.save(mixed, tmp_path / "mixed.h5")
    whole = build(script)
    weights.load(whole, tmp_path / "mixed.h5")
    opened = keras.models.load_model(tmp_path / "mixed.h5", compile=False)
    expected = whole.predict(images, verbose=0)
    np.testing.assert_array_equal(opened.predict(images, verbose=0), expected)
    np.testing.assert_allclose(mixed.predict(images, verbose=0), expected, atol=0.02)


def test_image_quality_against_the_formulas():
    images, copies = np.random.default_rng(0).random((2, 3, 5, 4, 3), "float32")
    for i, (image, copy) in enumerate(zip(images.astype("float64"), copies, strict=True)):
        mse = np.sum((image - copy) ** 2) / 60
        assert image_quality.mse(images, copies)[i] == pytest.approx(mse, rel=1e-5)
        mae = np.sum(np.abs(image - copy)) / 60
        assert image_quality.mae(images, copies)[i] == pytest.approx(mae, rel=1e-5)
        psnr = 20 * np.log10(1 / np.sqrt(mse))
        assert image_quality.psnr(images, copies)[i] == pytest.approx(psnr, rel=1e-5)


def test_psnr_of_known_errors_and_of_a_perfect_copy():
    images = np.zeros((3, 2, 2, 1), "float32")
    copies = images + np.float32([0.1, 1, 0]).reshape(3, 1, 1, 1)
    assert image_quality.psnr(images, copies) == pytest.approx([20, 0, 58.92], abs=0.005)


def test_compare_takes_means_over_the_images():
    images = np.zeros((2, 2, 2, 1), "float32")
    copies = images + np.float32([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert image_quality.compare(images, copies) == {"mse": 0.00505, "mae": 0.055, "psnr": 30.0}


def test_colorfulness_against_the_formula():
    images = np.random.default_rng(0).random((2, 4, 4, 3), "float32")
    images[1] = images[1, ..., :1]
    red, green, blue = np.moveaxis(images[0].astype("float64"), -1, 0)
    first, second = red - green, (red + green) / 2 - blue
    expected = (first.var() + second.var()) ** 0.5
    expected += 0.3 * (first.mean() ** 2 + second.mean() ** 2) ** 0.5
    np.testing.assert_allclose(image_quality.colorfulness(images), [expected, 0], atol=1e-6)


def test_chroma_is_added_to_the_given_gray():
    script = load_script(COLORIZATION)
    encoder, decoder = script.build_encoder(0.3), script.build_decoder("tanh")
    autoencoder = script.build_autoencoder(encoder, decoder, chroma=True)
    assert autoencoder.count_params() == 3_431_811
    assert [layer.rate for layer in encoder.layers if hasattr(layer, "rate")] == [0.3]
    gray = np.random.default_rng(0).random((3, 32, 32, 1), "float32")
    difference = decoder.predict(encoder.predict(gray, verbose=0), verbose=0)
    assert difference.min() < 0
    colored = autoencoder.predict(gray, verbose=0)
    np.testing.assert_allclose(colored, gray + difference, atol=1e-5)


def test_weights_of_the_other_form_of_colorization_are_refused(tmp_path):
    script = load_script(COLORIZATION)
    printed = build(script)
    chroma = script.build_autoencoder(script.build_encoder(), script.build_decoder("tanh"), True)
    for network, about in ((printed, {"chroma": False}), (chroma, {"chroma": True})):
        weights.save(network, tmp_path / "file.h5", about=about)
        script.load(network, tmp_path / "file.h5", about["chroma"])
        other = "with" if about["chroma"] else "without"
        with pytest.raises(UserError, match=f"was trained {other} --chroma"):
            script.load(network, tmp_path / "file.h5", not about["chroma"])
    weights.save(printed, tmp_path / "old.h5")
    script.load(printed, tmp_path / "old.h5", False)


def test_chroma_trains_on_what_is_not_held_out(tmp_path, data_dir):
    flags = "--chroma --dropout 0.1 --hold-out 16 --epochs 1 --batch-size 24 --evaluate"
    done = run_script(COLORIZATION, *flags.split(), folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert "epoch 1: held-out MSE" in done.stdout
    trained = read_json(tmp_path / "colorized_ae_chroma" / "metrics.json")
    assert trained["train_images"] == 48
    expected = {
        "augmentation": True,
        "chroma": True,
        "dropout": 0.1,
        "hold_out": 16,
        "learning_rate": 1e-4,
    }
    assert trained["settings"] == expected
    assert weights.about(tmp_path / "colorized_ae_chroma.h5") == expected
    measured = read_json(tmp_path / "colorized_ae_chroma" / "evaluation.json")
    assert measured["test_images"] == 16
    assert measured["gray_copy"]["colorfulness"] == pytest.approx(0, abs=1e-4)
    assert measured["true_colorfulness"] > measured["colorfulness"] > 0


def test_gray_is_the_weighted_sum_of_the_channels():
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    gray = datasets.rgb_to_gray(images)
    assert gray.dtype == np.float32
    red, green, blue = np.moveaxis(images.astype("float64"), -1, 0)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(gray, expected[..., None], rtol=1e-6)


def test_colors_on_gray_keep_the_gray_and_take_the_colors():
    script = load_script(COLORIZATION)
    images = 0.3 + 0.3 * np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    gray = datasets.rgb_to_gray(images)
    np.testing.assert_allclose(script.color_gray(gray, images + 0.2), images, atol=1e-6)
    colorless = gray.repeat(3, axis=-1)
    np.testing.assert_allclose(script.color_gray(gray, 0 * images), colorless, atol=1e-6)


def test_noise_has_the_mean_the_level_and_the_range():
    script = load_script(DENOISING)
    black = np.zeros((200, 28, 28, 1), "float32")
    faint = script.corrupt(black, 0.1, 0)
    assert faint.dtype == np.float32
    assert faint.mean() == pytest.approx(0.5, abs=0.002)
    assert faint.std() == pytest.approx(0.1, abs=0.002)
    noisy = script.corrupt(black, 0.5, 0)
    assert (noisy.min(), noisy.max()) == (0, 1)
    assert noisy.mean() == pytest.approx(0.5, abs=0.005)
    # The share of a normal distribution beyond one standard deviation, on either side.
    assert np.mean(noisy == 0) == pytest.approx(0.1587, abs=0.005)
    assert np.mean(noisy == 1) == pytest.approx(0.1587, abs=0.005)
    bright = script.corrupt(black + 0.5, 0.5, 0)
    np.testing.assert_allclose(bright, np.minimum(1, np.where(noisy > 0, noisy + 0.5, bright)))


def test_noise_repeats_with_its_seed_and_grows_with_the_level():
    script = load_script(DENOISING)
    images = np.random.default_rng(0).random((50, 28, 28, 1), "float32")
    noisy = script.corrupt_test(images, 0.5, 1337)
    np.testing.assert_array_equal(noisy, script.corrupt_test(images, 0.5, 1337))
    np.testing.assert_array_equal(noisy[:9], script.corrupt_test(images[:9], 0.5, 1337))
    # The training digits get other noise.
    assert np.abs(noisy - script.corrupt(images, 0.5, (1337, 0))).max() > 0.5
    errors = [
        image_quality.mse(images, script.corrupt_test(images, level, 1337)).mean()
        for level in (0.5, 0.75, 1.0)
    ]
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    "number, brighter", [(0, [False, True, False, True]), (1, [True, True, False, False])]
)
def test_digits_over_latent_is_one_call_with_x_to_the_right_and_y_upwards(
    number, brighter, tmp_path
):
    calls = []

    def decode(codes):
        calls.append(codes)
        return np.ones((1, 28, 28, 1)) * ((codes[:, number] + 4) / 8).reshape(-1, 1, 1, 1)

    plots.digits_over_latent(decode, tmp_path / "grid.png")
    (codes,) = calls
    assert codes.shape == (900, 2)
    assert codes.dtype == np.float32
    assert len(np.unique(codes, axis=0)) == 900
    np.testing.assert_allclose(np.unique(codes), np.linspace(-4, 4, 30), atol=1e-6)
    pixels = imread(tmp_path / "grid.png")
    assert min(pixels.shape) > 30 * 28
    height, width = pixels.shape
    quadrants = [pixels[y * height // 4, x * width // 4] for y in (1, 3) for x in (1, 3)]
    assert [bool(level > 0.5) for level in quadrants] == brighter


def test_digits_over_latent_keeps_each_digit_upright(tmp_path):
    half_lit = np.zeros((4, 8, 8), "float32")
    half_lit[:, :4] = 1
    plots.digits_over_latent(lambda codes: half_lit, tmp_path / "grid.png", cells=2)
    pixels = imread(tmp_path / "grid.png")
    height, width = pixels.shape
    # Down the picture: the lit upper half of a digit, its dark half, and the next digit.
    column = [round(float(pixels[part * height // 8, width // 4])) for part in (1, 3, 5, 7)]
    assert column == [1, 0, 1, 0]


def test_latent_scatter_shows_each_code_in_its_class(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "finish", lambda figure, path, show: drawn.append(figure))
    codes = np.random.default_rng(0).normal(size=(20, 2))
    plots.latent_scatter(codes, np.arange(20) % 10, tmp_path / "scatter.png")
    axis, colorbar = drawn[0].axes
    (points,) = axis.collections
    np.testing.assert_allclose(points.get_offsets(), codes, rtol=1e-6)
    np.testing.assert_array_equal(points.get_array(), np.arange(20) % 10)
    assert len({tuple(points.to_rgba(i)) for i in range(10)}) == 10
    assert [label.get_text() for label in colorbar.get_yticklabels()] == list("0123456789")
    plt.close(drawn[0])


def test_the_2dim_script_calls_its_decoder_once(tmp_path):
    script = load_script(TWO_DIM)
    calls = []

    def decode(codes, **_):
        calls.append(codes.shape)
        return np.zeros((len(codes), 28, 28, 1))

    encoder = SimpleNamespace(predict=lambda images, **_: np.zeros((len(images), 2)))
    run = SimpleNamespace(folder=tmp_path, show=False)
    images, labels = np.zeros((3, 28, 28, 1)), np.arange(3)
    script.draw(encoder, SimpleNamespace(predict=decode), images, labels, run)
    assert calls == [(900, 2)]


def test_the_plateau_rule_is_that_of_keras():
    script = load_script(COLORIZATION)
    ours, theirs = keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3)
    callback = keras.callbacks.ReduceLROnPlateau(
        mode="min", factor=0.1**0.5, patience=5, min_lr=0.5e-6
    )
    callback.set_model(SimpleNamespace(optimizer=theirs))
    callback.on_train_begin()
    memory = {"plateau_loss": np.inf, "waited": 0}
    losses = 0.5 / np.arange(1, 151) ** 0.5 + np.random.default_rng(0).normal(0, 5e-3, 150)
    rates = set()
    for epoch, loss in enumerate(losses):
        script.lower_rate_on_plateau(ours, loss, memory)
        callback.on_epoch_end(epoch, {"val_loss": loss})
        assert float(ours.learning_rate) == pytest.approx(float(theirs.learning_rate), rel=1e-5)
        rates.add(float(ours.learning_rate))
    assert len(rates) > 5
    assert min(rates) == pytest.approx(0.5e-6)


def test_rate_falls_after_five_epochs_without_progress_also_when_interrupted(tmp_path, monkeypatch):
    script = load_script(COLORIZATION)
    rng = np.random.default_rng(0)
    gray, color = rng.random((4, 32, 32, 1), "float32"), rng.random((4, 32, 32, 3), "float32")
    # The second loss is lower, but by less than counts as progress.
    losses = [0.5, 0.49995, 0.6, 0.6, 0.6, 0.6, 0.3]

    def train(folder, first, resume, interrupted_at=None):
        """The learning rate of each epoch from `first` on."""
        autoencoder, rates = build(script), []

        def evaluate(model, x, y):
            epoch = first + len(rates)
            if epoch == interrupted_at:
                raise KeyboardInterrupt
            rates.append(float(autoencoder.optimizer.learning_rate))
            return {"loss": losses[min(epoch, len(losses)) - 1]}

        monkeypatch.setattr(training, "evaluate", evaluate)
        own = folder / "colorized_ae"
        own.mkdir(exist_ok=True, parents=True)
        settings = {"chroma": False, "hold_out": 0}
        run = Run(
            Path("script.py"), own, folder, budget=7, batch_size=4, settings=settings, resume=resume
        )
        try:
            script.train(autoencoder, (gray, color), (gray, color), True, run)
        except KeyboardInterrupt:
            return rates
        return rates[:-1]  # the last evaluation is that of the finished run

    expected = pytest.approx([1e-3] * 6 + [1e-3 * 0.1**0.5])
    assert train(tmp_path / "whole", 1, False) == expected
    first = train(tmp_path / "cut", 1, False, interrupted_at=4)
    assert len(first) == 3
    assert first + train(tmp_path / "cut", 4, True) == expected
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        (best,) = (folder / "colorized_ae/saved_models").iterdir()
        assert best.name == "colorized_ae_model.007.h5"
        numbers = read_json(folder / "colorized_ae/metrics.json")
        assert (numbers["best_epoch"], numbers["best_test_loss"]) == (7, 0.3)


def test_only_the_best_epoch_is_kept(tmp_path):
    run = Run(tmp_path / "script.py", tmp_path / "net", tmp_path, settings={"chroma": True})
    run.folder.mkdir()
    other = run.folder / "saved_models/other_model.001.h5"
    for epoch in (1, 2, 4):
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        network.set_weights([np.full((1, 1), epoch), np.zeros(1)])
        run.save_best(network, epoch)
        other.touch()
    best = run.folder / "saved_models/net_model.004.h5"
    assert {*other.parent.iterdir()} == {best, other}
    weights.load(network, best)
    assert network.get_weights()[0] == 4 and weights.about(best) == {"chroma": True}


@pytest.mark.parametrize(
    "path, name, figures",
    [
        (PLAIN, "autoencoder_mnist", ("input_and_decoded.png",)),
        (TWO_DIM, "autoencoder_2dim", ("latent_2dim.png", "digits_over_latent.png")),
        (DENOISING, "denoising_autoencoder", ("corrupted_and_denoised.png", "noise_levels.png")),
        (
            COLORIZATION,
            "colorized_ae",
            (
                "colorized.png",
                *(f"saved_images/{name}.png" for name in ("gray", "colorized", "true_colors")),
            ),
        ),
    ],
)
def test_script_trains_then_loads_and_draws(path, name, figures, tmp_path, data_dir):
    done = run_script(path, "--epochs", 2, "--batch-size", 24, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert "epoch 2: test MSE" in done.stdout
    trained = read_json(tmp_path / name / "metrics.json")
    assert (trained["epochs"], trained["train_images"]) == (2, 64)
    assert trained["seed"] == (1337 if path == DENOISING else 0)
    assert not (tmp_path / name / "evaluation.json").exists()
    assert not (tmp_path / name / "restart.npz").exists()
    header, *rows = (tmp_path / name / "log.csv").read_text().splitlines()
    assert "test_loss" in header.split(",")
    assert len(rows) == 2
    for figure in figures:
        assert imread(tmp_path / name / figure).std() > 0

    flags = (f"--weights={name}.h5", "--output-dir=loaded")
    flags += ("--noise=0.5,0.9",) if path == DENOISING else ()
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "loaded" / f"{name}.h5").exists()
    for figure in figures:
        assert (tmp_path / "loaded" / name / figure).exists()
    loaded = read_json(tmp_path / "loaded" / name / "evaluation.json")
    assert loaded["weights"] == f"{name}.h5"
    assert loaded["parameters"] == trained["parameters"]
    assert loaded["test_images"] == 32
    measured = loaded
    if path == DENOISING:
        assert list(loaded["noise_levels"]) == ["0.5", "0.9"]
        measured = loaded["noise_levels"]["0.5"]
    # The colorized network is saved in half precision.
    exact = 1e-4 if path == COLORIZATION else 2e-6
    assert measured["mse"] == pytest.approx(trained["test_loss"], abs=exact)
    if path == COLORIZATION:
        parts = {"mse", "mae", "psnr", "luminance_mse", "chroma_mse"}
        parts |= {"colorfulness", "colorfulness_distance"}
        assert set(loaded["gray_copy"]) == set(loaded["colors_on_gray"]) == parts
        (best,) = (tmp_path / name / "saved_models").iterdir()
        assert best.name == f"colorized_ae_model.{trained['best_epoch']:03d}.h5"


@pytest.mark.parametrize(
    "flag, part", [("--noise=0.5,loud", "0.5,loud"), ("--noise=-1", "-1"), ("--noise=nan", "nan")]
)
def test_a_wrong_noise_level_gets_one_line(flag, part, tmp_path, data_dir):
    done = run_script(DENOISING, flag, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "--noise", part)


def test_gray_and_color_are_mirrored_alike():
    script = load_script(COLORIZATION)
    color = np.random.default_rng(0).random((40, 4, 6, 3), "float32")
    gray = color[..., :1]
    mirrored_gray, mirrored = script.mirror(gray, color, np.random.default_rng(1))
    np.testing.assert_array_equal(mirrored_gray, mirrored[..., :1])
    changed = [not np.array_equal(a, b) for a, b in zip(mirrored, color, strict=True)]
    assert 10 < sum(changed) < 30
    for image, before, flipped in zip(mirrored, color, changed, strict=True):
        np.testing.assert_array_equal(image, before[:, ::-1] if flipped else before)
