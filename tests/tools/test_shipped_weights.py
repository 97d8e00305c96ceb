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
from lib.cyclegan.tasks import Task
from lib.data import datasets
from lib.files import weights
from lib.measure import digit_attributes, digit_quality, image_quality
from lib.rl import agents, environments, frozen_lake, state_encoder
from lib.run import program
from tools import registry

CHAPTERS = {path.name.partition("-")[0]: path for path in sorted(ROOT.glob("chapter*"))}


def rows(*chapters, key="", data=""):
    """The rows of pretrained weights with this key and these data, by their files."""
    return {
        row.files: row
        for chapter in chapters
        for row in registry.pretrained(chapter)
        if key in ("", row.key) and data in ("", row.data)
    }


def script(chapter, name):
    return load_script(CHAPTERS[chapter] / f"{name}.py")


def published(name):
    path = ROOT / "results" / f"{name}.json"
    assert path.exists(), f"pretrained weights without a record; measure them into {path}"
    return read_json(path)


def published_of(row):
    """The measures of a row of the registry."""
    name = row.record_name
    return published(f"{name}evaluate" if name.endswith("-") else name)


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


MNIST_CLASSIFIERS = rows(1, 2, key="test_accuracy", data="MNIST")


@pytest.mark.parametrize("file", MNIST_CLASSIFIERS)
def test_classifiers_of_digits(file):
    row = MNIST_CLASSIFIERS[file]
    model = load(load_script(row.path).build_classifier(), f"chapter{row.chapter}", file)
    images, digits = mnist()
    inputs = [images.reshape(-1, *tensor.shape[1:]) for tensor in model.inputs]
    right = share_right(model, inputs if len(inputs) > 1 else inputs[0], digits)
    assert right == pytest.approx(published_of(row)["test_accuracy"], abs=0.015)


CIFAR10_CLASSIFIERS = rows(1, 2, key="test_accuracy", data="CIFAR-10")
DEEP = {
    "cifar10_resnet20v1.h5": lambda script: script.build_resnet(20, 1),
    "cifar10_resnet56v2.h5": lambda script: script.build_resnet(56, 2),
    "cifar10_densenet100k12.h5": lambda script: script.build_densenet(100, 12),
}


@pytest.mark.parametrize("file", CIFAR10_CLASSIFIERS)
def test_classifiers_of_photographs(file):
    row = CIFAR10_CLASSIFIERS[file]
    model = load(DEEP[file](load_script(row.path)), "chapter2", file)
    images, classes, mean = cifar10()
    expected = published_of(row)["test_accuracy"]
    assert share_right(model, images - mean, classes) == pytest.approx(expected, abs=0.04)


# Chapter 3


AUTOENCODERS = rows(3)


@pytest.mark.parametrize("file", AUTOENCODERS)
def test_autoencoders(file):
    row = AUTOENCODERS[file]
    module = load_script(row.path)
    chroma = file == "colorized_ae_chroma.h5"
    if chroma:
        parts = module.build_encoder(), module.build_decoder("tanh"), True
    else:
        parts = module.build_encoder(), module.build_decoder()
    model = module.build_autoencoder(*parts)
    load(model, "chapter3", file)
    expected = published_of(row)
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


GENERATORS = {
    file: row for file, row in rows(4, 5, 6).items() if row.flags.startswith("--generator=")
}


def inputs_of(generator):
    """Noise, the labels of DIGITS, and codes, as the generator's inputs are named."""
    codes = iter(normal(2).T[..., None])
    made = {"noise": lambda size: noise(size), "labels": lambda _: LABELS}
    inputs = [
        made.get(tensor.name, lambda _: next(codes))(tensor.shape[1]) for tensor in generator.inputs
    ]
    return inputs if len(inputs) > 1 else inputs[0]


@pytest.mark.parametrize("file", GENERATORS)
def test_generators_draw_each_digit_as_often_as_published_or_as_asked_for(file):
    row = GENERATORS[file]
    generator = load(load_script(row.path).build_generator(), f"chapter{row.chapter}", file)
    expected, found = published_of(row), predicted(generator, inputs_of(generator))
    conditional = any(tensor.name == "labels" for tensor in generator.inputs)
    assert conditional == ("conditional_accuracy" in expected)
    if conditional:
        accuracy = np.mean(found == DIGITS)
        assert accuracy == pytest.approx(expected["conditional_accuracy"], abs=0.02)
    else:
        shares = np.bincount(found, minlength=10) / len(DIGITS)
        of_all = np.array(expected["class_histogram"]) / 10_000
        np.testing.assert_allclose(shares, of_all, atol=0.06)


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


CYCLES = {row.name: row for row in rows(7).values()}


def translators(module, name, task):
    """The generators to the source and to the target."""
    files = f"{name}-g_source.h5", f"{name}-g_target.h5"
    pairs = zip(module.build_generators(Task(task)), files, strict=True)
    return [load(network, "chapter7", file) for network, file in pairs]


@pytest.mark.parametrize("name", [name for name in CYCLES if "cifar10" in name])
def test_gray_and_color(name):
    module = script("chapter7", "cyclegan-7.1.1")
    to_gray, to_color = translators(module, name, "cifar10")
    expected = published_of(CYCLES[name])
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


VAES = rows(8)


@pytest.mark.parametrize("file", VAES)
def test_variational_autoencoders(file):
    row = VAES[file]
    module = load_script(row.path)
    encoder, decoder = module.build_encoder(2), module.build_decoder(2)
    load(module.build_vae(encoder, decoder, 0), "chapter8", file)
    images, digits = mnist()
    if row.script.startswith("vae-mlp"):
        images = images.reshape(-1, 784)
    labels = np.eye(10, dtype="float32")[digits]
    conditional = row.script.startswith("cvae")

    def encode(x):
        return encoder.predict(x, batch_size=100, verbose=0)

    def decode(z, index):
        given = [z, labels[index]] if conditional else z
        return decoder.predict(given, batch_size=500, verbose=0)

    x = [images, labels] if conditional else images
    found = vae.elbo(encode, decode, x, images, samples=5)["negative_elbo"]
    assert found == pytest.approx(published_of(row)["negative_elbo"], rel=0.03)


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


def test_no_pretrained_weights_are_left_out():
    tested = {
        *MNIST_CLASSIFIERS,
        *DEEP,
        *AUTOENCODERS,
        *GENERATORS,
        "stackedgan_mnist-*.h5",
        *(row.files for row in CYCLES.values()),
        *VAES,
        "q-frozenlake.npy",
        "q-frozenlake-slippery.npy",
        "dqn_cartpole.h5",
        "ddqn_cartpole.h5",
        *(f"car_{method}_*.h5" for method in METHODS),
    }
    for file in rows(*range(1, 11)):
        assert file in tested, f"write a test of chapter*/weights/{file} into this file"
