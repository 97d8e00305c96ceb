"""Chapter 8: the losses in closed form, the bounds, and every script by its command line."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, numbers, read_json, run_script
from matplotlib.image import imread

from lib import vae
from lib.files import weights
from lib.measure import digit_attributes
from lib.measure.digit_attributes import CONTROLLED

MLP = "chapter8-vae/vae-mlp-mnist-8.1.1.py"
CNN = "chapter8-vae/vae-cnn-mnist-8.1.2.py"
CVAE = "chapter8-vae/cvae-cnn-mnist-8.2.1.py"


@pytest.mark.parametrize("path, parameters", [(MLP, 807_700), (CNN, 134_165), (CVAE, 174_437)])
def test_the_books_parameters(path, parameters):
    script = load_script(path)
    encoder, decoder = script.build_encoder(2), script.build_decoder(2)
    model = script.build_vae(encoder, decoder, seed=0)
    assert model.count_params() == parameters
    assert encoder.count_params() + decoder.count_params() == parameters


def divergence_of(mean, log_var):
    """NumPy arrays of mean and log variance -> their divergence, as NumPy array."""
    return numbers(vae.kl_divergence(mean, log_var, np.exp(log_var / 2)))


def test_divergence_is_that_of_the_closed_form_and_of_a_sample_estimate():
    mean, log_var = np.array([[0.0, 1.5, -0.3]]), np.array([[0.0, -1.0, 0.7]])
    closed = (np.exp(log_var) + mean**2 - 1 - log_var) / 2
    measured = divergence_of(mean.astype("float32"), log_var.astype("float32"))
    np.testing.assert_allclose(measured, closed, rtol=1e-5)
    noise = np.random.default_rng(0).normal(size=(400_000, 3))
    z = mean + np.exp(log_var / 2) * noise
    estimate = (-(noise**2 + log_var) / 2 + z**2 / 2).mean(axis=0)
    np.testing.assert_allclose(estimate, closed[0], atol=0.01)


def test_sampling_has_the_mean_and_the_variance_and_adds_its_loss():
    layer = vae.Sampling(beta=7.0, seed=1)
    mean = np.tile(np.float32([[2.0, -1.0]]), (50_000, 1))
    log_var = np.tile(np.float32([[0.0, -2.0]]), (50_000, 1))
    z = numbers(layer([mean, log_var]))
    np.testing.assert_allclose(z.mean(axis=0), [2, -1], atol=0.02)
    np.testing.assert_allclose(z.var(axis=0), np.exp([0, -2]), rtol=0.03)
    (loss,) = layer.losses
    expected = 7 * divergence_of(mean[:1], log_var[:1]).sum()
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert not np.array_equal(z, numbers(layer([mean, log_var])))


def test_no_gradient_is_a_sum_of_three(monkeypatch):
    """TensorFlow adds three gradients in an order that depends on the timing."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("this is about TensorFlow")
    from tensorflow.python.ops import gen_math_ops

    added = []
    add_n = gen_math_ops.add_n

    def counted(inputs, name=None):
        added.append(len(inputs))
        return add_n(inputs, name)

    monkeypatch.setattr(gen_math_ops, "add_n", counted)
    script = load_script("chapter8-vae/vae-mlp-mnist-8.1.1.py")
    model = script.build_vae(script.build_encoder(2), script.build_decoder(2), seed=0)
    vae.compile_vae(model, "sgd")
    x = np.random.default_rng(0).random((4, *model.input_shape[1:]), dtype="float32")
    model.train_on_batch(x, x)
    assert added and max(added) == 2


def test_reconstruction_losses_sum_over_the_pixels():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 28, 28, 1))
    y = 0.1 + 0.8 * y
    entropy = -(x * np.log(y) + (1 - x) * np.log(1 - y)).sum(axis=(1, 2, 3))
    x, y = x.astype("float32"), y.astype("float32")
    np.testing.assert_allclose(numbers(vae.binary_cross_entropy(x, y)), entropy, rtol=1e-4)
    squared = ((x - y) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(numbers(vae.squared_error(x, y)), squared, rtol=1e-4)
    hard = vae.binary_cross_entropy(np.float32([[0, 1]]), np.float32([[0, 1]]))
    assert float(hard[0]) == pytest.approx(0, abs=1e-5)


def test_bounds_of_a_model_whose_likelihood_is_known():
    # The decoder ignores z and the posterior is the prior, so both bounds are exact.
    images = np.random.default_rng(0).random((5, 4), "float32")
    half = np.full((5, 4), 0.5, "float32")
    zeros = np.zeros((5, 3), "float32")
    measured = vae.elbo(
        lambda x: (zeros, zeros), lambda z, index: half[index], images, images, samples=7
    )
    assert measured["negative_elbo"] == pytest.approx(4 * np.log(2), abs=1e-3)
    assert measured["importance_weighted_bound"] == pytest.approx(4 * np.log(2), abs=1e-3)
    assert measured["kl"] == 0
    # The posterior is off: the ELBO loses its divergence, which importance weights make up for.
    measured = vae.elbo(
        lambda x: (zeros + 1, zeros),
        lambda z, index: half[index],
        images,
        images,
        samples=20_000,
        chunk=1,
    )
    assert measured["kl_per_dimension"] == [0.5] * 3
    assert measured["negative_elbo"] == pytest.approx(4 * np.log(2) + 1.5, abs=1e-3)
    assert measured["importance_weighted_bound"] == pytest.approx(4 * np.log(2), abs=0.15)


def test_the_bound_of_squared_error_is_that_of_a_gaussian():
    images = np.random.default_rng(0).random((5, 4), "float32")
    decoded, zeros = images + np.float32(0.1), np.zeros((5, 3), "float32")
    measured = vae.elbo(
        lambda x: (zeros, zeros),
        lambda z, index: decoded[index],
        images,
        images,
        samples=3,
        mse=True,
    )
    variance = 0.5
    density = np.exp(-(0.1**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    assert measured["negative_elbo"] == pytest.approx(-4 * np.log(density), abs=1e-3)
    assert measured["importance_weighted_bound"] == pytest.approx(-4 * np.log(density), abs=1e-3)
    assert measured["likelihood"] == "Gaussian, variance 1/2"
    # The density integrates to 1, which cross-entropy on gray values does not.
    grid = np.linspace(-6, 7, 2001, dtype="float32")[:, None]
    found = numbers(vae.gaussian_cross_entropy(grid, np.full_like(grid, 0.3)))
    assert np.trapezoid(np.exp(-found), grid[:, 0]) == pytest.approx(1, abs=1e-4)
    gray = np.linspace(0, 1, 2001, dtype="float32")[:, None]
    found = numbers(vae.binary_cross_entropy(gray, np.full_like(gray, 0.3)))
    assert np.trapezoid(np.exp(-found), gray[:, 0]) < 0.6


@pytest.mark.parametrize("mse", [False, True])
def test_the_two_parts_of_the_loss_are_told_apart(mse):
    script = load_script(CVAE)
    encoder, decoder = script.build_encoder(2), script.build_decoder(2)
    model = script.build_vae(encoder, decoder, seed=0, beta=7)
    vae.compile_vae(model, "sgd", mse)
    # An untrained encoder has a divergence of nearly 0.
    encoder.get_layer("z_mean").bias.assign([3.0, -3.0])
    images = np.random.default_rng(0).random((30, 28, 28, 1), "float32")
    labels = np.eye(10, dtype="float32")[np.arange(30) % 10]
    logs = model.evaluate([images, labels], images, batch_size=12, verbose=0, return_dict=True)
    found = vae.parts(model, logs)
    mean, log_var = encoder.predict([images, labels], verbose=0)
    divergence = divergence_of(mean, log_var).sum(axis=1).mean()
    assert divergence > 8
    assert found["kl"] == pytest.approx(divergence, rel=1e-3)


def test_attribute_gap_is_1_where_each_attribute_follows_one_number_alone():
    assert digit_attributes.gap({"thickness": [1.0, 0.0], "slant": [0.0, 1.0]}, CONTROLLED) == 1
    assert digit_attributes.gap({"thickness": [0.7, 0.7], "slant": [0.7, 0.7]}, CONTROLLED) == 0
    slant = {"slant": [0.5, 0.9, 0.1]}
    assert digit_attributes.gap(slant, ["slant"]) == pytest.approx(0.4)


def test_a_saved_model_reloads_to_the_same_outputs(tmp_path):
    script = load_script(CNN)
    keras.utils.set_random_seed(0)
    encoder, decoder = script.build_encoder(2), script.build_decoder(2)
    weights.save(script.build_vae(encoder, decoder, seed=0), tmp_path / "vae.h5")
    keras.utils.set_random_seed(1)
    other_encoder, other_decoder = script.build_encoder(2), script.build_decoder(2)
    weights.load(script.build_vae(other_encoder, other_decoder, seed=0), tmp_path / "vae.h5")
    x = np.random.default_rng(0).random((4, 28, 28, 1), "float32")
    mean, log_var = encoder.predict(x, verbose=0)
    for a, b in zip((mean, log_var), other_encoder.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    codes = [network.predict(mean, verbose=0) for network in (decoder, other_decoder)]
    np.testing.assert_array_equal(*codes)
    opened = keras.models.load_model(tmp_path / "vae.h5", compile=False)
    assert opened.get_layer("z").beta == 1.0


def test_the_loss_of_training_is_the_negative_elbo():
    keras.utils.set_random_seed(0)
    script = load_script(MLP)
    encoder, decoder = script.build_encoder(2), script.build_decoder(2)
    model = script.build_vae(encoder, decoder, seed=0)
    vae.compile_vae(model, "sgd")
    # A divergence of about 100 nats: that of an untrained encoder would be lost in the tolerance.
    encoder.get_layer("z_mean").bias.assign([10.0, -10.0])
    x = np.random.default_rng(0).random((2000, 784), "float32")
    loss = model.evaluate(x, x, batch_size=500, verbose=0, return_dict=True)["loss"]
    measured = vae.elbo(
        lambda x: encoder.predict(x, verbose=0),
        lambda z, index: decoder.predict(z, verbose=0),
        x[:200],
        x[:200],
        samples=5,
    )
    assert measured["kl"] > 80
    assert loss == pytest.approx(measured["negative_elbo"], rel=0.01)


@pytest.mark.parametrize(
    "path, flags, name",
    [
        (MLP, ("--mse",), "vae_mlp_mnist"),
        (CNN, (), "vae_cnn_mnist"),
        (CVAE, ("--beta=7", "-d", 3), "beta-cvae_cnn_mnist"),
    ],
)
def test_trains_draws_and_measures(path, flags, name, tmp_path, data_dir):
    few = {"MEASURED_DIGITS": 200} if path == CVAE else {}
    done = run_script(path, *flags, "--epochs", 2, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = read_json(tmp_path / name / "metrics.json")
    assert (trained["mse"], trained["latent_dim"]) == (path == MLP, 2)
    assert weights.about(tmp_path / f"{name}.h5")["mse"] == trained["mse"]
    beta = trained.get("beta", 1)
    parts = trained["test_reconstruction"] + beta * trained["test_kl"]
    assert trained["test_loss"] == pytest.approx(parts, abs=0.01)
    assert {"loss", "reconstruction", "kl"} <= set(trained["train"])
    header, *rows = (tmp_path / name / "log.csv").read_text().splitlines()
    assert {"reconstruction", "kl", "test_kl"} <= set(header.split(","))
    assert len(rows) == 2
    flags = (*flags, "-w", f"{name}.h5")
    done = run_script(path, *flags, folder=tmp_path, data=data_dir, edits=few)
    assert done.returncode == 0, done.stderr
    assert imread(tmp_path / name / "vae_mean.png").std() > 0
    grid = "digits_over_latent-3.png" if path == CVAE else "digits_over_latent.png"
    assert imread(tmp_path / name / grid).std() > 0
    measured = read_json(tmp_path / name / "evaluation.json")
    assert measured["negative_elbo"] == pytest.approx(
        measured["reconstruction"] + measured["kl"], abs=0.002
    )
    assert measured["importance_weighted_bound"] <= measured["negative_elbo"] + 0.01
    likelihood = "Gaussian, variance 1/2" if path == MLP else "Bernoulli"
    assert measured["likelihood"] == likelihood
    assert len(measured["kl_per_dimension"]) == 2
    if path == CVAE:
        assert trained["beta"] == measured["beta"] == 7
        assert len(measured["attribute_correlations"]["slant"]) == 2
        assert 0 <= measured["attribute_gap"] <= 1


def test_longer_codes_have_no_plane(tmp_path, capsys):
    run = SimpleNamespace(settings={"latent_dim": 3}, folder=tmp_path, show=False)
    vae.draw(None, {}, None, None, run)
    assert "3 numbers, not 2" in capsys.readouterr().out
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize(
    "path, flags, parts",
    [
        (CVAE, ("--beta=0",), ("--beta", "above 0", "'0'")),
        (MLP, ("--latent-dim=0",), ("--latent-dim", "at least 1")),
    ],
)
def test_bad_input_is_one_line(path, flags, parts, tmp_path, data_dir):
    done = run_script(path, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, *parts)
