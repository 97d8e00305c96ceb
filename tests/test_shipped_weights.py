"""Each file of shipped weights loads and does, on a part of the real test data, what is published.

The parts are small, so that a number may be a few standard errors off that of the whole.
"""

import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, load_script, need_data_set, read_json

from lib import latent_codes, vae
from lib.cyclegan import translation
from lib.data import datasets
from lib.files import weights
from lib.measure import digit_attributes, digit_quality, image_quality
from lib.rl import agents, environments, frozen_lake, state_encoder
from lib.run import program

CHAPTERS = {path.name.partition("-")[0]: path for path in sorted(ROOT.glob("chapter*"))}


def script(chapter, name):
    return load_script(CHAPTERS[chapter] / f"{name}.py")


def published(name):
    return read_json(ROOT / "results" / f"{name}.json")


def load(network, chapter, file):
    weights.load(network, CHAPTERS[chapter] / "weights" / file)
    return network


@functools.cache
def mnist():
    need_data_set("mnist")
    _, (images, digits) = datasets.mnist()
    if len(digits) != 10_000:
        pytest.skip("the MNIST in ADLK_DATA_DIR is not the whole one")
    return images[:1000].copy(), digits[:1000]


@functools.cache
def cifar10():
    """Test images, their classes, and the mean of the training images."""
    need_data_set("cifar10")
    (x_train, _), (images, classes) = datasets.cifar10()
    if len(x_train) != 50_000:
        pytest.skip("the CIFAR-10 in ADLK_DATA_DIR is not the whole one")
    return images[:500].copy(), classes[:500], x_train.mean(axis=0)


def share_right(model, x, y):
    return np.mean(model.predict(x, batch_size=100, verbose=0).argmax(axis=1) == y)


# Chapters 1 and 2


MNIST_CLASSIFIERS = {
    "mlp_mnist.h5": ("chapter1", "mlp-mnist-1.3.2", lambda x: x.reshape(-1, 784)),
    "cnn_mnist.h5": ("chapter1", "cnn-mnist-1.4.1", lambda x: x),
    "rnn_mnist.h5": ("chapter1", "rnn-mnist-1.5.1", lambda x: x.reshape(-1, 28, 28)),
    "cnn_functional.h5": ("chapter2", "cnn-functional-2.1.1", lambda x: x),
    "cnn_y_network.h5": ("chapter2", "cnn-y-network-2.1.2", lambda x: [x, x]),
}


@pytest.mark.parametrize("file", MNIST_CLASSIFIERS)
def test_classifiers_of_digits(file):
    chapter, name, shaped = MNIST_CLASSIFIERS[file]
    model = load(script(chapter, name).build_classifier(), chapter, file)
    images, digits = mnist()
    expected = published(name)["test_accuracy"]
    assert share_right(model, shaped(images), digits) == pytest.approx(expected, abs=0.015)


CIFAR10_CLASSIFIERS = {
    "cifar10_resnet20v1.h5": (
        "resnet-cifar10-2.2.1",
        lambda script: script.build_resnet(20, 1),
        "resnet-cifar10-2.2.1-resnet20v1",
    ),
    "cifar10_resnet56v2.h5": (
        "resnet-cifar10-2.2.1",
        lambda script: script.build_resnet(56, 2),
        "resnet-cifar10-2.2.1-resnet56v2-one-cycle",
    ),
    "cifar10_densenet100k12.h5": (
        "densenet-cifar10-2.4.1",
        lambda script: script.build_densenet(100, 12),
        "densenet-cifar10-2.4.1-one-cycle",
    ),
}


@pytest.mark.parametrize("file", CIFAR10_CLASSIFIERS)
def test_classifiers_of_photographs(file):
    name, build, record = CIFAR10_CLASSIFIERS[file]
    model = load(build(script("chapter2", name)), "chapter2", file)
    images, classes, mean = cifar10()
    expected = published(record)["test_accuracy"]
    assert share_right(model, images - mean, classes) == pytest.approx(expected, abs=0.04)


# Chapter 3


AUTOENCODERS = {
    "autoencoder_mnist.h5": "autoencoder-mnist-3.2.1",
    "autoencoder_2dim.h5": "autoencoder-2dim-mnist-3.2.2",
    "denoising_autoencoder.h5": "denoising-autoencoder-mnist-3.3.1",
    "colorized_ae.h5": "colorization-autoencoder-cifar10-3.4.1",
    "colorized_ae_chroma.h5": "colorization-autoencoder-cifar10-3.4.1",
}


@pytest.mark.parametrize("file", AUTOENCODERS)
def test_autoencoders(file):
    name = AUTOENCODERS[file]
    module = script("chapter3", name)
    chroma = file == "colorized_ae_chroma.h5"
    if chroma:
        parts = module.build_encoder(), module.build_decoder("tanh"), True
    else:
        parts = module.build_encoder(), module.build_decoder()
    model = module.build_autoencoder(*parts)
    load(model, "chapter3", file)
    expected = published(f"{name}-chroma-evaluate" if chroma else f"{name}-evaluate")
    if file.startswith("colorized_ae"):
        images, _, _ = cifar10()
        given = datasets.rgb_to_gray(images)
    else:
        images, _ = mnist()
        given = images
    if file == "denoising_autoencoder.h5":
        given = module.corrupt(images, 0.5, seed=0)
        expected = expected["noise_levels"]["0.5"]
    error = np.mean((model.predict(given, batch_size=100, verbose=0) - images) ** 2)
    assert error == pytest.approx(expected["mse"], rel=0.1)


# Chapters 4 to 6


DIGITS = np.arange(500) % 10
LABELS = np.eye(10, dtype="float32")[DIGITS]


def noise(size):
    return np.random.default_rng(0).uniform(-1, 1, (len(DIGITS), size)).astype("float32")


def normal(size):
    return np.random.default_rng(1).normal(0, 0.5, (len(DIGITS), size)).astype("float32")


def predicted(generator, inputs):
    return digit_quality.predicted_digits(generator.predict(inputs, batch_size=100, verbose=0))


UNCONDITIONAL = {
    "dcgan_mnist.h5": ("chapter4", "dcgan-mnist-4.2.1"),
    "wgan_mnist.h5": ("chapter5", "wgan-mnist-5.1.2"),
    "lsgan_mnist.h5": ("chapter5", "lsgan-mnist-5.2.1"),
}


@pytest.mark.parametrize("file", UNCONDITIONAL)
def test_generators_that_draw_what_they_like(file):
    chapter, name = UNCONDITIONAL[file]
    generator = load(script(chapter, name).build_generator(), chapter, file)
    shares = np.bincount(predicted(generator, noise(100)), minlength=10) / len(DIGITS)
    expected = np.array(published(f"{name}-evaluate")["class_histogram"]) / 10_000
    np.testing.assert_allclose(shares, expected, atol=0.06)


CONDITIONAL = {
    "cgan_mnist.h5": ("chapter4", "cgan-mnist-4.3.1", lambda: [noise(100), LABELS]),
    "acgan_mnist.h5": ("chapter5", "acgan-mnist-5.3.1", lambda: [noise(100), LABELS]),
    "infogan_mnist.h5": (
        "chapter6",
        "infogan-mnist-6.1.1",
        lambda: [noise(62), LABELS, *normal(2).T[..., None]],
    ),
}


@pytest.mark.parametrize("file", CONDITIONAL)
def test_generators_that_draw_the_digit_asked_for(file):
    chapter, name, inputs = CONDITIONAL[file]
    generator = load(script(chapter, name).build_generator(), chapter, file)
    expected = published(f"{name}-evaluate")["conditional_accuracy"]
    assert np.mean(predicted(generator, inputs()) == DIGITS) == pytest.approx(expected, abs=0.02)


def test_the_codes_control_thickness_and_slant():
    module = script("chapter6", "infogan-mnist-6.1.1")
    generator = load(module.build_generator(), "chapter6", "infogan_mnist.h5")
    pairs = np.random.default_rng(1).uniform(-1, 1, (len(DIGITS), 2)).astype("float32")
    images = generator.predict([noise(62), LABELS, *pairs.T[..., None]], verbose=0)
    found = digit_attributes.attribute_correlations(images, pairs, DIGITS)
    expected = published("infogan-mnist-6.1.1-evaluate")["codes"]
    for name in ("thickness", "slant"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.1)


STACKED = ("stackedgan_mnist-gen0.h5", "stackedgan_mnist-gen1.h5", "stackedgan_mnist-encoder.h5")


def test_the_stack_draws_the_digit_asked_for_and_the_encoder_finds_it():
    module = script("chapter6", "stackedgan-mnist-6.2.1")
    *encoders, classifier = module.build_encoder()
    generators = module.build_generator0(), module.build_generator1()
    for network, file in zip((*generators, classifier), STACKED, strict=True):
        load(network, "chapter6", file)
    stack = module.build_stack(*generators)
    given = [LABELS, normal(50), normal(50)[::-1]]
    expected = published("stackedgan-mnist-6.2.1-evaluate")
    right = predicted(stack, given) == DIGITS
    assert np.mean(right) == pytest.approx(expected["conditional_accuracy"], abs=0.02)
    found = latent_codes.measure_stack(generators, encoders, given)
    assert found["conditional0"] == pytest.approx(expected["conditional0"], rel=0.15)
    assert found["conditional1"] == pytest.approx(expected["conditional1"], abs=0.02)


# Chapter 7


CYCLES = {
    "cyclegan_cifar10": ("cifar10", "cyclegan-7.1.1"),
    "cyclegan_cifar10_plain": ("cifar10", "cyclegan-7.1.1-plain"),
    "cyclegan_mnist_m_plain": ("mnist-m", "cyclegan-7.1.1-mnist-m-plain"),
}


def translators(module, name, task):
    """The generators to the source and to the target."""
    files = f"{name}-g_source.h5", f"{name}-g_target.h5"
    pairs = zip(module.build_generators(task), files, strict=True)
    return [load(network, "chapter7", file) for network, file in pairs]


@pytest.mark.parametrize("name", [name for name in CYCLES if "cifar10" in name])
def test_gray_and_color(name):
    module = script("chapter7", "cyclegan-7.1.1")
    to_gray, to_color = translators(module, name, "cifar10")
    expected = published(f"{CYCLES[name][1]}-evaluate")
    images, _, _ = cifar10()
    gray = datasets.rgb_to_gray(images)
    error = np.abs(to_gray.predict(images, batch_size=100, verbose=0) - gray).mean()
    assert error == pytest.approx(expected["to_gray_mae"], rel=0.1)
    colored = to_color.predict(gray, batch_size=100, verbose=0)
    found = image_quality.colorfulness(colored).mean()
    assert found == pytest.approx(expected["cyclegan"]["colorfulness"], rel=0.1)


def test_digits_after_the_cycle():
    module = script("chapter7", "cyclegan-7.1.1")
    to_mnist, to_photographs = translators(module, "cyclegan_mnist_m_plain", "mnist-m")
    images, digits = mnist()
    images = np.pad(images[:300], ((0, 0), (2, 2), (2, 2), (0, 0)))
    there = to_photographs.predict(images, batch_size=100, verbose=0)
    back = to_mnist.predict(there, batch_size=100, verbose=0)
    kept = np.mean(translation.predicted_digits(back) == digits[:300])
    expected = published("cyclegan-7.1.1-mnist-m-plain-evaluate")["kept_after_cycle"]
    assert kept == pytest.approx(expected, abs=0.025)


# Chapter 8


VAES = {
    "vae_mlp_mnist.h5": ("vae-mlp-mnist-8.1.1", "vae-mlp-mnist-8.1.1"),
    "vae_cnn_mnist.h5": ("vae-cnn-mnist-8.1.2", "vae-cnn-mnist-8.1.2"),
    "cvae_cnn_mnist.h5": ("cvae-cnn-mnist-8.2.1", "cvae-cnn-mnist-8.2.1"),
    "beta-cvae_cnn_mnist.h5": ("cvae-cnn-mnist-8.2.1", "cvae-cnn-mnist-8.2.1-beta7"),
    "beta12-cvae_cnn_mnist.h5": ("cvae-cnn-mnist-8.2.1", "cvae-cnn-mnist-8.2.1-beta12"),
}


@pytest.mark.parametrize("file", VAES)
def test_variational_autoencoders(file):
    name, record = VAES[file]
    module = script("chapter8", name)
    encoder, decoder = module.build_encoder(2), module.build_decoder(2)
    load(module.build_vae(encoder, decoder, 0), "chapter8", file)
    images, digits = mnist()
    if name.startswith("vae-mlp"):
        images = images.reshape(-1, 784)
    labels = np.eye(10, dtype="float32")[digits]
    conditional = name.startswith("cvae")

    def encode(x):
        return encoder.predict(x, batch_size=100, verbose=0)

    def decode(z, index):
        given = [z, labels[index]] if conditional else z
        return decoder.predict(given, batch_size=500, verbose=0)

    x = [images, labels] if conditional else images
    found = vae.elbo(encode, decode, x, images, samples=5)["negative_elbo"]
    assert found == pytest.approx(published(f"{record}-evaluate")["negative_elbo"], rel=0.03)


# Chapters 9 and 10


@pytest.mark.parametrize("slippery", [False, True])
def test_the_tables_of_the_lake(slippery):
    env = frozen_lake.make_lake("FrozenLake-v1", slippery)
    kind = "-slippery" if slippery else ""
    path = CHAPTERS["chapter9"] / "weights" / f"q-frozenlake{kind}.npy"
    policy = frozen_lake.greedy(frozen_lake.load_table(path, env))
    expected = published(f"q-frozenlake-9.5.1{kind}")["runs"][0]["exact_success"]
    found = frozen_lake.success_within(env.unwrapped.P, 100, policy)[0]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["dqn", "ddqn"])
def test_the_q_networks_hold_the_pole(method):
    module = script("chapter9", "dqn-cartpole-9.6.1")
    env = environments.make_discrete("CartPole-v0")
    agent = module.DQNAgent(env, module.Settings(), double=method == "ddqn")
    path = CHAPTERS["chapter9"] / "weights" / f"{method}_cartpole.h5"
    agents.load(agent.q_network, path, {"method": method, "environment": "CartPole-v0", "seed": 0})
    agent.update_weights()
    rng = np.random.default_rng(0)
    rewards = [agent.play(env, rng) for _ in range(10)]
    record = published("dqn-cartpole-9.6.1" + ("-ddqn" if method == "ddqn" else ""))
    assert np.mean(rewards) == pytest.approx(record["seeds"]["0"]["test_reward"], rel=0.02)


METHODS = ("reinforce", "baseline", "actor_critic", "a2c")


@pytest.mark.parametrize("method", METHODS)
def test_the_policies_drive_up_the_hill(method):
    module = script("chapter10", "policygradient-car-10.1.1")
    encoder = load(state_encoder.build_encoder(2), "chapter10", "car_encoder.h5")
    folder = CHAPTERS["chapter10"]
    run = program.Run(script=Path(module.__file__), folder=folder, output_dir=folder)
    critic = None if method == "reinforce" else f"car_{method}_value.h5"
    files = {"actor": f"car_{method}_actor.h5", "value": critic}
    agent = module.make_agent(run, 0, method, encoder, module.Settings(), module.ENV_ID, files)
    if method != "reinforce":
        states = np.array([[0.4, 0.05], [-0.5, 0.0]])
        values = agent.value(agent.policy.features(states).astype("float32"))
        assert float(values[0, 0]) > float(values[1, 0])  # near the flag and in the valley
    env, rng = environments.make_continuous(module.ENV_ID), np.random.default_rng(0)
    episodes = [module.run_episode(env, agent.policy, rng) for _ in range(10)]
    assert all(flag for *_, flag in episodes)
    rewards = [sum(rewards) for _, _, rewards, _ in episodes]
    expected = published(f"policygradient-car-10.1.1-{method}")["seeds"]["0"]["test_reward"]
    assert np.mean(rewards) == pytest.approx(expected, abs=1)


def test_keras_opens_shipped_files_without_this_project(tmp_path):
    code = "import keras, sys\nfor f in sys.argv[1:]: keras.models.load_model(f, compile=False)"
    files = [
        path
        for chapter, folder in CHAPTERS.items()
        if chapter not in ("chapter7", "chapter8")  # which have layers of ours
        for path in folder.glob("weights/*.h5")
    ]
    assert len(files) > 25
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chapter", ["chapter7", "chapter8"])
def test_keras_opens_shipped_files_with_our_layers(chapter):
    script("chapter7", "cyclegan-7.1.1")  # which imports the one layer, as lib.vae has the other
    for path in CHAPTERS[chapter].glob("weights/*.h5"):
        assert keras.models.load_model(path, compile=False).count_params() > 10_000


def test_no_shipped_file_is_left_out():
    tested = {
        *MNIST_CLASSIFIERS,
        *CIFAR10_CLASSIFIERS,
        *AUTOENCODERS,
        *UNCONDITIONAL,
        *CONDITIONAL,
        *STACKED,
        *(f"{name}-g_{domain}.h5" for name in CYCLES for domain in ("source", "target")),
        *VAES,
        "q-frozenlake.npy",
        "q-frozenlake-slippery.npy",
        "dqn_cartpole.h5",
        "ddqn_cartpole.h5",
        "car_encoder.h5",
        *(f"car_{method}_actor.h5" for method in METHODS),
        *(f"car_{method}_value.h5" for method in METHODS if method != "reinforce"),
    }
    shipped = {path.name for path in ROOT.glob("chapter*/weights/*")}
    assert tested == shipped
