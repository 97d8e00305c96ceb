"""The four policy gradients: losses and gradients in NumPy, what is learned, and the commands."""

import csv
import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT, break_off, interrupt_script, load_script, run_script
from PIL import Image

from lib import rl, weights
from lib.cli import UserError

CAR = "chapter10-policy/policygradient-car-10.1.1.py"
ENCODER = ROOT / "chapter10-policy" / "weights" / "car_encoder.h5"
METHODS = ("reinforce", "baseline", "actor_critic", "a2c")


@pytest.fixture(scope="module")
def script():
    return load_script(CAR)


def assert_one_line_error(done, *parts):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for part in parts:
        assert part in line


def agent_with_weights(script, method, settings=None, seed=0):
    """An agent whose networks are not at zero, as they are in the beginning."""
    agent = script.build_agent(method, settings or script.Settings(), 100)
    rng = np.random.default_rng(seed)
    for network in (agent.actor, agent.value):
        if network is not None:
            network.set_weights([rng.normal(0, 0.2, w.shape) for w in network.get_weights()])
    return agent


def steps_at_random(script, size=20, ended=True, seed=1):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(4, size)).astype("float32")
    features = rng.normal(size=(size + 1, 32)).astype("float32")
    ends = np.zeros(size, "float32")
    ends[-1] = ended
    return script.Steps(
        features=features[:-1],
        next_features=features[1:],
        actions=numbers[0],
        rewards=numbers[1],
        returns=numbers[2],
        discounts=np.asarray(0.99 ** np.arange(size), "float32"),
        ended=ends,
        shares=np.full(size, 1 / size, "float32"),
    )


def policy_of(agent, features):
    """Mean and standard deviation (steps,) in NumPy, and the input of the softplus."""
    mean, deviation = (agent.actor.get_layer(n).get_weights() for n in ("mean", "deviation"))
    raw = (features @ deviation[0] + deviation[1])[:, 0]
    return (features @ mean[0] + mean[1])[:, 0], np.logaddexp(0, raw) + 0.1, raw


def values_of(agent, features):
    kernel, bias = agent.value.get_weights()
    return (features @ kernel + bias)[:, 0]


def gains_of(agent, steps):
    """What the method multiplies the log-probabilities by."""
    if agent.name == "reinforce":
        return steps.discounts * steps.returns
    expected = values_of(agent, steps.features)
    if agent.name == "actor_critic":
        following = values_of(agent, steps.next_features)
        return steps.discounts * (steps.rewards + 0.99 * (1 - steps.ended) * following - expected)
    if agent.name == "baseline":
        return steps.discounts * (steps.returns - expected)
    return steps.returns - expected


# The networks


def test_parameter_counts(script):
    assert script.build_encoder(2).count_params() == 37_792
    assert script.build_actor(0.1).count_params() == 66
    assert script.build_value().count_params() == 33


def test_the_policy_starts_at_zero_with_much_noise(script):
    features = np.random.default_rng(0).normal(size=(5, 32)).astype("float32")
    mean, deviation = script.build_actor(0.1).predict(features, verbose=0)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(deviation, math.log(2) + 0.1, rtol=1e-5)
    np.testing.assert_array_equal(script.build_value().predict(features, verbose=0), 0)


@pytest.mark.parametrize("standardize", [True, False])
def test_the_encoder_keeps_the_state(script, standardize, monkeypatch, capsys):
    monkeypatch.setattr(script, "STATES", 6000)
    monkeypatch.setattr(script, "TEST_STATES", 1000)
    monkeypatch.setattr(script, "ENCODER_EPOCHS", 3)
    keras.utils.set_random_seed(0)
    space = SimpleNamespace(low=np.array([-1.2, -0.07], "f"), high=np.array([0.6, 0.07], "f"))
    encoder = script.build_encoder(2)
    error = script.train_encoder(encoder, space, standardize, np.random.default_rng(0))
    states = np.random.default_rng(1).uniform(space.low, space.high, (5000, 2))
    features = encoder.predict(states, batch_size=1000, verbose=0)
    if standardize:
        assert error < 0.1  # of a variance of 1
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.06)
        np.testing.assert_allclose(features.std(axis=0), 1, atol=0.06)
    # A line through the features finds position and velocity again, the latter if it was seen.
    design = np.hstack([features, np.ones((5000, 1))])
    _, residuals, *_ = np.linalg.lstsq(design, states, rcond=None)
    unexplained = residuals / 5000 / states.var(axis=0)
    assert np.all(unexplained[: 2 if standardize else 1] < 0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_numpy_copies_are_the_networks(script, method):
    encoder, agent = script.build_encoder(2), agent_with_weights(script, method)
    networks = script.Networks(encoder, agent)
    states = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    features = encoder.predict(states, verbose=0)
    mean, deviation = agent.actor.predict(features, verbose=0)
    for k, state in enumerate(states):
        np.testing.assert_allclose(networks.features(state), features[k], rtol=1e-4, atol=1e-5)
        assert networks.policy(features[k], 0.1) == pytest.approx((mean[k], deviation[k]), rel=1e-4)
    if agent.uses_value:
        value = agent.value.predict(features, verbose=0)
        assert networks.value(features[0]) == pytest.approx(value[0], rel=1e-4)
        agent.value.set_weights([2 * w for w in agent.value.get_weights()])
        networks.update()
        assert networks.value(features[0]) == pytest.approx(2 * value[0], rel=1e-4)


# The methods


@pytest.mark.parametrize("method", METHODS)
def test_policy_losses_against_numpy(script, method):
    agent, steps = agent_with_weights(script, method), steps_at_random(script)
    mean, deviation, _ = policy_of(agent, steps.features)
    density = np.exp(-(((steps.actions - mean) / deviation) ** 2) / 2)
    log_probability = np.log(density / (deviation * np.sqrt(2 * np.pi)))
    gain = gains_of(agent, steps) * log_probability
    if method == "a2c":
        gain += 0.9 * np.log(deviation * np.sqrt(2 * np.pi * np.e))
    assert float(agent.policy_loss(*steps)) == pytest.approx(-gain.mean(), rel=1e-4)


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("ended", [True, False])
def test_value_losses_against_numpy(script, method, ended):
    agent, steps = agent_with_weights(script, method), steps_at_random(script, ended=ended)
    targets = steps.returns
    if method == "actor_critic":
        following = values_of(agent, steps.next_features)
        following[-1] *= not ended
        targets = steps.rewards + 0.99 * following
    expected = np.mean((targets - values_of(agent, steps.features)) ** 2)
    assert float(agent.value_loss(*steps)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_that_of_the_actions_taken(script, method):
    """One step of plain gradient descent moves the policy by the closed form, and nothing else."""
    agent, steps = agent_with_weights(script, method), steps_at_random(script)
    agent.turns[0].optimizer = keras.optimizers.SGD(1.0)
    agent.compile(agent.turns)
    layers = [agent.actor.get_layer(name) for name in ("mean", "deviation")]
    before = [w.copy() for layer in layers for w in layer.get_weights()]
    mean, deviation, raw = policy_of(agent, steps.features)
    z = (steps.actions - mean) / deviation
    by_mean = gains_of(agent, steps) * z / deviation
    by_deviation = gains_of(agent, steps) * (z**2 - 1) / deviation
    if method == "a2c":
        by_deviation += 0.9 / deviation
    by_raw = by_deviation / (1 + np.exp(-raw))
    agent.train_on_batch(tuple(steps))
    expected = [
        before[0] + (steps.features.T @ by_mean / 20)[:, None],
        before[1] + by_mean.mean(),
        before[2] + (steps.features.T @ by_raw / 20)[:, None],
        before[3] + by_raw.mean(),
    ]
    after = [w for layer in layers for w in layer.get_weights()]
    for now, then in zip(after, expected, strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("turn", ["policy_loss", "value_loss"])
@pytest.mark.parametrize("method", METHODS[1:])
def test_each_turn_moves_its_own_network(script, method, turn):
    agent = agent_with_weights(script, method)
    agent.compile([t for t in agent.turns if t.name == turn])
    networks = {"policy_loss": agent.actor, "value_loss": agent.value}
    before = {name: network.get_weights() for name, network in networks.items()}
    agent.train_on_batch(tuple(steps_at_random(script)))
    for name, network in networks.items():
        for now, then in zip(network.get_weights(), before[name], strict=True):
            assert np.any(now != then) == (name == turn)


def test_discounted_returns(script):
    returns = script.discounted_returns([1.0, 2.0, 3.0], 0.5, 8.0)
    np.testing.assert_allclose(returns, [3.75, 5.5, 7.0])


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_what_follows_the_last_step(script, method, reached):
    """A2C alone takes a value for what the time limit cut off; the flag ends an episode for all."""
    settings = script.Settings()
    agent = agent_with_weights(script, method)
    networks = script.Networks(script.build_encoder(2), agent)
    features = list(np.random.default_rng(0).normal(size=(4, 32)).astype("float32"))
    episode = script.Episode(features, [0.1, 0.2, 0.3], [-1.0, -2.0, 5.0], reached)
    steps = script.steps_of(episode, agent, networks, settings)
    last = 5.0
    if method == "a2c" and not reached:
        last += 0.95 * values_of(agent, features[-1][None])[0]
    assert steps.returns[-1] == pytest.approx(last, rel=1e-5)
    assert steps.returns[0] == pytest.approx(-1 + agent.gamma * (-2 + agent.gamma * last), rel=1e-4)
    np.testing.assert_array_equal(steps.ended, [0, 0, reached])
    np.testing.assert_array_equal(steps.next_features[:-1], steps.features[1:])
    np.testing.assert_allclose(steps.discounts, [1, agent.gamma, agent.gamma**2])
    book = script.steps_of(episode, agent, networks, script.BOOK)
    np.testing.assert_array_equal(book.ended, [0, 0, 1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size, length", [(20, 128), (128, 128), (999, 1024)])
def test_filling_up_changes_no_loss(script, method, size, length):
    agent, steps = agent_with_weights(script, method), steps_at_random(script, size)
    full = script.filled(steps)
    assert all(len(array) == length for array in full)
    assert float(agent.policy_loss(*full)) == pytest.approx(
        float(agent.policy_loss(*steps)), rel=1e-3
    )
    if agent.uses_value:
        expected = float(agent.value_loss(*steps))
        assert float(agent.value_loss(*full)) == pytest.approx(expected, rel=1e-3)


def test_the_book_updates_at_each_step_from_the_last_to_the_first(script):
    agent, steps = agent_with_weights(script, "a2c", script.BOOK), steps_at_random(script, 6)
    seen = []
    agent.train_on_batch = lambda batch, **_: seen.append(script.Steps(*batch)) or {}
    script.learn(agent, steps, script.BOOK)
    assert [step.actions.tolist() for step in seen] == [[a] for a in steps.actions[::-1].tolist()]
    assert all(step.shares.tolist() == [1] for step in seen)


def test_rates_fall_to_zero_but_for_the_book(script):
    agent = script.build_agent("baseline", script.Settings(), 10)
    rates = [float(agent.turns[k].optimizer.learning_rate) for k in (0, 1)]
    assert rates == pytest.approx([0.005, 0.3])
    for _ in range(10):
        agent.train_on_batch(tuple(steps_at_random(script)))
    assert [float(agent.turns[k].optimizer.learning_rate) for k in (0, 1)] == [0, 0]
    book = script.build_agent("baseline", script.BOOK, 10)
    book.train_on_batch(tuple(steps_at_random(script)))
    assert float(book.turns[0].optimizer.learning_rate) == pytest.approx(1e-3)


def test_noise_has_the_spread_and_the_correlation_asked_for(script):
    for correlation in (0.0, 0.9):
        noise = script.Noise(correlation, np.random.default_rng(0))
        draws = np.array([noise() for _ in range(20_000)])
        assert draws.std() == pytest.approx(1, abs=0.05)
        assert np.corrcoef(draws[1:], draws[:-1])[0, 1] == pytest.approx(correlation, abs=0.02)


# Training


def car_args(**flags):
    defaults = {
        "env_id": "MountainCarContinuous-v0",
        "method": "baseline",
        "episodes": 3,
        "show": False,
        "actor_weights": None,
        "value_weights": None,
        "encoder_weights": str(ENCODER),
        "seed": 0,
        "resume": False,
    }
    return SimpleNamespace(**{**defaults, **flags})


@pytest.mark.parametrize("method", METHODS)
def test_the_car_learns_to_reach_the_flag(script, method, capsys, tmp_path):
    encoder = script.build_encoder(2)
    weights.load(encoder, ENCODER)
    args = car_args(method=method, episodes=120)
    run = script.train(args, 0, script.Settings(), encoder, tmp_path)
    assert np.mean(run.reached[60:]) >= 0.9
    assert np.mean(run.rewards[-20:]) > 80
    assert run.log[-1]["solved"] == sum(reward >= 90 for reward in run.rewards)


@pytest.mark.parametrize("method", ["reinforce", "actor_critic"])
def test_runs_of_equal_seeds_are_equal(script, method, capsys, tmp_path):
    encoder = script.build_encoder(2)
    weights.load(encoder, ENCODER)
    args = car_args(method=method)
    first, second, other = (
        script.train(args, seed, script.Settings(), encoder, tmp_path).log for seed in (4, 4, 5)
    )
    assert first == second != other


@pytest.mark.parametrize("method", ["reinforce", "a2c"])
def test_a_run_that_broke_off_ends_as_an_unbroken_one(
    script, method, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(rl.Restart, "SECONDS_BETWEEN", 0)
    encoder = script.build_encoder(2)
    weights.load(encoder, ENCODER)
    settings = script.Settings()
    whole = script.train(car_args(method=method), 0, settings, encoder, tmp_path)
    played = break_off(script, monkeypatch, episode=3)
    with pytest.raises(RuntimeError, match="power cut"):
        script.train(car_args(method=method), 0, settings, encoder, tmp_path)
    args = car_args(method=method, resume=True)
    resumed = script.train(args, 0, settings, encoder, tmp_path)
    assert len(played) == 4
    assert resumed.log == whole.log
    for a, b in zip(resumed.agent.get_weights(), whole.agent.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    args = car_args(method=method, resume=True, episodes=4)
    with pytest.raises(UserError, match="episodes 3, this one has 4"):
        script.train(args, 0, settings, encoder, tmp_path)


def test_the_books_actor_critic_learns_during_the_episode(script, capsys, tmp_path):
    encoder = script.build_encoder(2)
    weights.load(encoder, ENCODER)
    args = car_args(method="actor_critic", episodes=1)
    run = script.train(args, 0, script.BOOK, encoder, tmp_path)
    assert int(run.agent.optimizer.iterations) == run.log[0]["steps"] > 50
    assert all(np.any(w != 0) for w in run.agent.value.get_weights())


def test_the_commands_of_a_reader(tmp_path):
    flags = ("-c", "--episodes=3", "--seeds=2", "--seed=7", "--record", f"-e={ENCODER}")
    done = run_script(CAR, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "car_a2c"
    trained = json.loads((folder / "metrics.json").read_text())
    assert (trained["method"], trained["runs"], trained["episodes"]) == ("a2c", 2, 3)
    for seed in ("7", "8"):
        with (folder / f"log-{seed}.csv").open() as file:
            log = list(csv.DictReader(file))
        assert list(log[0]) == ["episode", "steps", "reward", "reached", "solved"]
        assert [row["episode"] for row in log] == ["1", "2", "3"]
        assert sum(int(row["reached"]) for row in log) == trained["reached"][seed]
        assert int(log[-1]["solved"]) == trained["solved_episodes"][seed]
        assert float(log[-1]["reward"]) == pytest.approx(trained["mean_reward_last"][seed], abs=0.1)
    assert (folder / "curves.png").exists()
    with Image.open(folder / "agent.gif") as gif:
        assert gif.n_frames > 50 and gif.size == (300, 180)

    # The weights are those of the first run.
    flags = ("-c", "--seed=7", f"--encoder_weights={ENCODER}", "--actor_weights=car_a2c_actor.h5")
    done = run_script(CAR, *flags, folder=tmp_path, data=tmp_path)
    tested = json.loads((folder / "evaluation.json").read_text())
    assert tested["test_reward"] == trained["test_reward"], done.stderr

    # Trained on, they are not.
    flags = (*flags, "--value-weights=car_a2c_value.h5", "--train", "--episodes=2")
    before = (tmp_path / "car_a2c_value.h5").read_bytes()
    done = run_script(CAR, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "car_a2c_value.h5").read_bytes() != before
    assert json.loads((folder / "metrics.json").read_text())["episodes"] == 2


def test_ctrl_c_saves_what_is_there(script, tmp_path):
    code, errors = interrupt_script(
        CAR, "-b", "-e", ENCODER, "--episodes=100000", after="episode 100/", folder=tmp_path
    )
    assert code == 130
    assert "Stopped in the run with seed 0 after episode" in errors
    stopped_at = int(errors.split("after episode ")[1].split(":")[0])
    with (tmp_path / "car_baseline" / "log-0.csv").open() as file:
        assert len(list(csv.DictReader(file))) == stopped_at >= 100
    for name, network in (("actor", script.build_actor(0.1)), ("value", script.build_value())):
        weights.load(network, tmp_path / f"car_baseline_{name}.h5")
        assert all(np.any(w != 0) for w in network.get_weights())


def test_ctrl_c_before_the_first_episode_lets_that_one_be_played(script, tmp_path, ctrl_c_at_once):
    run = script.train(car_args(), 0, script.Settings(), script.build_encoder(2), tmp_path)
    assert run.stopped and len(run.log) == 1


def test_random_actions_do_not_reach_the_flag(tmp_path):
    done = run_script(CAR, "-r", "--episodes=5", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "car_random" / "metrics.json").read_text())
    assert numbers["reached"] == 0
    # A force drawn evenly from [-1, 1] has a mean square of 1/3, 999 times 0.1 of it.
    assert numbers["mean_reward"] == pytest.approx(-33.3, abs=1)


@pytest.mark.parametrize(
    "env_id, part",
    [
        ("NoCar-v7", "doesn't exist"),
        ("CartPole-v1", "one number"),
        ("MountainCar-v0", "one number"),
    ],
)
def test_environments_that_do_not_fit(script, env_id, part):
    with pytest.raises(UserError, match=f"{env_id}.*{part}"):
        script.make_env(env_id)


@pytest.mark.parametrize(
    "flags, parts",
    [
        (("-b", "-c"), ("-c", "not allowed")),
        (("--actor-weights=car_a2c_actor.h5",), ("--encoder-weights",)),
        ((f"-e={ENCODER}", "-y=car_a2c_value.h5"), ("--value-weights", "reinforce")),
        (("--episodes=0",), ("--episodes", "'0'")),
    ],
)
def test_flags_that_do_not_fit(script, flags, parts, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["car.py", *flags])
    with pytest.raises(SystemExit) as stopped:
        script.parse_args()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    "flags, parts",
    [
        (("-e=nothing.h5",), ("no weight file 'nothing.h5'",)),
        (("Pendulum-v1", f"-e={ENCODER}"), ("another network", "(3, 256)", "(2, 256)")),
    ],
)
def test_files_that_do_not_fit(flags, parts, tmp_path):
    done = run_script(CAR, *flags, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, *parts)
    assert not list(tmp_path.glob("*.h5"))
