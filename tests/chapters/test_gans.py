"""Chapters 5 and 6: builders, losses against NumPy, steps, and every script by its command line."""

import keras
import numpy as np
import pytest
from conftest import (
    FEW_SAMPLES,
    assert_one_line_error,
    load_script,
    numbers,
    read_csv,
    read_json,
    run_script,
)
from keras import ops
from matplotlib.image import imread

from lib import gan, gan_training, latent_codes
from lib.engine import averaging

DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
WGAN = "chapter5-improved-gan/wgan-mnist-5.1.2.py"
LSGAN = "chapter5-improved-gan/lsgan-mnist-5.2.1.py"
ACGAN = "chapter5-improved-gan/acgan-mnist-5.3.1.py"
INFOGAN = "chapter6-disentangled-gan/infogan-mnist-6.1.1.py"
STACKEDGAN = "chapter6-disentangled-gan/stackedgan-mnist-6.2.1.py"

# Networks of two convolutions or three, for which TensorFlow traces half as many operations.
SHALLOW = {"GENERATOR_FILTERS": (16, 8), "DISCRIMINATOR_FILTERS": (8, 16)}

ATTRIBUTES = {"thickness", "slant", "width"}


def images_input():
    return keras.Input((28, 28, 1))


def cross_entropy(target, logits):
    probability = 1 / (1 + np.exp(-logits))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean()


def moved(variables, before):
    return [not np.array_equal(numbers(v), old) for v, old in zip(variables, before, strict=True)]


@pytest.mark.parametrize(
    "kwargs, heads",
    [
        ({"activation": "linear"}, [("source", 1, "linear")]),
        ({"activation": "sigmoid"}, [("source", 1, "sigmoid")]),
        ({"num_labels": 10}, [("source", 1, "sigmoid"), ("label", 10, "softmax")]),
        (
            {"num_labels": 10, "num_codes": 2},
            [
                ("source", 1, "sigmoid"),
                ("label", 10, "softmax"),
                ("code1", 1, "sigmoid"),
                ("code2", 1, "sigmoid"),
            ],
        ),
        ({"num_codes": 50}, [("source", 1, "sigmoid"), ("z0", 50, "tanh")]),
        (
            {"num_codes": 50, "code_activation": "linear"},
            [("source", 1, "sigmoid"), ("z0", 50, "linear")],
        ),
    ],
)
def test_discriminator_heads(kwargs, heads):
    model = gan.discriminator(images_input(), **kwargs)
    found = [
        (name, tensor.shape[-1], model.get_layer(name).activation.__name__)
        for name, tensor in zip(model.output_names, model.outputs, strict=True)
    ]
    assert found == heads
    assert all(tensor.dtype == "float32" for tensor in model.outputs)


def test_label_and_codes_share_a_dense_layer_of_128():
    plain = gan.discriminator(images_input()).count_params()
    full = gan.discriminator(images_input(), num_labels=10, num_codes=2).count_params()
    assert full - plain == 4096 * 128 + 128 + 128 * 10 + 10 + 2 * (128 + 1)


def test_batch_norm_in_the_discriminator():
    def normalized(**kwargs):
        model = gan.discriminator(images_input(), **kwargs)
        return [
            layer.gamma.shape[0]
            for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]

    assert normalized() == []
    assert normalized(batch_norm=True) == [32, 64, 128]


def test_generator_inputs():
    noise, labels = keras.Input((62,)), keras.Input((10,))
    pair = [keras.Input((1,)), keras.Input((1,))]
    plain = gan.generator(noise, 28)
    assert plain.output_shape == (None, 28, 28, 1)
    full = gan.generator(noise, 28, labels=labels, codes=pair)
    assert [t.shape[-1] for t in full.inputs] == [62, 10, 1, 1]
    assert full.count_params() - plain.count_params() == 12 * 7 * 7 * 128
    assert gan.generator(noise, 32).output_shape == (None, 32, 32, 1)
    # One tensor, as the book's StackedGAN passes it.
    single = gan.generator(noise, 28, codes=keras.Input((50,)))
    assert [t.shape[-1] for t in single.inputs] == [62, 50]


def test_generator_and_discriminator_are_those_of_the_dcgan():
    script = load_script(DCGAN)
    ours = gan.generator(keras.Input((100,)), 28), gan.discriminator(images_input())
    for a, b in zip(ours, (script.build_generator(), script.build_discriminator()), strict=True):
        assert [w.shape for w in a.weights] == [w.shape for w in b.weights]


def all_gans():
    """Every two-player GAN of chapters 4 to 6 that uses RMSprop, and its learning rates."""
    dcgan = 2e-4, 1e-4
    yield load_script(DCGAN).DCGAN(seed=0), dcgan
    yield load_script("chapter4-gan/cgan-mnist-4.3.1.py").CGAN(seed=0), dcgan
    yield load_script(LSGAN).build_lsgan(seed=0), dcgan
    yield load_script(ACGAN).build_acgan(seed=0), dcgan
    yield load_script(INFOGAN).build_infogan(seed=0), dcgan
    yield load_script(WGAN).build_wgan(seed=0, form="clip"), (5e-5, 5e-5)


def test_rmsprop_takes_equal_steps_for_small_and_large_gradients():
    for model, rates in all_gans():
        pairs = [
            (model.d_optimizer, model.discriminator.trainable_variables),
            (model.g_optimizer, model.generator.trainable_variables),
        ]
        for (optimizer, variables), rate in zip(pairs, rates, strict=True):
            for size in (1e-2, 1e-5):
                velocities = optimizer._velocities
                for velocity in velocities:
                    velocity.assign(ops.zeros_like(velocity))
                before = numbers(variables[0])
                optimizer.apply([ops.full(v.shape, size) for v in variables])
                # After the first gradient g, the mean square is g^2 / 10.
                step = before - numbers(variables[0])
                np.testing.assert_allclose(step, rate * 10**0.5, rtol=0.01)


@pytest.mark.parametrize(
    "form, bn", [("penalty", None), ("clip", None), ("clip", "joint"), ("book", "separate")]
)
def test_wgan_losses_give_fakes_the_label_minus_one(form, bn):
    model = load_script(WGAN).build_wgan(seed=0, form=form, bn=bn)
    images, fakes = np.random.default_rng(0).random((2, 3, 28, 28, 1), "float32")

    def scores(*batches):
        joined = np.concatenate(batches)
        return np.split(numbers(model.discriminator(joined, training=True)), len(batches))

    real, fake = scores(images, fakes) if bn == "joint" else (*scores(images), *scores(fakes))
    if form == "book":
        assert float(model.real_loss(images)) == pytest.approx(-real.mean(), rel=1e-3)
        assert float(model.fake_loss(fakes)) == pytest.approx(fake.mean(), rel=1e-3)
    else:
        loss = float(model.critic_loss(images, fakes))
        assert loss == pytest.approx(fake.mean() - real.mean(), rel=1e-3)
    (fake,) = scores(fakes)
    assert float(model.generator_loss(fakes)) == pytest.approx(-fake.mean(), rel=1e-3)


def test_gradient_penalty_is_that_of_a_known_critic():
    rng = np.random.default_rng(0)
    images, fakes = rng.random((2, 4, 5, 5, 1), "float32")
    share = rng.random((4, 1, 1, 1), "float32")
    slope = rng.normal(size=(5, 5, 1)).astype("float32")

    class Known(load_script(WGAN).WGAN):
        def __init__(self):
            self.given = ops.convert_to_tensor(share)

        def discriminator(self, x, training):
            return ops.sum(slope * x**2, axis=(1, 2, 3))[:, None]

        def uniform(self, shape):
            return self.given

    between = share * images + (1 - share) * fakes
    norms = np.sqrt(((2 * slope * between) ** 2).sum(axis=(1, 2, 3)))
    found = float(Known().gradient_penalty(*map(ops.convert_to_tensor, (images, fakes))))
    assert found == pytest.approx(((norms - 1) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize("path", [DCGAN, LSGAN])
def test_r1_is_half_the_squared_gradient_on_real_images(path, monkeypatch):
    script = load_script(path)
    model = script.DCGAN(seed=0) if path == DCGAN else script.build_lsgan(seed=0)
    assert model.r1 == script.R1
    rng = np.random.default_rng(0)
    images, fakes = (ops.convert_to_tensor(rng.random((3, 5, 5, 1), "float32")) for _ in "rf")
    slope = rng.normal(size=(5, 5, 1)).astype("float32")

    def known(x, training):
        return ops.sum(slope * x**2, axis=(1, 2, 3))[:, None]

    monkeypatch.setitem(model.__dict__, "discriminator", known)
    losses = []
    for model.r1 in (0.0, 3.0):
        losses.append(float(model.discriminator_loss(images, fakes)[0]))
    norms = ((2 * slope * numbers(images)) ** 2).sum(axis=(1, 2, 3))
    assert losses[1] - losses[0] == pytest.approx(3 / 2 * norms.mean(), rel=1e-4)


@pytest.mark.parametrize("form, bn", [("clip", None), ("clip", "separate"), ("book", None)])
def test_wgan_clips_the_critic_in_each_of_its_updates(form, bn):
    script = load_script(WGAN)
    assert script.N_CRITIC == 5
    script.N_CRITIC = 2
    model = script.build_wgan(seed=0, form=form, bn=bn)
    assert max(np.abs(numbers(v)).max() for v in model.discriminator.trainable_variables) > 0.02
    x = np.random.default_rng(0).random((4, 28, 28, 1)).astype("float32")
    model.fit(x=(x,), batch_size=4, verbose=0)
    for variable in model.discriminator.trainable_variables:
        assert np.abs(numbers(variable)).max() <= 0.01 + 1e-8
    optimizers = model.d_optimizer, model.g_optimizer
    updates = [int(optimizer.iterations.value) for optimizer in optimizers]
    # The printed form makes two updates of the critic for each part.
    assert updates == ([4, 1] if form == "book" else [2, 1])


def test_the_average_follows_the_generator_and_is_what_gets_drawn():
    model = load_script(LSGAN).build_lsgan(seed=0, ema=0.5)
    generator, (average,) = model.generator, model.averages
    assert model.sampler is average.network
    assert not average.network.trainable_variables
    expected = [numbers(v) for v in generator.trainable_variables]
    x = np.random.default_rng(0).random((4, 28, 28, 1)).astype("float32")
    for updates in (1, 2, 3):
        model.fit(x=(x,), batch_size=4, verbose=0)
        share = max(0.5, 9 / (updates + 9))
        now = [numbers(v) for v in generator.trainable_variables]
        expected = [e + share * (n - e) for e, n in zip(expected, now, strict=True)]
    averaged = [
        numbers(a)
        for a, v in zip(average.network.weights, generator.weights, strict=True)
        if v.trainable
    ]
    for found, wanted in zip(averaged, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    plain = load_script(LSGAN).build_lsgan(seed=0, ema=0)
    assert not plain.averages and plain.sampler is plain.generator


def test_batch_statistics_are_those_of_the_given_inputs():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()]
    )
    model.trainable = False
    x = np.random.default_rng(0).normal(2, 3, (40, 3)).astype("float32")
    averaging.estimate_batch_statistics(model, x, batch_size=10)
    hidden = numbers(model.layers[0](x)).reshape(4, 10, 2)
    layer = model.layers[1]
    np.testing.assert_allclose(numbers(layer.moving_mean), hidden.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(
        numbers(layer.moving_variance), hidden.var(axis=1).mean(axis=0), rtol=1e-4
    )
    assert layer.momentum == 0.99 and not layer.trainable


def test_lsgan_losses():
    model = load_script(LSGAN).build_lsgan(seed=0)
    images, fakes = np.random.default_rng(0).random((2, 3, 28, 28, 1), "float32")
    real, fake = numbers(model.discriminator(images)), numbers(model.discriminator(fakes))
    loss, _ = model.discriminator_loss(images, fakes)
    assert float(loss) == pytest.approx((((1 - real) ** 2).mean() + (fake**2).mean()) / 2, rel=1e-4)
    loss = float(model.generator_loss(fakes))
    assert loss == pytest.approx(((1 - fake) ** 2).mean(), rel=1e-4)


def labeled_batch(rng, size=3):
    images, fakes = rng.random((2, size, 28, 28, 1), "float32")
    labels, fake_labels = gan_training.one_hot(rng.integers(0, 10, (2, size)))
    return images, labels, fake_labels, fakes


def test_acgan_losses():
    model = load_script(ACGAN).build_acgan(seed=0)
    images, labels, fake_labels, fakes = labeled_batch(np.random.default_rng(0))
    real, label = map(numbers, model.discriminator(images))
    fake, fake_label = map(numbers, model.discriminator(fakes))
    source = (cross_entropy(1, real) + cross_entropy(0, fake)) / 2
    of_reals = -np.log((labels * label).sum(axis=1)).mean()
    of_fakes = -np.log((fake_labels * fake_label).sum(axis=1)).mean()
    loss, _, label_loss = model.discriminator_loss(images, labels, fakes, fake_labels)
    assert float(label_loss) == pytest.approx((of_reals + of_fakes) / 2, rel=1e-4)
    assert float(loss) == pytest.approx(source + (of_reals + of_fakes) / 2, rel=1e-4)
    loss, _ = model.generator_loss(fakes, fake_labels)
    assert float(loss) == pytest.approx(cross_entropy(1, fake) + of_fakes, rel=1e-4)


@pytest.mark.parametrize("form", ["gaussian", "book"])
def test_infogan_losses_and_that_codes_come_from_fakes_only(form):
    script = load_script(INFOGAN)
    model = script.build_infogan(seed=0, code_loss=form)
    rng = np.random.default_rng(0)
    images, labels, fake_labels, fakes = labeled_batch(rng)
    codes = script.sample_codes(rng, 3, "gaussian")
    batch = (images, labels, fakes, fake_labels, codes)
    fake, _, *q = map(numbers, model.discriminator(fakes))
    if form == "gaussian":
        expected = sum(((c - p) ** 2).mean() / (2 * 0.25) for c, p in zip(codes, q, strict=True))
    else:
        expected = sum(-(c * np.log(p + 1e-7)).mean() for c, p in zip(codes, q, strict=True))
        assert all(((p > 0) & (p < 1)).all() for p in q)
    *_, codes_loss = model.discriminator_loss(*batch)
    assert float(codes_loss) == pytest.approx(0.5 * expected, rel=1e-3)
    loss, label_loss, codes_loss = model.generator_loss(fakes, fake_labels, codes)
    assert float(codes_loss) == pytest.approx(0.5 * expected, rel=1e-3)
    assert float(loss) == pytest.approx(
        cross_entropy(1, fake) + float(label_loss) + float(codes_loss), rel=1e-4
    )
    other = (rng.random(images.shape, "float32"), *batch[1:])
    *_, with_other_reals = model.discriminator_loss(*other)
    assert float(with_other_reals) == pytest.approx(0.5 * expected, rel=1e-3)


@pytest.mark.parametrize("prior, std, largest", [("gaussian", 0.5, 4), ("uniform", 3**-0.5, 1)])
def test_infogan_codes_have_their_prior(prior, std, largest):
    drawn = load_script(INFOGAN).sample_codes(np.random.default_rng(0), 20_000, prior)
    assert [c.shape for c in drawn] == [(20_000, 1)] * 2
    for code in drawn:
        assert code.mean() == pytest.approx(0, abs=0.02)
        assert code.std() == pytest.approx(std, abs=0.02)
        assert np.abs(code).max() <= largest


class Echo:
    """A generator that draws each number of an input as a gray level."""

    def predict(self, inputs, **kwargs):
        return np.concatenate(inputs, axis=1)[:, :, None, None]


def test_a_sweep_changes_one_input_and_keeps_the_others():
    inputs = [np.array([[1.0], [2.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])]
    rows = latent_codes.sweep(Echo(), inputs, 1, np.array([-1.0, 0.0, 1.0]))
    assert rows.shape == (2, 3, 3, 1, 1)
    assert (rows[:, :, 0, 0, 0] == [[1, 1, 1], [2, 2, 2]]).all()
    assert (rows[:, :, 1, 0, 0] == [-1, 0, 1]).all() and (rows[:, :, 2, 0, 0] == [-1, 0, 1]).all()
    assert inputs[1][0, 0] == 5


@pytest.fixture(scope="module")
def stacked():
    script = load_script(STACKEDGAN)
    keras.utils.set_random_seed(0)
    return script, script.StackedGAN(*script.build_encoder()[:2])


def stacked_batch(script, model, rng, size=4):
    images = rng.random((size, 28, 28, 1), "float32")
    labels = gan_training.one_hot(rng.integers(0, 10, size))
    features = model.encoder0.predict(images, verbose=0)
    joint = np.array([[1.0], [0.0]] * (size // 2), "float32")
    return images, features, labels, script.sample_z(rng, size), script.sample_z(rng, size), joint


def test_stackedgan_losses(stacked):
    script, model = stacked
    rng = np.random.default_rng(0)
    images, features, labels, z1, z0, _ = stacked_batch(script, model, rng)
    fake_images = rng.random(images.shape, "float32")
    fake_features = rng.random(features.shape, "float32")
    of_generators = ((fake_images, features, z0), (fake_features, labels, z1))

    for level, reals, fakes, z, weight in (
        (1, features, fake_features, z1, 1),
        (0, images, fake_images, z0, 10),
    ):
        discriminator = getattr(model, f"discriminator{level}")
        real = numbers(discriminator(reals)[0])
        fake, recovered = map(numbers, discriminator(fakes))
        source = (cross_entropy(1, real) + cross_entropy(0, fake)) / 2
        entropy = weight * ((recovered - z) ** 2).mean()
        loss, _ = getattr(model, f"discriminator{level}_loss")(reals, fakes, z)
        assert float(loss) == pytest.approx(source + entropy, rel=1e-4)
        if level == 1:
            predicted = numbers(model.encoder1(fakes))
            conditional = -np.log((labels * predicted).sum(axis=1)).mean()
        else:
            conditional = ((numbers(model.encoder0(fakes)) - features) ** 2).mean()
        generator_loss = getattr(model, f"generator{level}_loss")
        loss, entropy_loss, conditional_loss = generator_loss(*of_generators[level])
        assert float(entropy_loss) == pytest.approx(entropy, rel=1e-4)
        assert float(conditional_loss) == pytest.approx(conditional, rel=1e-4)
        assert float(loss) == pytest.approx(
            cross_entropy(1, fake) + entropy + conditional, rel=1e-4
        )


def test_stackedgan_draws_fake_features_in_the_joint_phase_only(stacked, monkeypatch):
    script, model = stacked
    batch = stacked_batch(script, model, np.random.default_rng(2))
    fake_features = np.random.default_rng(3).random((4, 256), "float32")
    followed, minimized = [], {}

    class Fake:
        value = ops.convert_to_tensor(fake_features)

    def follow(network, inputs):
        followed.append((network, inputs))
        return Fake()

    def minimize(optimizer, loss, *inputs):
        minimized[loss.__name__] = inputs
        return ops.zeros(()), ops.zeros(()), ops.zeros(())

    monkeypatch.setattr(model, "follow", follow)
    monkeypatch.setattr(model, "minimize", minimize)
    model.trace.begin()
    model.step(*map(ops.convert_to_tensor, batch))
    assert [network for network, _ in followed] == [model.generator1, model.generator0]
    drawn = numbers(followed[1][1][0])
    np.testing.assert_array_equal(drawn[0::2], fake_features[0::2])
    np.testing.assert_array_equal(drawn[1::2], batch[1][1::2])
    # The last update compares the features of the images with those that were drawn.
    np.testing.assert_array_equal(numbers(minimized["generator0_loss"][1]), drawn)
    assert list(minimized) == [
        "discriminator1_loss",
        "discriminator0_loss",
        "generator1_loss",
        "generator0_loss",
    ]


def test_stackedgan_moves_all_four_networks_and_no_encoder(stacked):
    script, model = stacked
    names = ("generator0", "generator1", "discriminator0", "discriminator1")
    networks = {name: getattr(model, name).trainable_variables for name in names}
    encoders = [*model.encoder0.variables, *model.encoder1.variables]
    before = {name: [numbers(v) for v in variables] for name, variables in networks.items()}
    encoders_before = [numbers(v) for v in encoders]
    model.fit(x=stacked_batch(script, model, np.random.default_rng(1)), batch_size=4, verbose=0)
    for name, variables in networks.items():
        still = [
            v.path for v, m in zip(variables, moved(variables, before[name]), strict=True) if not m
        ]
        assert not [path for path in still if path.endswith("kernel")]
    assert not any(moved(encoders, encoders_before))
    assert list(model.learning_rates()) == ["dis1", "dis0", "gen1", "gen0"]


def run_shallow(path, *flags, folder, data):
    """`run_script` with shallow networks, and with two updates of the critic instead of five."""
    edits = SHALLOW if path == DCGAN else {"N_CRITIC": 2} if path == WGAN else {}
    patch = {**FEW_SAMPLES, "lib.gan": SHALLOW}
    return run_script(path, *flags, folder=folder, data=data, edits=edits, patch=patch)


@pytest.mark.parametrize(
    "path, variant, name, second",
    [
        (DCGAN, ("--bn",), "dcgan_mnist_bn-joint", "discriminator"),
        (WGAN, ("--form=clip", "--bn"), "wgan_mnist_clip_bn-separate", "critic"),
        (WGAN, (), "wgan_mnist", "critic"),
        (LSGAN, ("--ema=0",), "lsgan_mnist", "discriminator"),
    ],
)
def test_unconditional_scripts(path, variant, name, second, tmp_path, data_dir):
    flags = (*variant, "--train-steps", 2, "--batch-size", 4)
    done = run_shallow(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    files = {"data", name, f"{name}.h5", f"{name}-{second}.h5"}
    assert {file.name for file in tmp_path.iterdir()} == files
    assert imread(tmp_path / name / "00002.png").std() > 0
    metrics = read_json(tmp_path / name / "metrics.json")
    assert metrics["train_steps"] == 2 and {second, "adversarial"} <= set(metrics["losses"])
    flags = (*variant, f"--generator={name}.h5", "--evaluate")
    done = run_shallow(path, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert imread(tmp_path / name / "generated.png").std() > 0
    measured = read_json(tmp_path / name / "evaluation.json")
    assert sum(measured["class_histogram"]) == 32


def test_a_finished_gan_continues_with_more_steps(tmp_path, data_dir):
    flags = ("--batch-size", 4)
    done = run_shallow(LSGAN, *flags, "--train-steps", 2, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    done = run_shallow(
        LSGAN, *flags, "--train-steps", 4, "--resume", folder=tmp_path, data=data_dir
    )
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "lsgan_mnist" / "log.csv")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert float(rows[1]["seconds"]) >= float(rows[0]["seconds"])

    whole = tmp_path / "whole"
    whole.mkdir()
    flags = (*flags, "--train-steps", 4, "--output-dir", whole)
    done = run_shallow(LSGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    two, one = (keras.models.load_model(f / "lsgan_mnist.h5") for f in (tmp_path, whole))
    for a, b in zip(two.weights, one.weights, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-5, atol=1e-6)

    done = run_shallow(
        LSGAN, "--batch-size", 4, "--train-steps", 3, "--resume", folder=tmp_path, data=data_dir
    )
    assert_one_line_error(done, "is at step 4, expected at most the 3 steps")


@pytest.mark.parametrize(
    "flags, part",
    [
        (("--bn",), "--bn needs --form clip or --form book"),
        (("--form=book", "--bn=joint"), "expected --bn separate"),
    ],
)
def test_wgan_refuses_a_form_that_cannot_be(flags, part, tmp_path):
    done = run_shallow(WGAN, *flags, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, part)


def test_acgan_script(tmp_path, data_dir):
    flags = ("--train-steps", 2, "--batch-size", 4)
    done = run_shallow(ACGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    flags = ("--generator=acgan_mnist.h5", "--digit=8", "--cgan=acgan_mnist.h5")
    done = run_shallow(ACGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "acgan_mnist"
    assert imread(folder / "generated-8.png").std() > 0
    beside = imread(folder / "cgan-acgan.png")
    assert beside.shape[1] > beside.shape[0]


def test_acgan_misses_the_cgan_before_it_trains(tmp_path, data_dir):
    flags = ("--train-steps", 2, "--batch-size", 4, "--cgan=none.h5")
    done = run_shallow(ACGAN, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "no weight file 'none.h5'")
    assert not (tmp_path / "acgan_mnist.h5").exists()


def test_infogan_script(tmp_path, data_dir):
    flags = ("--train-steps", 2, "--batch-size", 4, "--code-loss", "book")
    done = run_shallow(INFOGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    trained = read_json(tmp_path / "infogan_mnist_book" / "metrics.json")
    assert trained["code_loss"] == "book" and len(trained["code_recovery"]) == 2
    flags = ("--generator=infogan_mnist_book.h5", "--p1", "--p2", "--evaluate", "--code1=0.5")
    done = run_shallow(INFOGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "infogan_mnist"
    for name in ("generated.png", "code1.png", "code2.png"):
        assert imread(folder / name).std() > 0
    measured = read_json(folder / "evaluation.json")
    assert set(measured["codes"]) == ATTRIBUTES | {"gap"}
    assert [len(measured["codes"][name]) for name in sorted(ATTRIBUTES)] == [2, 2, 2]
    assert "conditional_accuracy" in measured
    done = run_shallow(INFOGAN, "--code1=nan", folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "expected a finite number, found 'nan'")


def test_stackedgan_script(tmp_path, data_dir):
    flags = ("--train-steps", 2, "--batch-size", 16)
    done = run_shallow(STACKEDGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    files = [f"--generator{i}=stackedgan_mnist-gen{i}.h5" for i in (0, 1)]
    encoder = "--encoder=stackedgan_mnist-encoder.h5"
    flags = ("-p0", "--p1", "--z1=0.5", "--digit=3", "--evaluate", encoder)
    done = run_shallow(STACKEDGAN, *files, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "stackedgan_mnist"
    for name in ("generated-3.png", "z0.png", "z1.png"):
        assert imread(folder / name).std() > 0
    measured = read_json(folder / "evaluation.json")
    assert set(measured["z0"]) == set(measured["z1"]) == ATTRIBUTES
    assert measured["conditional0"] > 0 and 0 <= measured["conditional1"] <= 1
    done = run_shallow(STACKEDGAN, files[0], folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "both --generator0 and --generator1")
