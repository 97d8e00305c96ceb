"""The benchmarks count the work of a training step, and measure every contender."""

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, read_json, run_script
from keras import layers

from benchmarks import devices, long_run, rounds
from lib.files.errors import UserError

epochs = load_script("benchmarks/epochs.py")
gan_step = load_script("benchmarks/gan_step.py")
agents = load_script("benchmarks/rl.py")

GENERATOR = [
    100 * 6272,
    7 * 7 * 25 * 128 * 128,
    14 * 14 * 25 * 128 * 64,
    28 * 28 * 25 * 64 * 32,
    28 * 28 * 25 * 32 * 1,
]
DISCRIMINATOR = [
    14 * 14 * 25 * 1 * 32,
    7 * 7 * 25 * 32 * 64,
    4 * 4 * 25 * 64 * 128,
    4 * 4 * 25 * 128 * 256,
    4096 * 1,
]


def multiply_adds(network):
    return [cost.multiply_adds for cost in gan_step.layer_costs(network)]


def tiny_networks():
    """A generator, and a discriminator that has labels for a second input."""
    noise = keras.Input((2,))
    x = layers.Dense(12)(noise)
    x = layers.Reshape((2, 2, 3))(x)
    x = layers.BatchNormalization()(x)
    generator = keras.Model(noise, layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x))
    images, labels = keras.Input((4, 4, 1)), keras.Input((5,))
    x = layers.Reshape((4, 4, 1))(layers.Dense(16)(labels))
    x = layers.Concatenate()([images, x])
    x = layers.LeakyReLU()(x)
    x = layers.Conv2D(3, 3, strides=2, padding="same")(x)
    x = layers.Dense(1)(layers.Flatten()(x))
    return generator, keras.Model([images, labels], x)


def test_counts_a_tiny_network_by_hand():
    generator, discriminator = tiny_networks()
    dense, transposed = 2 * 12, 2 * 2 * 9 * 3 * 1
    of_labels, convolution, last = 5 * 16, 2 * 2 * 9 * 2 * 3, 12 * 1
    assert multiply_adds(generator) == [dense, transposed]
    assert sorted(multiply_adds(discriminator)) == sorted([of_labels, convolution, last])
    # The labels get no gradient in any turn, and neither does the noise.
    generators_pass = 2 * dense + 3 * transposed
    own_turn = 2 * (2 * of_labels + 3 * convolution + 3 * last)
    generators_turn = of_labels + 2 * convolution + 2 * last
    assert gan_step.step_multiply_adds(generator, discriminator) == (
        generators_pass + own_turn + generators_turn
    )


def test_counts_the_dcgan_by_hand():
    script = load_script(gan_step.GANS["dcgan"].script)
    generator, discriminator = script.build_generator(), script.build_discriminator()
    assert multiply_adds(generator) == GENERATOR
    assert multiply_adds(discriminator) == DISCRIMINATOR
    g, d = sum(GENERATOR), sum(DISCRIMINATOR)
    step = (3 * g - GENERATOR[0]) + 2 * (3 * d - DISCRIMINATOR[0]) + 2 * d
    assert gan_step.forward_multiply_adds(generator) == g
    assert gan_step.step_multiply_adds(generator, discriminator) == step
    discriminator.trainable = False  # as the book's loop leaves it
    assert gan_step.step_multiply_adds(generator, discriminator) == step


def test_counts_five_turns_of_a_critic_and_the_way_through_an_encoder():
    generator, discriminator = tiny_networks()
    one, five = (gan_step.step_multiply_adds(generator, discriminator, n) for n in (1, 5))
    generators_pass = gan_step.forward_multiply_adds(generator)
    of_labels, convolution, last = 5 * 16, 2 * 2 * 9 * 2 * 3, 12 * 1
    assert generators_pass == 2 * 12 + 2 * 2 * 9 * 3 * 1
    assert five - one == 4 * (generators_pass + 2 * (2 * of_labels + 3 * convolution + 3 * last))
    encoder, *_ = load_script(gan_step.GANS["stackedgan"].script).build_encoder()
    forward = 28**2 * 9 * 64 + 14**2 * 9 * 64 * 64 + 7**2 * 64 * 256
    assert gan_step.through_multiply_adds(encoder) == 2 * forward


def test_counts_the_cycle():
    gan = gan_step.GANS["cyclegan"]
    model = gan.build(load_script(gan.script))
    expected = 0
    for generator, discriminator in (
        (model.g_source, model.d_source),
        (model.g_target, model.d_target),
    ):
        g, d = multiply_adds(generator), multiply_adds(discriminator)
        channels = generator.input_shape[-1]
        assert g[0] == 32**2 * 9 * channels * 32
        # Fakes: forward, and back to the weights; there and back: forward, and back to weights and
        # fakes. The discriminator: both turns.
        expected += 6 * sum(g) - g[0] + 8 * sum(d) - 2 * d[0]
    assert gan.multiply_adds(model) == expected


def test_refuses_a_layer_that_it_cannot_count():
    x = keras.Input((4, 4, 2))
    with pytest.raises(ValueError, match="cannot count"):
        gan_step.layer_costs(keras.Model(x, layers.DepthwiseConv2D(3)(x)))


def test_a_call_must_move_all_kernels_of_its_network_and_no_other():
    still, moving = np.zeros((2, 2)), np.zeros((2, 2))

    def move():
        moving[0, 0] += 1

    def values(*arrays):
        return lambda: arrays

    gan_step.check_moves("a call", move, moved=[values(moving, np.zeros(2))], kept=[values(still)])
    with pytest.raises(RuntimeError, match="does not change weights"):
        gan_step.check_moves("a call", move, moved=[values(moving, still)])
    with pytest.raises(RuntimeError, match="changes weights that it should not"):
        gan_step.check_moves("a call", move, kept=[values(still, moving)])


def test_the_peak_is_measured_in_both_precisions(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setattr(gan_step, "PEAK_INPUTS", ((2, 4, 4, 8),))
    _, measure = gan_step.peak(SimpleNamespace(precisions=("float32", "bfloat16")))
    speeds = measure()
    assert set(speeds) == {"float32 2x4x4x8", "bfloat16 2x4x4x8"}
    assert min(speeds.values()) > 0


def test_every_contender_is_measured(tmp_path, data_dir):
    done = run_script(
        "benchmarks/gan_step.py",
        *("--rounds", 1, "--steps", 1, "--batch-size", 2, "--output", "speed.json"),
        *("--gans", "dcgan", "--precisions", "float32"),
        folder=tmp_path,
        data=data_dir,
    )
    assert done.returncode == 0, done.stderr
    numbers = read_json(tmp_path / "speed.json")
    contenders = gan_step.GANS["dcgan"].contenders
    expected = {f"dcgan {who}" for who in contenders if who.endswith("float32")}
    assert {"dcgan ours float32", "dcgan book float32"} <= expected
    if importlib.util.find_spec("torch") is None:
        assert "PyTorch is not installed" in done.stdout
        expected = {name for name in expected if "torch" not in name}
    assert set(numbers["contenders"]) == expected
    for name, row in numbers["contenders"].items():
        assert name in done.stdout
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"], name
        assert row["share_of_peak"] > 0, name
    assert numbers["peak_gflop_per_s"]["float32"] > 0
    assert numbers["contenders"]["dcgan ours float32"]["peak_rss_mb"] > 100
    g, d = sum(GENERATOR), sum(DISCRIMINATOR)
    step = 3 * g - GENERATOR[0] + 8 * d - 2 * DISCRIMINATOR[0]
    assert numbers["gflop_per_step"]["dcgan"] == pytest.approx(2 * 2e-9 * step, abs=0.001)
    book = numbers["contenders"]["dcgan book float32"]["gflop_per_step"]
    assert book == pytest.approx(2 * 2e-9 * (step + g), abs=0.001)


def test_epochs_of_every_kind_are_measured(tmp_path):
    flags = ("--networks=cvae", "--batch-size=4", "--rounds", 1, "--steps", 1)
    done = run_script(
        "benchmarks/epochs.py", *flags, "--output", "epochs.json", folder=tmp_path, data=tmp_path
    )
    assert done.returncode == 0, done.stderr
    numbers = read_json(tmp_path / "epochs.json")
    assert numbers["batch_sizes"] == {"cvae": 4}
    kinds = ["ours float32", "ours bfloat16"]
    if importlib.util.find_spec("torch") is not None:
        kinds.append("torch float32")
    assert set(numbers["contenders"]) == {f"cvae {kind}" for kind in kinds}
    for name, row in numbers["contenders"].items():
        assert name in done.stdout
        assert row["seconds_per_epoch"] == pytest.approx(15 * row["median_ms"], rel=0.01)


def test_the_one_cycle_recipe_is_measured_with_augmentation(monkeypatch):
    # The contender replaces it; what it was comes back after the test.
    monkeypatch.setattr(layers.BatchNormalization, "call", layers.BatchNormalization.call)
    network = replace(epochs.NETWORKS["resnet_one_cycle"], batch_size=4)
    assert "augmented float32" in network.contenders
    facts, play = epochs.ours(network, "augmented", "float32", argparse.Namespace(steps=1))
    assert facts["parameters"] == 273_066  # without the averages of the normalizations
    assert play()[""] > 0


def test_both_recipes_are_measured_with_their_own_batches_and_optimizers():
    sizes = {name: epochs.NETWORKS[name].batch_size for name in ("resnet", "resnet_one_cycle")}
    assert sizes == {"resnet": 32, "resnet_one_cycle": 128}
    for name, optimizer in (("resnet", "Adam"), ("resnet_one_cycle", "SGD")):
        network = epochs.NETWORKS[name]
        script = load_script(network.script)
        assert type(network.build(script, False).optimizer).__name__ == optimizer
    if importlib.util.find_spec("torch") is not None:
        _, optimizer = epochs.NETWORKS["resnet_one_cycle"].torch()
        kernels, others = optimizer.param_groups
        assert kernels["nesterov"] and kernels["weight_decay"] > others["weight_decay"] == 0


def test_unfused_is_keras_own_normalization(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("lib/engine/backends.py replaces only TensorFlow's")
    plain = layers.BatchNormalization.call
    plain = getattr(plain, "plain", plain)  # another test may have installed the faster one
    monkeypatch.setattr(layers.BatchNormalization, "call", plain)
    assert "unfused float32" in epochs.NETWORKS["densenet"].contenders
    epochs.ours(epochs.NETWORKS["mlp"], "unfused", "float32", argparse.Namespace(steps=1))
    assert layers.BatchNormalization.call is plain
    epochs.ours(epochs.NETWORKS["mlp"], "ours", "float32", argparse.Namespace(steps=1))
    assert layers.BatchNormalization.call is not plain


@pytest.mark.parametrize("name", agents.CONTENDERS)
def test_every_agent_trains(name):
    if "torch" in name:
        pytest.importorskip("torch")
    args = argparse.Namespace(episodes=50 if "dqn" in name else 2, steps=1)
    _, train = agents.contender(name)(args)
    steps, updates, acting = train(1)
    assert (acting is not None) == (name in ("dqn ours", "dqn torch", "dqn book"))
    if "book" in name or "environment" in name:
        assert (steps, updates) == (1, "book" in name)
    else:
        assert steps > 60 and updates in ((200, 300, 400) if "dqn" in name else (2,))


def test_agents_are_measured(tmp_path):
    flags = ("--rounds=1", "--episodes=3", "--tasks=reinforce", "--output=rl.json")
    done = run_script("benchmarks/rl.py", *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = read_json(tmp_path / "rl.json")
    row = numbers["contenders"]["reinforce ours"]
    assert row["steps_per_second"] == pytest.approx(1000 / row["step_ms"]["median_ms"], 0.01)
    assert row["peak_rss_mb"] > 100 and "steps_per_second_of_acting" not in row
    assert numbers["episodes"] == {"reinforce": 3}
    if importlib.util.find_spec("torch") is None:
        assert "PyTorch is not installed" in done.stdout and numbers["times_as_fast"] == {}
    else:
        assert numbers["times_as_fast"]["reinforce"]["torch"]["median"] > 0


def test_scaling_is_computed_from_the_medians_of_the_forms():
    medians = {(1, "strong"): 10.0, (2, "strong"): 8.0, (2, "weak"): 12.5, (2, "share"): 6.0}
    assert devices.summarize(medians, 64, [1, 2]) == {
        "batch_size": 64,
        "devices": {
            "1": {"steps_per_second": 100},
            "2": {
                "steps_per_second": 125,
                "strong_speedup": 1.25,
                "weak_efficiency": 0.8,
                "communication_share": 0.25,
            },
        },
    }
    assert [devices.batch_of(64, 4, form) for form in devices.FORMS] == [64, 256, 16]
    with pytest.raises(UserError, match="expected a divisor of the batch size 64"):
        devices.batch_of(64, 3, "strong")


def test_devices_are_measured(tmp_path):
    flags = ("--rounds=1", "--steps=1", "--networks=mlp", "--devices=1,2", "--output=d.json")
    done = run_script("benchmarks/devices.py", *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = read_json(tmp_path / "d.json")["networks"]
    for network in numbers.values():
        assert network["devices"]["1"]["steps_per_second"] > 0
        assert network["devices"]["2"]["communication_share"] < 1
    done = run_script("benchmarks/devices.py", "--devices=2", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "begin with 1")


def test_growth_compares_the_last_quarter_with_the_second():
    memory = [90, 95, 100, 102, 101, 103, 104, 106]
    rows = [{"memory_mb": m, "files": 7, "threads": 9} for m in memory]
    assert long_run.growth(rows) == {"memory_mb": 4, "files": 0, "threads": 0}


def test_a_long_run_is_measured(tmp_path):
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    flags = ("--steps=8", "--interval=2", "--resumes=4", "--output=run.json", "--figure=run.png")
    done = run_script("benchmarks/long_run.py", *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = read_json(tmp_path / "run.json")
    assert numbers["last"]["steps"]["step"] == 8 and numbers["last"]["resumes"]["resume"] == 4
    for part in numbers["last"].values():
        assert part["memory_mb"] > 100 and part["files"] > 2 and part["threads"] >= 1
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_acting_is_timed_apart():
    now = iter([0.0, 5.0])
    _, play = agents.timed({}, lambda seed: (10, 4, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents.time, "perf_counter", lambda: next(now))
        values = play()
    assert values == {"step": 500, "acting": 100, "learning": 1000, "steps": 10, "updates": 4}


def test_ratios_compare_contenders_in_the_same_round():
    def contender(**values):
        return SimpleNamespace(values=values)

    ours = {"step": [1.0, 2.0, 4.0], "steps": [10, 10, 20], "updates": [1, 2, 4]}
    theirs = {"steps": [9, 9, 9], "updates": [9, 9, 9], "step": [9.0, 9.0, 9.0]}
    contenders = {
        "dqn ours": contender(acting=[0.5, 0.5, 1.0], learning=[5.0, 7.5, 15.0], **ours),
        # 10 * 1 + 1 * 10 = 20, 10 * 2 + 2 * 20 = 60 and 20 * 2 + 4 * 10 = 80 milliseconds, not
        # 10, 20 and 80.
        "dqn torch": contender(acting=[1.0, 2.0, 2.0], learning=[10.0, 20.0, 10.0], **theirs),
        "dqn environment": contender(step=[0.1, 0.1, 0.1]),
        "a2c ours": contender(step=[1.0]),
        "a2c torch": contender(step=[3.0]),
    }
    assert agents.ratios(contenders) == {
        "dqn": {
            "torch": {"median": 2.0, "least": 1.0, "greatest": 3.0},
            "environment": {"median": 0.05, "least": 0.025, "greatest": 0.1},
        },
        "a2c": {"torch": {"median": 3.0, "least": 3.0, "greatest": 3.0}},
    }


@pytest.mark.parametrize("method", ["a2c", "reinforce"])
def test_pytorch_trains_the_same_policy(method):
    pytest.importorskip("torch")
    args = argparse.Namespace(episodes=3)
    _, ours = agents.policy_ours(method, args)
    _, in_torch = agents.policy_torch(method, args)
    # Starts and noise are those of the seed: equal learning gives episodes of equal length.
    assert ours(1) == in_torch(1)


def test_without_pytorch_its_contenders_are_skipped(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    names = ["dcgan ours float32", "dcgan torch float32"]
    assert rounds.available(names) == ["dcgan ours float32"]
    assert "dcgan torch float32: PyTorch is not installed" in capsys.readouterr().out


def test_a_contender_that_fails_is_one_line():
    contender = rounds.Contender(
        gan_step.__file__, "dcgan nobody float32", {"--steps": 1, "--batch-size": 1}
    )
    with pytest.raises(UserError, match=r"^contender 'dcgan nobody float32' failed: .*nobody.*$"):
        contender.reply()
    contender.close()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--gans", "dcgan,gan", "expected names out of dcgan, cgan"),
        ("--rounds", "0", "expected a whole number of at least 1"),
        ("--output", "no/such/folder.json", "expected a file name in a writable folder"),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path, flag, value, message):
    done = run_script("benchmarks/gan_step.py", flag, value, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, message)
