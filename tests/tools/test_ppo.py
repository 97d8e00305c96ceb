"""The PPO that chapter 10 is compared with: its estimates in NumPy, its update, and a short run."""

import keras
import numpy as np
import pytest
from conftest import load_script, read_json, run_script
from scipy import stats

PPO = "benchmarks/ppo.py"


@pytest.fixture(scope="module")
def ppo():
    return load_script(PPO)


def test_advantages_are_sums_of_discounted_errors(ppo):
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 6, 3))
    ended = rng.random((6, 3)) < 0.3
    last = rng.normal(size=3)
    found, returns = ppo.advantages_and_returns(rewards, ended, values, last)
    after = np.vstack([values[1:], last])
    errors = rewards + 0.99 * np.where(ended, 0, after) - values
    for k in range(3):
        for t in range(6):
            expected, weight = 0.0, 1.0
            for later in range(t, 6):
                expected += weight * errors[later, k]
                if ended[later, k]:
                    break
                weight *= 0.99 * 0.95
            assert found[t, k] == pytest.approx(expected)
    np.testing.assert_allclose(returns, found + values)


def test_running_moments_are_those_of_all_values(ppo):
    rows = np.random.default_rng(0).normal(3, 2, (40, 2))
    moments = ppo.Normal((2,))
    for part in np.split(rows, (1, 10, 30)):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-3)
    np.testing.assert_allclose(moments.var, rows.var(0), rtol=1e-3)
    scaled = moments.scale(np.vstack([rows, [1e9, 0]]))
    np.testing.assert_allclose(scaled[:-1].std(0), 1, rtol=1e-2)
    assert scaled[-1, 0] == 10


def test_the_density_and_the_numpy_copies(ppo):
    agent = ppo.PPO(2, 10)
    states = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    means = ppo.tanh_layers(agent.actor_weights, states)
    theirs, log_std = keras.ops.convert_to_numpy(agent.actor(states)).T
    np.testing.assert_allclose(means, theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(log_std, 0)
    found = ppo.log_density(means, np.float32(0.3), means + 1)
    expected = stats.norm.logpdf(1, scale=np.exp(0.3))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)


def test_better_actions_become_likelier_up_to_the_clip(ppo):
    keras.utils.set_random_seed(0)
    agent, rng = ppo.PPO(2, 1000), np.random.default_rng(0)
    states = rng.normal(size=(64, 2)).astype("float32")
    actions = rng.normal(size=64).astype("float32")

    def densities():
        means, log_std = keras.ops.convert_to_numpy(agent.actor(states)).T
        return stats.norm.logpdf(actions, means, np.exp(log_std))

    before, advantages = densities(), np.where(actions > 0, 1.0, -1.0)
    zeros = np.zeros(64)
    columns = np.stack([actions, before, advantages, zeros, zeros], axis=1).astype("float32")
    for _ in range(40):
        agent.learn(states, columns, rng)
    ratios = np.exp(densities() - before)
    assert ratios[actions > 0.3].min() > 1 and ratios[actions < -0.3].max() < 1
    # Beyond the clip, an action no longer has a gradient of its own.
    assert np.median(ratios[actions > 0]) < 1.5


def test_a_short_run_is_recorded(tmp_path):
    flags = ("--steps=4096", "--seeds=1", "--output=ppo.json")
    done = run_script(PPO, *flags, folder=tmp_path, data=tmp_path, edits={"TEST_EPISODES": 2})
    assert done.returncode == 0, done.stderr
    record = read_json(tmp_path / "ppo.json")
    assert record["environment_steps"] == record["seeds"]["0"]["environment_steps"] == 4096
    assert record["runs"] == 1 and record["test_episodes"] == 2
    assert record["test_reward"]["mean"] == record["seeds"]["0"]["test_reward"] <= 100
