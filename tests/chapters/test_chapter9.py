"""Chapter 9: exact values, targets, schedules, and the scripts as commands."""

import dataclasses
import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import (
    ROOT,
    assert_one_line_error,
    break_off,
    interrupt_script,
    load_script,
    read_csv,
    read_json,
    run_script,
    without_times,
)
from PIL import Image

from lib.files import weights
from lib.files.errors import UserError
from lib.files.whole import write_whole
from lib.rl import agent_runs, environments, frozen_lake, reports, video
from lib.run import program
from tools import curves

CHAPTER = "chapter9-drl/"
GRID = CHAPTER + "q-learning-9.3.1.py"
LAKE = CHAPTER + "q-frozenlake-9.5.1.py"
CART = CHAPTER + "dqn-cartpole-9.6.1.py"


# The grid


def exact_values(script):
    """The values of all actions in all cells, by value iteration."""
    table = np.zeros((6, 4))
    for _ in range(100):
        for state in range(6):
            for action in range(4):
                if state not in (script.GOAL, script.HOLE):
                    following, reward, _ = script.step(state, action)
                    table[state, action] = reward + 0.9 * table[following].max()
    return table


def test_the_start_is_worth_what_the_book_says():
    values = exact_values(load_script(GRID))
    np.testing.assert_allclose(values[0], [81.0, 72.9, 90.0, 81.0])
    np.testing.assert_allclose(values[4], [72.9, 81.0, -100, 90])


def test_q_learning_finds_the_exact_values_as_its_docstring_says(capsys):
    script = load_script(GRID)
    tables = []
    script.format_q_table = lambda table: tables.append(table) or ""
    for seed in range(100):
        script.main(SimpleNamespace(seed=seed, train=True, delay=0))
        assert capsys.readouterr().out.startswith("2,000 wins in ")
    exact = exact_values(script)
    for table in tables:
        np.testing.assert_allclose(table[0], exact[0])
    whole = [np.allclose(table, exact) for table in tables]
    assert whole[0] and sum(whole) == 35
    assert sum(np.allclose(table.max(axis=1), exact.max(axis=1)) for table in tables) == 96
    doc = " ".join(script.__doc__.split())
    assert "seeds 0 to 99, V* with 96 of them, and the whole table with 35 of them" in doc


def test_walls_goal_and_hole():
    script = load_script(GRID)
    left, down, right, up = range(4)
    assert script.step(0, left) == script.step(0, up) == (0, 0, False)
    assert script.step(3, down) == (3, 0, False)
    assert script.step(0, down) == (3, 0, False)
    assert script.step(1, right) == (2, 100, True)
    assert script.step(4, right) == (5, -100, True)


def test_epsilon_falls_per_episode_to_its_floor():
    script = load_script(GRID)
    agent = script.QAgent(0)
    for _ in range(5):
        agent.update_epsilon()
    assert agent.epsilon == pytest.approx(0.9**6)
    for _ in range(50):
        agent.update_epsilon()
    assert agent.epsilon == 0.1


def test_the_grid_from_the_command_line(tmp_path):
    done = run_script(GRID, "--train", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(0,0)    81.0    72.9    90.0    81.0" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["    90.0   100.0     0.0", "    81.0    90.0     0.0"]
    # Without a terminal, there are no pauses and no escape codes.
    done = run_script(GRID, "--delay=100", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 wins in" in done.stdout and "step 1: " in done.stdout
    assert "\x1b" not in done.stdout
    done = run_script(GRID, "--delay=-1", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "--delay", "at least 0", "'-1'")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_the_grid_in_a_terminal_is_redrawn_in_color():
    import pty

    master, terminal = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, ROOT / GRID, "--delay=0"],
        stdout=terminal,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert running.wait(60) == 0
    assert shown.count(b"\x1b[2J") > 10
    assert b"\x1b[34mo" in shown


# The lake


def test_the_best_possible_success_on_the_lake():
    for slippery, best in ((True, 0.744), (False, 1.0)):
        transitions = frozen_lake.make_lake("FrozenLake-v1", slippery).unwrapped.P
        assert frozen_lake.success_within(transitions, 100)[0] == pytest.approx(best, abs=0.002)
    # Six steps lead to the goal, five do not.
    assert frozen_lake.success_within(transitions, 6)[0] == 1
    assert frozen_lake.success_within(transitions, 5)[0] == 0


@pytest.mark.parametrize("gamma, success", [(0.9, 0.730), (0.99, 0.740)])
def test_the_success_of_exact_values_on_the_slippery_lake(gamma, success):
    transitions = frozen_lake.make_lake("FrozenLake-v1", True).unwrapped.P
    values = np.zeros(16)
    for _ in range(2000):
        of_actions = [
            [
                sum(p * (reward + gamma * (not ended) * values[s]) for p, s, reward, ended in each)
                for each in transitions[state].values()
            ]
            for state in range(16)
        ]
        values = np.max(of_actions, axis=1)
    policy = frozen_lake.greedy(np.array(of_actions))
    found = frozen_lake.success_within(transitions, 100, policy)[0]
    assert found == pytest.approx(success, abs=0.0005)


@pytest.mark.parametrize("slippery", [False, True])
def test_the_slippery_flag_reaches_the_environment(slippery):
    env = frozen_lake.make_lake("FrozenLake-v1", slippery)
    assert len(env.unwrapped.P[0][1]) == (3 if slippery else 1)
    ends = set()
    for seed in range(30):
        env.reset(seed=seed)
        ends.add(int(env.step(2)[0]))
    assert ends == ({0, 1, 4} if slippery else {1})


def test_the_policies_of_a_table_and_of_random_play():
    table = np.array([[0, 2, 2, 1], [0, 0, 0, 0], [-1, -1, -1, 0]], float)
    assert frozen_lake.greedy(table).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    env = frozen_lake.make_lake("FrozenLake-v1", True)
    uniform = np.full((16, 4), 1 / 4)
    exact = frozen_lake.success_within(env.unwrapped.P, 100, uniform)[0]
    assert exact == pytest.approx(0.0139, abs=1e-4)
    assert frozen_lake.play(env, uniform, 5000, seed=0) == pytest.approx(exact, abs=0.006)


def lake_agent(states=3, actions=2, slippery=False, book=None, rate=None):
    return load_script(LAKE).QAgent(states, actions, 100, 0, slippery, book, rate)


@pytest.mark.parametrize(
    "book, given, rate",
    [(None, None, 2**-0.6), ("all", None, 0.1), ("rate", None, 0.1), (None, 0.5, 0.5)],
)
def test_the_table_moves_towards_its_target(book, given, rate):
    agent = lake_agent(book=book, rate=given)
    agent.q_table = [[0.0, 0.0], [0.5, 2.0], [0.0, 0.0]]
    agent.update_q_table(0, 1, 1.0, 1)
    first = (given or (0.1 if book else 1)) * (1 + 0.9 * 2)
    assert agent.q_table[0] == [0, pytest.approx(first)]
    agent.update_q_table(0, 1, 1.0, 2)  # the end, whose values stay zero
    assert agent.q_table[0][1] == pytest.approx(first + rate * (1 - first))


def test_epsilon_of_the_lake():
    agent = lake_agent()
    for _ in range(100):
        agent.update_epsilon()
    assert agent.epsilon == pytest.approx(0.1)
    agent = lake_agent(book="epsilon")
    for _ in range(219):
        agent.update_epsilon()
    assert 0.99 * 0.1 < agent.epsilon <= 0.1
    agent.update_epsilon()
    assert agent.epsilon == pytest.approx(0.9 * 0.99**219)


def test_gamma_of_the_lake():
    assert lake_agent().gamma == lake_agent(book="all").gamma == 0.9
    assert lake_agent(slippery=True).gamma == lake_agent(slippery=True, book="rate").gamma == 0.99
    assert lake_agent(slippery=True, book="all").gamma == 0.9
    assert lake_agent(slippery=True, book="gamma").gamma == 0.9


@pytest.mark.parametrize("book", [None, "all"])
def test_the_agent_learns_from_steps_and_not_from_the_table_of_probabilities(book, tmp_path):
    script = load_script(LAKE)
    env = frozen_lake.make_lake("FrozenLake-v1", True)
    calls = []
    step = env.step
    env.step = lambda action: calls.append(action) or step(action)
    epsilons = []
    update = script.QAgent.update_epsilon
    script.QAgent.update_epsilon = lambda agent: epsilons.append(update(agent))
    agent = script.QAgent(16, 4, 20, 0, True, book)
    _, facts, _ = script.train(env, agent, 20, seed=0)
    assert facts["steps"] == len(calls) > 20
    assert len(epsilons) == (len(calls) if book else 20)


def test_the_lake_is_learned_saved_and_tested(tmp_path):
    script = load_script(LAKE)
    assert script.TEST_EPISODES == 10_000
    flags = ("--episodes=3000", "--record")
    done = run_script(LAKE, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100.00 % of 10,000" in done.stdout
    trained = read_json(tmp_path / "q-frozenlake" / "metrics.json")
    assert trained["optimum"] == 1 and not trained["slippery"]
    (run,) = trained["runs"]
    assert run["test_success"] == run["exact_success"] == 1
    assert run["episodes"] == 3000
    table = np.load(tmp_path / "q-frozenlake.npy")
    assert table.shape == (16, 4)
    # Six steps, the last of which is rewarded.
    assert table[0].max() == pytest.approx(0.9**5, rel=1e-3)
    assert "agent.gif: reward 1.0" in done.stdout
    with Image.open(tmp_path / "q-frozenlake" / "agent.gif") as gif:
        # Two starts, and six steps after each.
        assert gif.size == (256, 256) and gif.n_frames == 14

    done = run_script(LAKE, "--demo", "--delay=1", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "table: q-frozenlake.npy" in done.stdout
    assert "10 of 10 episodes reached the goal" in done.stdout
    assert "\x1b[2J" not in done.stdout


def test_the_lake_does_not_load_keras(tmp_path):
    code = f"""
import sys
sys.argv = ["{ROOT / LAKE}", "--episodes=20", "--record"]
source = open(sys.argv[0]).read().replace("TEST_EPISODES = 10_000", "TEST_EPISODES = 10")
exec(compile(source, sys.argv[0], "exec"), {{"__name__": "__main__", "__file__": sys.argv[0]}})
print([name for name in ("keras", "tensorflow", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    record = read_json(tmp_path / "q-frozenlake" / "metrics.json")
    assert record["backend"].startswith("NumPy ") and record["precision"] == "float64"
    assert "CPU core" in record["device"]


@pytest.mark.parametrize(
    "content, part",
    [
        (None, "looked for it"),
        (b"no table", "broken"),
        (b"PK\x03\x04 no archive", "broken"),
        (np.zeros((64, 4)), r"\(64, 4\), this lake needs \(16, 4\)"),
        (np.full((16, 4), np.nan), "broken: expected finite numbers"),
    ],
)
def test_tables_that_do_not_fit(content, part, tmp_path, monkeypatch):
    script = load_script(LAKE)
    monkeypatch.setattr(script, "__file__", str(tmp_path / "elsewhere" / "script.py"))
    path = tmp_path / "q-frozenlake-slippery.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=f"q-frozenlake-slippery.npy.*{part}"):
        script.main(lake_args(tmp_path, demo=True))


def lake_args(tmp_path, **flags):
    defaults = {
        "env_id": "FrozenLake-v1",
        "demo": False,
        "slippery": True,
        "explore": False,
        "book": None,
        "seeds": 1,
        "delay": 0.0,
        "learning_rate": None,
        "record": None,
        "episodes": 200,
        "seed": 0,
        "output_dir": tmp_path,
    }
    return SimpleNamespace(**{**defaults, **flags})


def test_runs_of_other_settings_write_other_tables():
    script = load_script(LAKE)

    def name(env_id, slippery, book, seed, rate=None):
        args = SimpleNamespace(slippery=slippery, book=book, learning_rate=rate)
        return script.table_name(env_id, args, seed)

    names = {
        name(env_id, slippery, book, seed)
        for env_id, slippery, book in (
            ("FrozenLake-v1", True, None),
            ("FrozenLake-v1", False, None),
            ("FrozenLake-v1", True, "all"),
            ("FrozenLake-v1", True, "rate"),
            ("FrozenLake8x8-v1", True, None),
        )
        for seed in (0, 1)
    }
    names.add(name("FrozenLake-v1", True, None, 0, 0.5))
    assert len(names) == 11
    assert {"q-frozenlake-book", "q-frozenlake-slippery-book-rate-seed1"} & names == {
        "q-frozenlake-slippery-book-rate-seed1"
    }
    assert "q-frozenlake-slippery-FrozenLake8x8-v1-seed1" in names
    assert "q-frozenlake-slippery-book" in names


def test_slippery_runs_of_equal_seeds_are_equal(tmp_path, monkeypatch, capsys):
    script = load_script(LAKE)
    monkeypatch.setattr(script, "TEST_EPISODES", 20)
    tables = []
    for seed, name in ((1, "-seed1"), (1, "-seed1"), (2, "-seed2")):
        script.main(lake_args(tmp_path, seed=seed, env_id="FrozenLake-v0"))
        tables.append(np.load(tmp_path / f"q-frozenlake-slippery{name}.npy"))
    assert np.abs(tables[0] - tables[1]).max() == 0 < np.abs(tables[0] - tables[2]).max()
    out = capsys.readouterr().out
    assert out.count("has no FrozenLake-v0") == 3
    script.main(lake_args(tmp_path, seed=1, seeds=2))
    record = read_json(tmp_path / "q-frozenlake-slippery-seed1" / "metrics.json")
    assert record["slippery"] and record["optimum"] == pytest.approx(0.7442, abs=1e-4)
    assert [run["seed"] for run in record["runs"]] == [1, 2]
    for name in ("train_success", "test_success", "exact_success"):
        values = [run[name] for run in record["runs"]]
        assert record[name]["least"] == min(values) and record[name]["greatest"] == max(values)
        assert record[name]["median"] == pytest.approx(np.mean(values), abs=1e-4)
    assert np.array_equal(np.load(tmp_path / "q-frozenlake-slippery-seed2.npy"), tables[2])


@pytest.mark.parametrize("flags", [("-e",), ("-s", "-e"), ("-d", "-e")])
def test_explore_reports_random_play(flags, tmp_path):
    done = run_script(LAKE, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exactly 1.39 %" in done.stdout
    name = "q-frozenlake-slippery" if "-s" in flags else "q-frozenlake"
    (run,) = read_json(tmp_path / name / "explore.json")["runs"]
    assert run["test_success"] == pytest.approx(0.0139, abs=0.005)
    assert not list(tmp_path.glob("*.npy"))


def test_ctrl_c_before_the_first_episode_on_the_lake(ctrl_c_at_once):
    script = load_script(LAKE)
    env = frozen_lake.make_lake("FrozenLake-v1", True)
    agent = script.QAgent(16, 4, 5000, 0, True)
    _, facts, stopped = script.train(env, agent, 5000, seed=0)
    assert stopped and facts["episodes"] == 1


def test_bad_input_of_the_lake(tmp_path):
    script = load_script(LAKE)
    for env_id, part in (("NoLake-v7", "doesn't exist"), ("CartPole-v1", "is_slippery")):
        with pytest.raises(UserError, match=f"{env_id}.*{part}"):
            script.main(lake_args(tmp_path, env_id=env_id))
    for flags, parts in (
        (["--episodes=0"], ["--episodes", "'0'"]),
        (["--delay=x"], ["--delay", "'x'"]),
        (["--book=x"], ["--book", "'x'"]),
        (["--seeds=2", "--record"], ["leave out --seeds"]),
        (["--book", "--learning-rate=0.5"], ["leave out --learning-rate"]),
    ):
        done = run_script(LAKE, *flags, folder=tmp_path, data=tmp_path)
        assert_one_line_error(done, *parts)


# The cart


@pytest.fixture(scope="module")
def cart():
    return load_script(CART)


@pytest.fixture
def few_tests(cart, monkeypatch):
    monkeypatch.setattr(cart, "TEST_EPISODES", 1)


def cart_run(cart, folder, **options):
    """What `program.start` returns for a run with its files in the folder."""
    options = {"budget": 6, **options}
    return program.Run(script=Path(cart.__file__), folder=folder, output_dir=folder, **options)


def train_cart(cart, folder, method="dqn", seed=0, settings=None, **options):
    run = cart_run(cart, folder, **options)
    return cart.train(run, seed, settings or cart.Settings(), method, cart.ENV_ID)


def cart_agent(cart, settings=None, double=False):
    """An agent whose target network differs from its Q-network."""
    keras.utils.set_random_seed(0)
    agent = cart.DQNAgent(
        environments.make_discrete("CartPole-v0"), settings or cart.Settings(), double
    )
    rng = np.random.default_rng(0)
    noisy = [w + rng.normal(0, 0.2, w.shape) for w in agent.target_network.get_weights()]
    agent.target_network.set_weights(noisy)
    return agent


def transitions(size, rng):
    return (
        rng.normal(size=(size, 4)).astype("float32"),
        rng.integers(0, 2, size).astype("int32"),
        rng.normal(size=size).astype("float32"),
        rng.normal(size=(size, 4)).astype("float32"),
        (np.arange(size) % 3 == 0).astype("float32"),
    )


def fill(memory, size, rng):
    for row in zip(*transitions(size, rng), strict=True):
        memory.remember(*row)


def targets_in_numpy(agent, rewards, next_states, ended, double):
    """The target of each row, by the definition of the method."""
    online = agent.q_network.predict(next_states, verbose=0)
    target = agent.target_network.predict(next_states, verbose=0)
    # The two networks disagree on some of the best actions, so that the methods differ.
    assert np.any(online.argmax(axis=1) != target.argmax(axis=1))
    best = (online if double else target).argmax(axis=1)
    next_values = np.where(ended, 0, target[np.arange(len(best)), best])
    return rewards + agent.settings.gamma * next_values


def test_the_q_network(cart):
    network = cart.build_q_network(4, 2)
    assert [layer.units for layer in network.layers[1:]] == [256, 256, 256, 2]
    assert network.count_params() == 4 * 256 + 2 * 256 * 256 + 3 * 256 + 256 * 2 + 2


def test_the_agent_acts_by_its_q_network(cart):
    agent = cart_agent(cart)
    states = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    values = agent.q_network.predict(states, verbose=0)
    # So that each action is the best one for some of the states.
    agent.q_network.layers[-1].bias.assign(-np.median(values, axis=0))
    agent.update_weights()
    expected = (values - np.median(values, axis=0)).argmax(axis=1)
    assert set(expected) == {0, 1}
    rng = np.random.default_rng(0)
    assert [agent.act(state, 0.0, rng) for state in states] == expected.tolist()
    drawn = [agent.act(states[0], 0.5, rng) for _ in range(1000)]
    assert np.mean(drawn == expected[0]) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("double", [False, True])
def test_targets_and_loss_against_numpy(cart, double):
    agent = cart_agent(cart, double=double)
    batch = states, actions, rewards, next_states, ended = transitions(64, np.random.default_rng(0))
    targets = targets_in_numpy(agent, rewards, next_states, ended, double)
    error = agent.q_network.predict(states, verbose=0)[np.arange(64), actions] - targets
    assert np.abs(error).max() > 1 > np.abs(error).min()
    huber = np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)
    agent.learner(tuple(map(keras.ops.convert_to_tensor, batch)))
    (loss,) = agent.learner.losses
    # The mean includes the other action, whose error is 0.
    assert float(loss) == pytest.approx(huber.mean() / 2, 1e-4)


@pytest.mark.parametrize("double", [False, True])
def test_a_row_of_batches_is_one_batch_after_the_other(cart, double):
    """Targets are computed for a whole row, but the network that chooses is the current one."""
    settings = cart.Settings(replays=4, target_update=4, learning_rate=0.01)
    agent = cart_agent(cart, settings, double)
    optimizer = keras.optimizers.Adam(0.01)
    by_hand = cart.build_q_network(4, 2)
    by_hand.set_weights(agent.q_network.get_weights())
    by_hand.compile(optimizer, "huber")
    memory = agent_runs.Memory(4)
    fill(memory, 300, np.random.default_rng(1))
    drawn = memory.sample(64, 4, np.random.default_rng(2))
    target_network = cart.build_q_network(4, 2)
    target_network.set_weights(agent.target_network.get_weights())
    assert agent.in_a_row == 4
    agent.replay(memory, np.random.default_rng(2))
    hand = SimpleNamespace(q_network=by_hand, target_network=target_network, settings=settings)
    for start in range(0, 256, 64):
        states, actions, *rest = (array[start : start + 64] for array in drawn)
        # As in the listing: the targets of the other actions are the network's own values.
        wanted = by_hand.predict(states, verbose=0)
        wanted[np.arange(64), actions] = targets_in_numpy(hand, *rest, double)
        by_hand.train_on_batch(states, wanted)
    assert int(agent.learner.optimizer.iterations) == int(optimizer.iterations) == 4
    for a, b in zip(agent.q_network.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("double", [False, True])
def test_only_the_q_network_learns_and_is_copied_on_time(cart, double):
    agent = cart_agent(cart, cart.Settings(replays=1, target_update=3), double)
    memory, rng = agent_runs.Memory(4), np.random.default_rng(0)
    fill(memory, 64, rng)
    former = agent.q_network.get_weights()
    for update in range(1, 8):
        before = agent.target_network.get_weights()
        facts = agent.replay(memory, rng)
        now = agent.q_network.get_weights()
        assert all(np.any(a != b) for a, b in zip(former, now, strict=True))
        expected = now if update % 3 == 0 else before
        after = agent.target_network.get_weights()
        for a, b in zip([*after, *agent.weights], [*expected, *now], strict=True):
            np.testing.assert_array_equal(a, b)
        assert int(agent.learner.optimizer.iterations) == update and np.isfinite(
            facts["loss"] + facts["q_value"]
        )
        former = now


def test_the_memory_samples_without_repetition():
    memory, rng = agent_runs.Memory(1), np.random.default_rng(0)
    for i in range(4):
        memory.remember([i], i % 2, i, [i + 1], i == 3)
    states, actions, rewards, next_states, ended = memory.sample(4, 50, rng)
    assert all(sorted(batch) == [0, 1, 2, 3] for batch in rewards.reshape(50, 4))
    assert (states.dtype, actions.dtype, ended.dtype) == ("float32", "int32", "float32")
    np.testing.assert_array_equal(states[:, 0], rewards)
    np.testing.assert_array_equal(next_states[:, 0], rewards + 1)
    np.testing.assert_array_equal(actions, rewards % 2)
    np.testing.assert_array_equal(ended, rewards == 3)


@pytest.mark.parametrize("size", [7, 1024, 2600])
def test_the_memory_is_stored_and_restored(size):
    memory, again = agent_runs.Memory(4), agent_runs.Memory(4)
    fill(memory, size, np.random.default_rng(0))
    again.restore(memory.stored())
    for each in (memory, again):
        fill(each, 5, np.random.default_rng(1))
    assert memory.size == again.size == size + 5
    for a, b in zip(*(each.stored().values() for each in (memory, again)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epsilon_falls_by_equal_factors(cart):
    settings = cart.Settings(epsilon_min=0.1, epsilon_episodes=1000)
    book = [cart.epsilon_at(episode, settings) for episode in (0, 500, 1000, 3000)]
    assert book == pytest.approx([0.9, 0.3, 0.1, 0.1])
    ours = [cart.epsilon_at(episode, cart.Settings()) for episode in (0, 30, 60, 3000)]
    assert ours == pytest.approx([0.9, (0.9 * 0.01) ** 0.5, 0.01, 0.01])


def test_the_learning_rate_halves(cart, tmp_path, few_tests):
    settings = cart.Settings(replays=2, half_life=2)
    run = train_cart(cart, tmp_path, settings=settings, budget=5)
    expected = 5e-4 * 0.5 ** (np.arange(5) / 2)
    assert [row["learning_rate"] for row in run.log] == pytest.approx(expected, rel=1e-4)
    assert float(run.model.optimizer.learning_rate) == pytest.approx(expected[-1])
    assert cart.rate_at(1000, cart.Settings()) == 5e-4


class Corridor:
    """Ends after `length` steps, by the time limit or for good."""

    def __init__(self, length, truncated):
        self.length, self.truncated = length, truncated

    def reset(self, seed):
        self.step_count = 0
        return np.zeros(4, "float32"), {}

    def step(self, action):
        self.step_count += 1
        end = self.step_count == self.length
        state = np.full(4, self.step_count, "float32")
        return state, 2.0, end and not self.truncated, end and self.truncated, {}


@pytest.mark.parametrize("truncated", [False, True])
def test_the_time_limit_is_not_an_end(cart, truncated):
    memory, rng = agent_runs.Memory(4), np.random.default_rng(0)
    agent = cart_agent(cart)
    assert cart.run_episode(Corridor(5, truncated), agent, 0.5, rng, memory) == (5, 10)
    stored = memory.stored()
    np.testing.assert_array_equal(stored["ended"], [0, 0, 0, 0, not truncated])
    np.testing.assert_array_equal(stored["next_states"][:, 0], [1, 2, 3, 4, 5])


def test_the_commands_of_a_reader(tmp_path):
    folder = tmp_path / "dqn_cartpole-replays4-seed5"
    folder.mkdir()
    of_another_run = folder / "restart-9.npz"
    of_another_run.touch()
    flags = ("--episodes=4", "--replays=4", "--seeds=2", "--seed=5", "-r", "--record")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 of 2 runs solved within 4 episodes; mean reward without" in done.stdout
    assert done.stdout.endswith("--weights=dqn_cartpole-replays4-seed5.h5\n")
    trained = read_json(folder / "metrics.json")
    assert (trained["env_id"], trained["method"]) == ("CartPole-v0", "dqn")
    assert (trained["seed"], trained["runs"], trained["book_episodes"]) == (5, 2, 822)
    assert trained["settings"]["replays"] == 4 and trained["settings"]["gamma"] == 0.98
    assert trained["solved_runs"] == 0 and trained["test_episodes"] == 100
    assert "episodes" not in trained and trained["episodes_limit"] == 4
    assert (folder / "rewards.png").exists()
    rewards = curves.read_rewards(folder / "rewards.csv")
    for k, seed in enumerate(("5", "6")):
        log = read_csv(folder / f"log-{seed}.csv")
        columns = {"steps", "reward", "mean_reward", "epsilon", "loss", "q_value", "learning_rate"}
        assert columns | {"updates", "seconds", "greedy_reward"} < set(log[0])
        assert [row["episode"] for row in log] == ["1", "2", "3", "4"]
        np.testing.assert_array_equal(rewards[k], [float(row["reward"]) for row in log])
        assert float(log[-1]["mean_reward"]) == pytest.approx(np.mean(rewards[k]), abs=0.01)
        of_seed = trained["seeds"][seed]
        assert of_seed["environment_steps"] == sum(int(row["steps"]) for row in log)
        assert of_seed["updates"] == int(log[-1]["updates"])
        assert of_seed["test_worst"] <= of_seed["test_reward"]
    tests = [each["test_reward"] for each in trained["seeds"].values()]
    assert trained["test_reward"]["mean"] == pytest.approx(np.mean(tests), abs=0.01)
    with Image.open(folder / "agent.gif") as gif:
        assert gif.n_frames >= 2 and gif.size == (300, 200)
    assert list(folder.glob("restart-*")) == [of_another_run]

    # The saved weights are those of the first seed.
    flags = ("--weights=dqn_cartpole-replays4-seed5.h5", "--seed=5", "--record")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights: dqn_cartpole-replays4-seed5.h5" in done.stdout
    assert done.stdout.endswith("dqn-cartpole-9.6.1.py --episodes 100\n")
    tested = read_json(tmp_path / "dqn_cartpole-seed5" / "evaluation.json")
    assert tested["test_reward"]["mean"] == trained["seeds"]["5"]["test_reward"]
    assert (tmp_path / "dqn_cartpole-seed5/agent.gif").stat().st_size > 500
    keras.models.load_model(tmp_path / "dqn_cartpole-replays4-seed5.h5", compile=False)


@pytest.mark.parametrize("method", ["dqn", "ddqn"])
def test_cart_runs_of_equal_seeds_are_equal(cart, method, tmp_path, few_tests):
    settings = cart.Settings(replays=2)
    runs = [train_cart(cart, tmp_path, method, seed, settings) for seed in (3, 3, 4)]
    logs = [without_times(run.log) for run in runs]
    assert logs[0] == logs[1] != logs[2]


@pytest.mark.parametrize("method", ["dqn", "ddqn"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    cart, method, tmp_path, monkeypatch, few_tests
):
    monkeypatch.setattr(agent_runs.TrainingRun, "SECONDS_BETWEEN", 0)
    settings = cart.Settings(replays=4, target_update=6)
    whole = train_cart(cart, tmp_path, method, settings=settings)
    played = break_off(cart, monkeypatch, episode=5)
    with pytest.raises(RuntimeError, match="power cut"):
        train_cart(cart, tmp_path, method, settings=settings)
    resumed = train_cart(cart, tmp_path, method, settings=settings, resume=True)
    assert len(played) == 8  # with a test episode
    assert without_times(resumed.log) == without_times(whole.log)
    for a, b in zip(*(run.model.get_weights() for run in (resumed, whole)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match=r"gamma 0\.98, this one has 0\.9"):
        train_cart(cart, tmp_path, method, settings=cart.Settings(gamma=0.9), resume=True)


def play_rewards(cart, monkeypatch, rewards):
    """Lets the episodes of a run have these rewards, and fills the memory."""
    rewards = iter(rewards)

    def run_episode(env, agent, epsilon, rng, memory=None):
        if memory is None:
            return 1, 0.0
        fill(memory, 64, rng)
        return 1, next(rewards)

    monkeypatch.setattr(cart, "run_episode", run_episode)


def dqn_record(cart, folder, runs, **options):
    """What `reports.dqn` records."""
    reports.dqn(cart_run(cart, folder, **options), runs, 195.0)
    return read_json(folder / "metrics.json")


@pytest.mark.parametrize("few, episodes", [(1, 100), (50, 148)])
def test_solved_is_a_mean_over_a_hundred_episodes(
    cart, few, episodes, monkeypatch, tmp_path, few_tests
):
    # With one reward of 10, the first hundred are enough. Of the last hundred, two may be 10:
    # (2 * 10 + 98 * 200) / 100 = 196.2.
    monkeypatch.setattr(cart.DQNAgent, "replay", lambda *args: {"loss": 0.0, "q_value": 0.0})
    play_rewards(cart, monkeypatch, [*[10.0] * few, *[200.0] * 400])
    run = train_cart(cart, tmp_path, budget=3000)
    assert run.solved and len(run.log) == episodes
    numbers = dqn_record(cart, tmp_path, {0: run}, budget=3000)
    assert numbers["solved_runs"] == 1 and numbers["solved_after"] == [episodes] * 3
    assert numbers["episodes"] == {"mean": episodes, "interval": None, "least": episodes}


@pytest.mark.parametrize("always", [False, True])
def test_learning_after_an_episode_that_succeeds(cart, always, monkeypatch, tmp_path, few_tests):
    learned = []

    def replay(agent, memory, rng):
        learned.append(memory.size // 64)
        return {"loss": 0.5, "q_value": 1.0}

    monkeypatch.setattr(cart.DQNAgent, "replay", replay)
    play_rewards(cart, monkeypatch, [200.0, 20.0, 195.0, 20.0])
    settings = cart.Settings(replay_after_success=always)
    run = train_cart(cart, tmp_path, settings=settings, budget=4)
    assert learned == ([1, 2, 3, 4] if always else [2, 4])
    assert run.rewards == [200, 20, 195, 20]
    assert [row["loss"] for row in run.log] == ([0.5] * 4 if always else ["", 0.5, "", 0.5])


def test_the_agent_is_tested_without_changing_the_training(cart, tmp_path, monkeypatch, few_tests):
    monkeypatch.setattr(cart, "EVALUATE_EVERY", 2)
    often = train_cart(cart, tmp_path, settings=cart.Settings(replays=2))
    monkeypatch.setattr(cart, "EVALUATE_EVERY", 100)
    never = train_cart(cart, tmp_path, settings=cart.Settings(replays=2))
    assert often.rewards == never.rewards
    assert [row["greedy_reward"] != "" for row in often.log] == [False, True] * 3
    never.path = tmp_path / "restart-1.npz"
    never.path.touch()
    seeds = dqn_record(cart, tmp_path, {0: often, 1: never})["seeds"]
    assert list(seeds["0"]["greedy"]) == ["2", "4", "6"] and seeds["1"]["greedy"] == {}


def test_learning_begins_with_a_batch_of_transitions(cart, tmp_path, few_tests):
    settings = cart.Settings(replays=2, batch_size=100)
    log = train_cart(cart, tmp_path, settings=settings).log
    remembered = np.cumsum([row["steps"] for row in log])
    assert [row["updates"] for row in log] == np.cumsum(2 * (remembered >= 100)).tolist()
    assert remembered[0] < 100 <= remembered[-1]


def test_ctrl_c_saves_what_is_there(cart, tmp_path):
    flags = ("CartPole-v1", "--replays=1")
    code, errors = interrupt_script(CART, *flags, after="episode 20/", folder=tmp_path)
    assert code == 130
    assert "Stopped in the run with seed 0 after episode" in errors
    stopped_at = int(errors.split("after episode ")[1].split(";")[0])
    assert stopped_at >= 20
    folder = tmp_path / "dqn_cartpole-CartPole-v1-replays1"
    assert len(read_csv(folder / "log-0.csv")) == stopped_at
    weights.load(cart.build_q_network(4, 2), tmp_path / "dqn_cartpole-CartPole-v1-replays1.h5")

    # The run continues where it was, and its checkpoint is removed when it has finished.
    flags = (*flags, "--resume", f"--episodes={stopped_at + 2}")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(read_csv(folder / "log-0.csv")) == stopped_at + 2
    assert not list(folder.glob("restart-*"))
    done = run_script(CART, "--resume", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "nothing to resume")


def test_ctrl_c_before_the_first_episode_plays_it(cart, tmp_path, ctrl_c_at_once, few_tests):
    run = train_cart(cart, tmp_path)
    assert run.stopped and len(run.log) == 1


@pytest.mark.parametrize(
    "env_id, part",
    [
        ("NoCart-v7", "doesn't exist"),
        ("Pendulum-v1", "discrete"),
        ("FrozenLake-v1", "vectors"),
    ],
)
def test_environments_that_do_not_fit(env_id, part):
    with pytest.raises(UserError, match=f"{env_id}.*{part}"):
        environments.make_discrete(env_id)


def test_a_window_without_a_display_is_refused(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--show: found no display"):
        environments.make("CartPole-v1", render_mode="human")


def test_a_solved_task_has_the_threshold_of_its_environment():
    assert environments.goal(environments.make("CartPole-v0")) == 195
    assert environments.goal(environments.make("Acrobot-v1")) == -100
    assert environments.goal(environments.make("Pendulum-v1")) == float("inf")


def parse(cart, monkeypatch, *flags):
    monkeypatch.setattr("sys.argv", ["dqn.py", *flags])
    return cart.parse_args()


def test_settings_are_flags_and_change_the_names_of_files(cart, monkeypatch):
    names = []
    for flags, name in (
        ("", "dqn_cartpole"),
        ("-d", "ddqn_cartpole"),
        ("--ddqn --seed=3", "ddqn_cartpole-seed3"),
        ("CartPole-v1 --gamma=0.9", "dqn_cartpole-CartPole-v1-gamma0.9"),
        ("--replay-after-success", "dqn_cartpole-replay_after_successTrue"),
    ):
        monkeypatch.setattr(cart.program, "start", lambda args, name, *_, **__: names.append(name))
        with pytest.raises(AttributeError):  # the stub has no run
            cart.main(parse(cart, monkeypatch, *flags.split()))
        assert names[-1] == name
    fields = cart.Settings.__dataclass_fields__
    args = vars(parse(cart, monkeypatch))
    assert all(args[name] is None for name in fields)
    assert set(fields) > {"gamma", "replays", "target_update", "epsilon_episodes"}
    assert parse(cart, monkeypatch, "--show").show
    assert not parse(cart, monkeypatch, "-r").show and not parse(cart, monkeypatch).show


def test_files_of_another_agent_are_refused(cart, tmp_path, monkeypatch, few_tests):
    path = tmp_path / "cart.h5"
    settings = cart.Settings(gamma=0.5)
    run = cart_run(cart, tmp_path / "cart", budget=1, seed=2, settings=dataclasses.asdict(settings))
    run.folder.mkdir()
    run.output_dir = tmp_path
    cart.train(run, 2, settings, "dqn", cart.ENV_ID)
    about = weights.about(path)
    assert about["method"] == "dqn" and about["environment"] == "CartPole-v0"
    assert about["seed"] == 2 and about["gamma"] == 0.5 and about["replays"] == 100
    for flags, parts in (
        (["--ddqn"], "method dqn, expected ddqn"),
        (["CartPole-v1"], "environment CartPole-v0, expected CartPole-v1"),
    ):
        flags = [*flags, f"--weights={path}", f"--output-dir={tmp_path}"]
        with pytest.raises(UserError, match=parts):
            cart.main(parse(cart, monkeypatch, *flags))
    # A file without a record, as in the book, is only compared by its shapes.
    weights.save(cart.build_q_network(4, 2), path)
    flags = [f"--weights={path}", f"--output-dir={tmp_path}"]
    cart.main(parse(cart, monkeypatch, "--ddqn", *flags))
    with pytest.raises(UserError, match=r"another network.*\(6, 256\).*\(4, 256\)"):
        cart.main(parse(cart, monkeypatch, "Acrobot-v1", *flags))


def test_a_video_that_cannot_be_made_is_refused_before_the_training(cart, monkeypatch, tmp_path):
    make = environments.make

    def make_without_pictures(env_id, **options):
        if options.get("render_mode") == "rgb_array":
            raise UserError("cannot make the environment: pygame is not installed")
        return make(env_id, **options)

    monkeypatch.setattr(environments, "make", make_without_pictures)
    monkeypatch.setattr(cart, "train", None)
    with pytest.raises(UserError, match="pygame is not installed"):
        cart.main(parse(cart, monkeypatch, "--record", f"--output-dir={tmp_path}"))


def test_bad_input_of_the_cart(tmp_path):
    for flags, parts in (
        (["--seeds=0"], ["--seeds", "'0'"]),
        (["--gamma=1"], ["--gamma", "'1'"]),
        (["--replays=0.5"], ["--replays", "'0.5'"]),
        (["NoCart-v7"], ["NoCart-v7", "doesn't exist"]),
        (["--weights=dqn_cartpole.h5", "-d"], ["method dqn, expected ddqn"]),
    ):
        done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
        assert_one_line_error(done, *parts)


def test_the_docstring_of_dqn_has_the_episodes_of_the_runs(cart):
    doc = " ".join(cart.__doc__.split())
    for name in ("", "-ddqn"):
        record = read_json(ROOT / "results" / f"dqn-cartpole-9.6.1{name}.json")
        assert record["solved_runs"] == record["runs"] == 10
        assert list(record["seeds"]) == [str(k) for k in range(10)]
        episodes = sorted(seed["episodes"] for seed in record["seeds"].values())
        middle = statistics.median(episodes)
        assert f"after {episodes[0]} to {episodes[-1]} episodes (median {middle:.0f})" in doc
    record = read_json(ROOT / "results" / "dqn-cartpole-9.6.1-no-rule.json")
    assert record["settings"]["replay_after_success"]
    assert record["solved_runs"] == record["runs"] == 10
    ended = [seed["episodes"] for seed in record["seeds"].values()]
    assert f"solved, after {min(ended)} to {max(ended)} episodes" in doc


def test_the_reward_of_a_run_that_ended_stays_in_the_figure():
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    reports.draw_rewards(axis, {"a": [[0.0, 4.0], [1.0, 1.0, 1.0, 5.0]]}, 2, 3.0)
    median, goal = axis.lines
    np.testing.assert_allclose(median.get_xdata(), [2, 3, 4])
    np.testing.assert_allclose(median.get_ydata(), [1.5, 1.5, 2.5])
    assert set(goal.get_ydata()) == {3.0}
    plt.close(figure)


def test_rewards_over_environment_steps():
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    rewards, steps = {"a": [[0.0, 1.0, 2.0], [0.0, 1.0]]}, {"a": [[10, 10, 10], [10, 20]]}
    reports.draw_rewards(axis, rewards, 1, None, steps)
    (median,) = axis.lines
    x, y = median.get_data()
    assert (x[0], x[-1]) == (10, 30)
    # After 30 steps, one run has the reward 2 and the other one 1.
    assert (y[0], y[-1]) == (0, 1.5)
    plt.close(figure)


# What the scripts share


def test_running_mean():
    np.testing.assert_allclose(reports.running_mean([1, 2, 3, 4], 2), [1.5, 2.5, 3.5])
    np.testing.assert_allclose(reports.running_mean([1, 3], 100), [2])


def test_files_are_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "log.csv", lambda temporary: temporary.write_text("whole"))

    def fails(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(UserError, match=r"cannot write .*disk full"):
        write_whole(tmp_path / "log.csv", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert (tmp_path / "log.csv").read_text() == "whole"


def test_a_gif_has_arrays_and_pictures(tmp_path):
    frames = [np.full((4, 6, 3), level, "uint8") for level in (0, 255)]
    video.write_gif(tmp_path / "a.gif", [*frames, Image.new("RGB", (6, 4), "red")])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (6, 4)


@pytest.mark.parametrize("fps, kept, size", [(4, 6, (256, 64)), (50, 3, (128, 32))])
def test_a_gif_of_many_frames_has_half_of_them_at_half_the_size(fps, kept, size, tmp_path):
    frames = [np.full((64, 256, 3), 40 * level, "uint8") for level in range(6)]
    video.write_video(tmp_path / "agent.gif", frames, fps)
    with Image.open(tmp_path / "agent.gif") as gif:
        assert (gif.n_frames, gif.size) == (kept, size)
        assert gif.info["duration"] == 1000 * 6 / kept / fps


@pytest.mark.parametrize("row", [20, 21])
def test_a_gif_of_half_the_size_keeps_thin_lines(row, tmp_path):
    frame = np.full((64, 256, 3), 255, "uint8")
    frame[row] = 0
    video.write_video(tmp_path / "agent.gif", [frame, frame], 50)
    with Image.open(tmp_path / "agent.gif") as gif:
        shown = np.asarray(gif.convert("L"))
    assert (np.abs(shown[10] - 127.5) < 5).all() and (np.delete(shown, 10, 0) > 250).all()
