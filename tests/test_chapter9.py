"""Q-learning, FrozenLake and DQN: exact values, targets and schedules, and the commands."""

import csv
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT, break_off, interrupt_script, load_script, run_script
from PIL import Image

from lib import lake, rl, rl_report, weights
from lib.cli import UserError
from lib.files import write_whole

CHAPTER = "chapter9-drl/"
GRID = CHAPTER + "q-learning-9.3.1.py"
LAKE = CHAPTER + "q-frozenlake-9.5.1.py"
CART = CHAPTER + "dqn-cartpole-9.6.1.py"


def read_json(path):
    return json.loads(path.read_text())


def assert_one_line_error(done, *parts):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for part in parts:
        assert part in line


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
    again = run_script(GRID, "--train", "--seed=0", folder=tmp_path, data=tmp_path)
    assert again.stdout == done.stdout
    # Nobody watches, so there is neither a pause nor a code of a terminal.
    done = run_script(GRID, "--delay=100", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 wins in" in done.stdout and "step 1: " in done.stdout
    assert "\x1b" not in done.stdout
    done = run_script(GRID, "--delay=-1", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "--delay", "at least 0", "'-1'")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_the_grid_in_a_terminal_is_redrawn_in_colour(tmp_path):
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


def test_the_best_that_is_possible_on_the_lake():
    for slippery, best in ((True, 0.744), (False, 1.0)):
        transitions = lake.make_lake("FrozenLake-v1", slippery).unwrapped.P
        assert lake.success_within(transitions, 100)[0] == pytest.approx(best, abs=0.002)
    # Six steps lead to the goal, five do not.
    assert lake.success_within(transitions, 6)[0] == 1
    assert lake.success_within(transitions, 5)[0] == 0


@pytest.mark.parametrize("gamma, success", [(0.9, 0.730), (0.99, 0.740)])
def test_what_exact_values_lead_to_on_the_slippery_lake(gamma, success):
    transitions = lake.make_lake("FrozenLake-v1", True).unwrapped.P
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
    policy = lake.greedy(np.array(of_actions))
    found = lake.success_within(transitions, 100, policy)[0]
    assert found == pytest.approx(success, abs=0.0005)


@pytest.mark.parametrize("slippery", [False, True])
def test_the_slippery_flag_reaches_the_environment(slippery):
    env = lake.make_lake("FrozenLake-v1", slippery)
    assert len(env.unwrapped.P[0][1]) == (3 if slippery else 1)
    ends = set()
    for seed in range(30):
        env.reset(seed=seed)
        ends.add(int(env.step(2)[0]))
    assert ends == ({0, 1, 4} if slippery else {1})


def test_the_policies_of_a_table_and_of_random_play():
    table = np.array([[0, 2, 2, 1], [0, 0, 0, 0], [-1, -1, -1, 0]], float)
    assert lake.greedy(table).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    env = lake.make_lake("FrozenLake-v1", True)
    uniform = lake.uniform(env)
    assert uniform.shape == (16, 4) and np.all(uniform == 0.25)
    exact = lake.success_within(env.unwrapped.P, 100, uniform)[0]
    assert exact == pytest.approx(0.0139, abs=1e-4)
    assert lake.play(env, uniform, 5000, seed=0) == pytest.approx(exact, abs=0.006)


def lake_agent(states=3, actions=2, **flags):
    args = SimpleNamespace(**{"slippery": False, "book": None, "episodes": 100, **flags})
    return load_script(LAKE).QAgent(states, actions, args, seed=0)


@pytest.mark.parametrize("book, rate", [(None, 2**-0.6), ("all", 0.1), ("rate", 0.1)])
def test_the_table_moves_towards_its_target(book, rate):
    agent = lake_agent(book=book)
    agent.q_table = [[0.0, 0.0], [0.5, 2.0], [0.0, 0.0]]
    agent.update_q_table(0, 1, 1.0, 1)
    first = (0.1 if book else 1) * (1 + 0.9 * 2)
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
    env = lake.make_lake("FrozenLake-v1", True)
    calls = []
    step = env.step
    env.step = lambda action: calls.append(action) or step(action)
    epsilons = []
    update = script.QAgent.update_epsilon
    script.QAgent.update_epsilon = lambda agent: epsilons.append(update(agent))
    _, facts, _ = script.train(env, lake_args(tmp_path, episodes=20, book=book), seed=0)
    assert facts["steps"] == len(calls) > 20
    assert len(epsilons) == (len(calls) if book else 20)


def test_the_lake_is_learned_saved_and_tested(tmp_path):
    script = load_script(LAKE)
    assert script.TEST_EPISODES == 10_000
    flags = ("--episodes=3000", "--record=gif")
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
import runpy, sys
sys.argv = ["{ROOT / LAKE}", "--episodes=20", "--record=gif"]
runpy.run_path(sys.argv[0], run_name="__main__")
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
        "record": False,
        "episodes": 200,
        "seed": 0,
        "output_dir": tmp_path,
    }
    return SimpleNamespace(**{**defaults, **flags})


def test_runs_of_other_settings_write_other_tables(tmp_path):
    names = {
        lake.table_name(lake_args(tmp_path, **flags), seed)
        for flags in (
            {},
            {"slippery": False},
            {"book": "all"},
            {"book": "rate"},
            {"env_id": "FrozenLake8x8-v1"},
        )
        for seed in (0, 1)
    }
    assert len(names) == 10
    assert "q-frozenlake-slippery-FrozenLake8x8-v1-seed1" in names
    assert "q-frozenlake-book" not in names and "q-frozenlake-slippery-book" in names


def test_slippery_runs_of_equal_seeds_are_equal(tmp_path, monkeypatch, capsys):
    script = load_script(LAKE)
    monkeypatch.setattr(script, "TEST_EPISODES", 20)
    tables = []
    for seed, name in ((1, "-seed1"), (1, "-seed1"), (2, "-seed2")):
        script.main(lake_args(tmp_path, seed=seed, env_id="FrozenLake-v0"))
        tables.append(np.load(tmp_path / f"q-frozenlake-slippery{name}.npy"))
    assert np.abs(tables[0] - tables[1]).max() == 0 < np.abs(tables[0] - tables[2]).max()
    out = capsys.readouterr().out
    assert out.count("no longer has FrozenLake-v0") == 3
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


def test_ctrl_c_before_the_first_episode_on_the_lake(tmp_path, ctrl_c_at_once):
    script = load_script(LAKE)
    env = lake.make_lake("FrozenLake-v1", True)
    _, facts, stopped = script.train(env, lake_args(tmp_path, episodes=5000), seed=0)
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
    ):
        done = run_script(LAKE, *flags, folder=tmp_path, data=tmp_path)
        assert_one_line_error(done, *parts)


# The cart


def batch_of(size, rng):
    return (
        rng.normal(size=(size, 4)).astype("float32"),
        rng.integers(0, 2, size).astype("int32"),
        rng.normal(size=size).astype("float32"),
        rng.normal(size=(size, 4)).astype("float32"),
        (np.arange(size) % 3 == 0).astype("float32"),
    )


def test_the_q_network():
    network = load_script(CART).build_q_network(4, 2)
    assert [layer.units for layer in network.layers[1:]] == [256, 256, 256, 2]
    assert network.count_params() == 4 * 256 + 2 * 256 * 256 + 3 * 256 + 256 * 2 + 2


def test_values_in_numpy_are_those_of_the_network():
    script = load_script(CART)
    network = script.build_q_network(4, 2)
    states = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = network.predict(states, verbose=0)
    values = [script.q_values(network.get_weights(), state) for state in states]
    np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("book", [False, True])
def test_targets_and_loss_against_numpy(double, book):
    script = load_script(CART)
    settings = script.BOOK if book else script.Settings()
    dqn = script.build_dqn(4, 2, settings, double)
    rng = np.random.default_rng(0)
    noisy = [w + rng.normal(0, 0.2, w.shape) for w in dqn.target_network.get_weights()]
    dqn.target_network.set_weights(noisy)
    batch = states, actions, rewards, next_states, ended = batch_of(60, rng)
    online = dqn.q_network.predict(next_states, verbose=0)
    target = dqn.target_network.predict(next_states, verbose=0)
    # The two networks disagree on the best action, else the test could not tell them apart.
    assert np.any(online.argmax(axis=1) != target.argmax(axis=1))
    best = (online if double else target).argmax(axis=1)
    targets = rewards + (0.9 if book else settings.gamma) * np.where(
        ended, 0, target[np.arange(60), best]
    )
    measured = keras.ops.convert_to_numpy(dqn.targets(rewards, next_states, ended))
    np.testing.assert_allclose(measured, targets, rtol=1e-4, atol=1e-5)
    error = dqn.q_network.predict(states, verbose=0)[np.arange(60), actions] - targets
    assert np.abs(error).max() > 1 > np.abs(error).min()
    huber = np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5).mean()
    loss = float(dqn.td_loss(*batch))
    assert loss == pytest.approx((error**2).mean() / 2 if book else huber, rel=1e-4)


def test_a_replay_moves_the_q_network_alone_and_copies_it_on_time():
    script = load_script(CART)
    settings = script.Settings(replays=1, target_update=3)
    dqn = script.build_dqn(4, 2, settings)
    memory = script.Memory(100, 4)
    rng = np.random.default_rng(0)
    for row in zip(*batch_of(64, rng), strict=True):
        memory.remember(*row)
    former = dqn.q_network.get_weights()
    replayed = 0
    for _ in range(7):
        before = dqn.target_network.get_weights()
        loss, replayed = script.replay(dqn, memory, rng, replayed)
        assert np.isfinite(loss)
        now = dqn.q_network.get_weights()
        assert all(np.any(a != b) for a, b in zip(former, now, strict=True))
        after = dqn.target_network.get_weights()
        expected = now if replayed % 3 == 0 else before
        assert all(np.array_equal(a, b) for a, b in zip(after, expected, strict=True))
        former = now
    assert replayed == 7


def test_the_memory_forgets_the_oldest_and_samples_all_others():
    script = load_script(CART)
    memory = script.Memory(10, 1)
    rng = np.random.default_rng(0)
    for i in range(4):
        memory.remember([i], i, i, [i + 1], False)
    assert set(memory.sample(200, rng)[2]) == {0, 1, 2, 3}
    for i in range(4, 25):
        memory.remember([i], i % 2, i, [i + 1], i == 24)
    states, actions, rewards, next_states, ended = memory.sample(500, rng)
    assert set(rewards) == set(range(15, 25))
    assert (states.dtype, actions.dtype, ended.dtype) == ("float32", "int32", "float32")
    np.testing.assert_array_equal(states[:, 0], rewards)
    np.testing.assert_array_equal(next_states[:, 0], rewards + 1)
    np.testing.assert_array_equal(actions, rewards % 2)
    np.testing.assert_array_equal(ended, rewards == 24)


def test_epsilon_of_both_settings():
    script = load_script(CART)
    book = [script.epsilon_at(episode, script.BOOK) for episode in (0, 1500, 3000, 4000)]
    assert book == pytest.approx([0.9, 0.3, 0.1, 0.1])
    ours = script.Settings()
    assert script.epsilon_at(0, ours) == 0.9
    assert script.epsilon_at(ours.epsilon_episodes, ours) == pytest.approx(ours.epsilon_min)
    assert script.epsilon_at(10_000, ours) == pytest.approx(ours.epsilon_min)


class Corridor:
    """Three states; ends after `length` steps, by the time limit or for good."""

    def __init__(self, length, truncated):
        self.length, self.truncated = length, truncated
        self.action_space = SimpleNamespace(n=2)

    def reset(self, seed):
        self.step_count = 0
        return np.zeros(4, "float32"), {}

    def step(self, action):
        self.step_count += 1
        end = self.step_count == self.length
        state = np.full(4, self.step_count, "float32")
        return state, 1.0, end and not self.truncated, end and self.truncated, {}


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_time_limit_is_no_end_unless_the_book_says_so(truncated, bootstrap):
    script = load_script(CART)
    memory = script.Memory(10, 4)
    arrays = script.build_q_network(4, 2).get_weights()
    rng = np.random.default_rng(0)
    reward = script.run_episode(Corridor(5, truncated), arrays, 0.5, rng, memory, bootstrap)
    assert reward == memory.size == 5
    ended = not (truncated and bootstrap)
    np.testing.assert_array_equal(memory.ended[:5], [0, 0, 0, 0, ended])
    np.testing.assert_array_equal(memory.next_states[:5, 0], [1, 2, 3, 4, 5])


def test_the_cart_trains_and_is_tested_and_drawn(tmp_path):
    (tmp_path / "dqn_cartpole").mkdir()
    of_another_run = tmp_path / "dqn_cartpole" / "restart-9.npz"
    of_another_run.touch()
    flags = ("--episodes=4", "--seeds=2", "--seed=5", "--record", "--no-render")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not solved within 4 episodes" in done.stdout
    folder = tmp_path / "dqn_cartpole"
    trained = read_json(folder / "metrics.json")
    assert trained["env_id"] == "CartPole-v0"
    assert trained["solved_after_episodes"] == {"5": None, "6": None}
    assert (trained["seed"], trained["runs"], trained["book_mean"]) == (5, 2, 822)
    assert (folder / "rewards.png").exists()
    for seed in (5, 6):
        with (folder / f"log-{seed}.csv").open() as file:
            log = list(csv.DictReader(file))
        assert [row["episode"] for row in log] == ["1", "2", "3", "4"]
        mean = np.mean([float(row["reward"]) for row in log])
        assert float(log[-1]["mean_reward"]) == pytest.approx(mean, abs=0.01)
    with Image.open(folder / "agent.gif") as gif:
        assert gif.n_frames >= 2 and gif.size == (300, 200)

    assert list(folder.glob("restart-*")) == [of_another_run]

    # The weights are those of the first run.
    done = run_script(CART, "--weights=dqn_cartpole.h5", "--seed=5", folder=tmp_path, data=tmp_path)
    assert read_json(folder / "evaluation.json")["test_reward"] == trained["test_reward"]
    keras.models.load_model(tmp_path / "dqn_cartpole.h5", compile=False)


def cart_args(**flags):
    defaults = {
        "env_id": "CartPole-v0",
        "ddqn": False,
        "show": False,
        "episodes": 6,
        "seed": 0,
        "resume": False,
    }
    return SimpleNamespace(**{**defaults, **flags})


@pytest.mark.parametrize("double", [False, True])
def test_cart_runs_of_equal_seeds_are_equal(double, tmp_path):
    script = load_script(CART)
    settings = script.Settings(replays=2)
    runs = [script.train(cart_args(ddqn=double), seed, settings, tmp_path) for seed in (3, 3, 4)]
    logs = [run.log for run in runs]
    assert logs[0] == logs[1] != logs[2]
    arrays = [run.dqn.q_network.get_weights() for run in runs[:2]]
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_that_broke_off_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(rl.Restart, "SECONDS_BETWEEN", 0)
    script = load_script(CART)
    # So small that it has begun to forget when the run breaks off.
    settings = script.Settings(replays=4, target_update=6, memory=70)
    whole = script.train(cart_args(), 0, settings, tmp_path)
    played = break_off(script, monkeypatch, episode=5)
    with pytest.raises(RuntimeError, match="power cut"):
        script.train(cart_args(), 0, settings, tmp_path)
    resumed = script.train(cart_args(resume=True), 0, settings, tmp_path)
    assert len(played) == 7
    assert resumed.log == whole.log
    for a, b in zip(resumed.dqn.get_weights(), whole.dqn.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match=r"gamma 0\.98, this one has 0\.9"):
        script.train(cart_args(resume=True), 0, script.Settings(gamma=0.9), tmp_path)


def test_solved_is_a_mean_over_a_hundred_episodes(monkeypatch, tmp_path):
    script = load_script(CART)
    rewards = iter([10.0, *[200.0] * 400])
    monkeypatch.setattr(script, "run_episode", lambda *args, **kwargs: next(rewards))
    run = script.train(cart_args(episodes=3000), 0, script.Settings(), tmp_path)
    # The mean of the first hundred is 198.1: enough, but not before there are a hundred.
    assert run.solved and len(run.log) == 100
    rewards = iter([*[10.0] * 50, *[200.0] * 400])
    run = script.train(cart_args(episodes=3000), 0, script.Settings(), tmp_path)
    # At most two of the last hundred may be 10: (2 * 10 + 98 * 200) / 100 = 196.2.
    assert run.solved and len(run.log) == 148


@pytest.mark.parametrize("book", [False, True])
def test_an_episode_that_succeeds_is_not_corrected_but_by_the_book(book, monkeypatch, tmp_path):
    script = load_script(CART)
    rewards = [200.0, 20.0, 195.0, 20.0]
    replays = []

    def run_episode(env, arrays, epsilon, rng, memory, bootstrap_at_limit):
        for row in zip(*batch_of(64, rng), strict=True):
            memory.remember(*row)
        return rewards[memory.size // 64 - 1]

    def replay(dqn, memory, rng, replayed):
        replays.append(memory.size // 64)
        return 0.5, replayed

    monkeypatch.setattr(script, "run_episode", run_episode)
    monkeypatch.setattr(script, "replay", replay)
    settings = script.BOOK if book else script.Settings()
    run = script.train(cart_args(episodes=4), 0, settings, tmp_path)
    assert replays == ([1, 2, 3, 4] if book else [2, 4])
    assert run.rewards == rewards
    assert [row["loss"] for row in run.log] == ([0.5] * 4 if book else ["", 0.5, "", 0.5])


def test_ctrl_c_saves_what_is_there(tmp_path):
    flags = ("CartPole-v1", "--book")
    code, errors = interrupt_script(CART, *flags, after="episode 20/", folder=tmp_path)
    assert code == 130
    assert "Stopped in the run with seed 0 after episode" in errors
    stopped_at = int(errors.split("after episode ")[1].split(":")[0])
    assert stopped_at >= 20
    with (tmp_path / "dqn_cartpole" / "log-0.csv").open() as file:
        assert len(list(csv.DictReader(file))) == stopped_at
    script = load_script(CART)
    weights.load(script.build_q_network(4, 2), tmp_path / "dqn_cartpole.h5")

    # The run goes on where it was, and its restart point goes when it is done.
    flags = (*flags, "--resume", f"--episodes={stopped_at + 2}")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "dqn_cartpole" / "log-0.csv").open() as file:
        assert len(list(csv.DictReader(file))) == stopped_at + 2
    assert not list(tmp_path.glob("dqn_cartpole/restart-*"))
    assert_one_line_error(
        run_script(CART, "--resume", folder=tmp_path, data=tmp_path), "nothing to resume"
    )


def test_ctrl_c_before_the_first_episode_lets_that_one_be_played(tmp_path, ctrl_c_at_once):
    script = load_script(CART)
    run = script.train(cart_args(), 0, script.Settings(), tmp_path)
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
        load_script(CART).make_env(env_id)


def test_bad_input_of_the_cart(tmp_path):
    done = run_script(CART, "--seeds=0", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "--seeds", "'0'")
    done = run_script(CART, "NoCart-v7", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "NoCart-v7", "doesn't exist")
    weights.save(load_script(CART).build_q_network(4, 2), tmp_path / "cart.h5")
    flags = ("Acrobot-v1", "--weights=cart.h5")
    done = run_script(CART, *flags, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "another network", "(6, 256)", "(4, 256)")


# What the scripts share


def test_running_mean():
    np.testing.assert_allclose(rl_report.running_mean([1, 2, 3, 4], 2), [1, 1.5, 2.5, 3.5])


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
    rl_report.write_gif(tmp_path / "a.gif", [*frames, Image.new("RGB", (6, 4), "red")])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (6, 4)


@pytest.mark.parametrize("fps, width, kept", [(4, 256, 6), (50, 256, 3), (50, 600, 3)])
def test_a_gif_of_many_or_wide_frames_has_fewer_and_smaller_ones(fps, width, kept, tmp_path):
    frames = [np.full((64, width, 3), 40 * level, "uint8") for level in range(6)]
    path = rl_report.write_video(tmp_path / "agent", frames, fps, "gif")
    with Image.open(path) as gif:
        assert gif.n_frames == kept
        assert gif.size == ((300, 32) if width == 600 else (256, 64))
        assert gif.info["duration"] == 1000 * 6 / kept / fps


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_video_has_all_frames(tmp_path):
    frames = [np.full((63, 101, 3), 40 * level, "uint8") for level in range(6)]
    path = rl_report.write_video(tmp_path / "agent", frames, 10)
    assert path == tmp_path / "agent.mp4"
    command = [
        "ffmpeg",
        "-i",
        path,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-loglevel",
        "error",
        "-",
    ]
    decoded = subprocess.run(command, capture_output=True, check=True).stdout
    decoded = np.frombuffer(decoded, "uint8").reshape(6, 64, 102, 3)
    np.testing.assert_allclose(decoded[:, :60, :96], np.array(frames)[:, :60, :96], atol=6)


def test_without_ffmpeg_a_video_is_a_gif_and_mp4_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    frames = [np.zeros((4, 4, 3), "uint8")] * 2
    assert rl_report.write_video(tmp_path / "agent", frames, 10) == tmp_path / "agent.gif"
    with pytest.raises(UserError, match=r"--record=mp4 needs ffmpeg"):
        rl_report.check_video(SimpleNamespace(env_id="CartPole-v0", record="mp4"))
