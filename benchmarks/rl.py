"""Speed of whole trainings of the agents, side by side in one run.

    taskset -c 0 python3 benchmarks/rl.py           5 rounds on one core
    python3 benchmarks/rl.py --output FILE.json

The tasks are DQN on CartPole-v0, and A2C and REINFORCE on MountainCarContinuous-v0, with the
default settings of the scripts. A training includes the start of the agent, acting and learning.
The contenders:

    ours          `train` of the script
    torch         the same algorithm in PyTorch, with a call of the networks for each step, as in
                  cleanrl's scripts; both frameworks compute on as many threads
    book          the shape of the book's loops on the same networks: predict() for each state and
                  for each sample of a batch, fit() for each update; only a short stretch
    environment   the bare environment with random actions

The contenders take turns, see rounds.py. A ratio of two contenders is the median over the rounds.
It compares the time per environment step. How many steps a DQN takes per update depends on what it
has learned. Its acting and its learning are therefore timed apart, and the ratio is that for the
steps and updates of ours.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from lib.run import flags, program
from tools.scripts import ROOT, load_script

ROUNDS = 5
EPISODES = 500
CART_SHARE = 10  # DQN learns from 100 batches after an episode, and gets a tenth of the episodes
STEPS = 20_000  # of a bare environment, in a round
BOOK_STEPS = 4  # of the book's loops, in a round, if --steps is not less
CART = "chapter9-drl/dqn-cartpole-9.6.1.py"
CAR = "chapter10-policy/policygradient-car-10.1.1.py"
ENCODER = ROOT / "chapter10-policy" / "weights" / "car_encoder.h5"
TASKS = ("dqn", "a2c", "reinforce")
# {what `timed` measures: its name as a rate}
MEASURES = {
    "step": "steps_per_second",
    "acting": "steps_per_second_of_acting",
    "learning": "updates_per_second_of_learning",
}
CONTENDERS = (
    *(f"dqn {who}" for who in ("ours", "torch", "book", "environment")),
    *(f"a2c {who}" for who in ("ours", "torch", "book", "environment")),
    *(f"reinforce {who}" for who in ("ours", "torch")),
)


def parse_args():
    parser = rounds.parser(__doc__, ROUNDS, STEPS)
    parser.add_argument(
        "--episodes",
        type=flags.positive_int,
        default=EPISODES,
        help=f"episodes of a policy gradient's training, a tenth for DQN (default {EPISODES})",
    )
    parser.add_argument(
        "--tasks",
        type=rounds.names_out_of(TASKS),
        default=list(TASKS),
        metavar="NAMES",
        help=f"(default {','.join(TASKS)})",
    )
    return parser.parse_args()


def facts():
    """Where and with what a contender computes."""
    import keras
    import tensorflow

    return rounds.facts(tensorflow, keras)


def torch_facts():
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return {"versions": {"torch": torch.__version__}}


def timed(facts, train):
    """What `rounds.contend` expects.

    Args:
        facts: about the contender.
        train: function of the seed that trains and returns (steps, updates, seconds of acting).
            The seconds are None if acting and learning are not timed apart.

    Returns:
        tuple: The facts, and a function that plays a round. It returns the milliseconds per step.
        Where acting is timed apart, it also returns milliseconds of acting per step and of learning
        per update, and both numbers.
    """
    seed = 0

    def play():
        nonlocal seed
        seed += 1
        started = time.perf_counter()
        steps, updates, acting = train(seed)
        seconds = time.perf_counter() - started
        values = {"step": 1000 * seconds / steps}
        if acting is not None:
            values |= {"acting": 1000 * acting / steps, "steps": steps, "updates": updates}
            values["learning"] = 1000 * (seconds - acting) / max(1, updates)
        return values

    return facts, play


def clock_acting(script):
    """Lets `run_episode` of a script add its seconds to the only item of the returned list."""
    run_episode, seconds = script.run_episode, [0.0]

    def timed_episode(*args, **kwargs):
        started = time.perf_counter()
        played = run_episode(*args, **kwargs)
        seconds[0] += time.perf_counter() - started
        return played

    script.run_episode = timed_episode
    return seconds


def train_args(episodes, folder, **flags):
    """The flags of a training that saves no weights, because its seed is not the first one."""
    shared = {"show": False, "seed": -1, "resume": False, "episodes": episodes}
    return SimpleNamespace(**shared, output_dir=folder, **flags)


def environment_contender(env_id, steps):
    from lib.rl import environments

    env = environments.make(env_id)
    env.action_space.seed(0)

    def train(seed):
        env.reset(seed=seed)
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        return steps, 0, None

    return {}, train


# DQN


def dqn_ours(args):
    script = load_script(CART)
    script.TEST_EPISODES = 0
    acting, folder = clock_acting(script), Path(tempfile.mkdtemp())
    flags = train_args(args.episodes // CART_SHARE, folder, env_id=script.ENV_ID, method="dqn")

    def train(seed):
        acting[0] = 0.0
        run = script.train(flags, seed, script.Settings(), folder)
        return run.steps, run.log[-1]["updates"], acting[0]

    return facts(), train


def dqn_torch(args):
    import torch
    from torch import nn

    from lib.rl import agent_runs, environments

    script = load_script(CART)
    acting, settings = clock_acting(script), script.Settings()
    env = environments.make_discrete(script.ENV_ID)
    state_size, actions = env.observation_space.shape[0], int(env.action_space.n)

    def network():
        layers, size = [], state_size
        for units in script.HIDDEN_LAYERS:
            layers += [nn.Linear(size, units), nn.ReLU()]
            size = units
        return nn.Sequential(*layers, nn.Linear(size, actions))

    class Agent:
        def __init__(self):
            self.settings, self.updates = settings, 0
            self.q_network, self.target_network = network(), network()
            self.target_network.load_state_dict(self.q_network.state_dict())
            rate = settings.learning_rate
            self.optimizer = torch.optim.Adam(self.q_network.parameters(), lr=rate)

        def act(self, state, epsilon, rng):
            if rng.random() < epsilon:
                return int(rng.integers(actions))
            with torch.no_grad():
                return int(self.q_network(torch.from_numpy(state)).argmax())

        def update(self, memory, rng):
            batch = memory.sample(settings.batch_size, 1, rng)
            states, chosen, rewards, next_states, ended = map(torch.from_numpy, batch)
            with torch.no_grad():
                best = self.target_network(next_states).max(dim=1).values
                targets = rewards + settings.gamma * best * (1 - ended)
            values = self.q_network(states).gather(1, chosen.long()[:, None]).squeeze(1)
            loss = nn.functional.huber_loss(values, targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.updates += 1
            if self.updates % settings.target_update == 0:
                self.target_network.load_state_dict(self.q_network.state_dict())

    def train(seed):
        torch.manual_seed(seed)
        acting[0] = 0.0
        rng, agent, steps = np.random.default_rng(seed), Agent(), 0
        memory = agent_runs.Memory(settings.memory, state_size)
        for episode in range(args.episodes // CART_SHARE):
            epsilon = script.epsilon_at(episode, settings)
            taken, reward = script.run_episode(env, agent, epsilon, rng, memory)
            steps += taken
            if memory.size >= settings.batch_size and reward < environments.goal(env):
                for _ in range(settings.replays):
                    agent.update(memory, rng)
        return steps, agent.updates, acting[0]

    return torch_facts(), train


def dqn_book(args):
    from lib.rl import agent_runs, environments

    script = load_script(CART)
    env = environments.make_discrete(script.ENV_ID)
    sizes = env.observation_space.shape[0], int(env.action_space.n)
    q_network = script.build_q_network(*sizes)
    target_network = script.build_q_network(*sizes, "target_network")
    q_network.compile(optimizer="adam", loss="mse")
    memory, rng = agent_runs.Memory(10_000, sizes[0]), np.random.default_rng(0)
    steps = min(args.steps, BOOK_STEPS)

    def values(network, state):
        # The book's loop calls a network for each state, which is measured here.
        return network.predict(state[None], verbose=0)[0]

    def train(seed):
        acting = 0.0
        state, _ = env.reset(seed=seed)
        while memory.size < 64:
            memory.remember(state, 0, 1.0, state, False)
        for _ in range(steps):
            started = time.perf_counter()
            action = int(values(q_network, state).argmax())
            next_state, reward, terminated, truncated, _ = env.step(action)
            memory.remember(state, action, reward, next_state, terminated or truncated)
            state = env.reset()[0] if terminated or truncated else next_state
            acting += time.perf_counter() - started
            batch, wanted = memory.sample(64, 1, rng), []
            for s, a, r, following, ended in zip(*batch, strict=True):
                q = values(q_network, s)
                q[a] = r + 0.9 * (1 - ended) * values(target_network, following).max()
                wanted.append(q)
            q_network.fit(batch[0], np.array(wanted), batch_size=64, verbose=0)
        return steps, steps, acting

    return facts(), train


def dqn_environment(args):
    return environment_contender(load_script(CART).ENV_ID, args.steps)


# Policy gradients


def policy_ours(method, args):
    from lib.files import weights
    from lib.rl import state_encoder

    script = load_script(CAR)
    script.TEST_EPISODES = 0
    folder = Path(tempfile.mkdtemp())
    encoder = state_encoder.build_encoder(2)
    weights.load(encoder, ENCODER)
    flags = train_args(args.episodes, folder, env_id=script.ENV_ID, method=method)
    flags.actor_weights = flags.value_weights = None

    def train(seed):
        run = script.train(flags, seed, policy_settings(script, method), encoder, folder)
        return run.steps, run.updates, None

    return facts(), train


def policy_settings(script, method):
    return script.Settings(gamma=script.A2C_GAMMA) if method == "a2c" else script.Settings()


def policy_torch(method, args):
    import torch
    from torch import nn

    from lib.files import weights
    from lib.rl import environments, state_encoder

    script = load_script(CAR)
    settings = policy_settings(script, method)
    env = environments.make_continuous(script.ENV_ID)
    keras_encoder = state_encoder.build_encoder(2)
    weights.load(keras_encoder, ENCODER)
    kernels = keras_encoder.get_weights()

    def dense(kernel, bias):
        layer = nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T))
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    first, second, last = (dense(*kernels[k : k + 2]) for k in (0, 2, 4))
    encoder = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    def zeros(outputs):
        return dense(np.zeros((32, outputs), "f"), np.zeros(outputs, "f"))

    class Policy:
        """What an episode needs: a call of a network for each state."""

        def __init__(self):
            self.actor, self.value_network = zeros(2), zeros(1)

        @torch.no_grad()
        def features(self, state):
            return encoder(torch.from_numpy(state)).numpy()

        def distribution(self, features):
            mean, raw = self.actor(features).unbind(-1)
            return mean, nn.functional.softplus(raw) + settings.least_std

        @torch.no_grad()
        def __call__(self, features):
            return self.distribution(torch.from_numpy(features))

        @torch.no_grad()
        def value(self, features):
            return self.value_network(torch.from_numpy(features))[..., 0].numpy()

    class Agent(script.PolicyAgent):
        def __init__(self):
            self.method, self.settings, self.policy = method, settings, Policy()
            parameters = (n.parameters() for n in (self.policy.actor, self.policy.value_network))
            self.optimizers = [torch.optim.Adam(own) for own in parameters]
            self.updates = 0

        def decay(self, share):
            self.updates += 1
            # PyTorch adds epsilon after the correction of the bias, Keras before.
            correction = math.sqrt(1 - 0.999**self.updates)
            rates = settings.learning_rate, settings.value_learning_rate
            epsilons = settings.epsilon, 1e-7
            for optimizer, rate, epsilon in zip(self.optimizers, rates, epsilons, strict=True):
                optimizer.param_groups[0].update(lr=share * rate, eps=epsilon / correction)

        def update(self, steps):
            values, next_values = map(self.policy.value, (steps.features, steps.next_features))
            pair = script.advantages(method, steps, values, next_values, settings.gamma)
            advantage, targets = map(torch.from_numpy, pair)
            features = torch.from_numpy(steps.features)
            action, noise_mean, noise_std = torch.from_numpy(steps.actions).unbind(-1)
            mean, std = self.policy.distribution(features)
            noise = torch.distributions.Normal(mean + std * noise_mean, std * noise_std)
            bonus = settings.beta * noise.entropy() if method == "a2c" else 0.0
            self.descend(0, -(advantage * noise.log_prob(action) + bonus).mean())
            if method != "reinforce":
                values = self.policy.value_network(features)[..., 0]
                self.descend(1, nn.functional.mse_loss(values, targets))

        def descend(self, network, loss):
            self.optimizers[network].zero_grad()
            loss.backward()
            self.optimizers[network].step()

    def train(seed):
        torch.manual_seed(seed)
        rng, agent, steps = np.random.default_rng(seed), Agent(), 0
        for episode in range(args.episodes):
            agent.decay(1 - episode / args.episodes)
            noise = script.Noise(settings.correlation, rng)
            played, flag = script.run_episode(env, agent.policy, rng, noise)
            agent.learn(agent.steps_of(played, flag))
            steps += len(played)
        return steps, args.episodes, None

    return torch_facts(), train


def a2c_ours(args):
    return policy_ours("a2c", args)


def a2c_torch(args):
    return policy_torch("a2c", args)


def reinforce_ours(args):
    return policy_ours("reinforce", args)


def reinforce_torch(args):
    return policy_torch("reinforce", args)


def a2c_book(args):
    from lib.rl import environments, state_encoder

    script = load_script(CAR)
    env = environments.make_continuous(script.ENV_ID)
    encoder = state_encoder.build_encoder(2)
    actor, value = script.build_actor(0.1), script.build_value()
    actor.compile(optimizer="adam", loss="mse")
    value.compile(optimizer="adam", loss="mse")
    rng, steps = np.random.default_rng(0), min(args.steps, BOOK_STEPS)

    def train(seed):
        state, _ = env.reset(seed=seed)
        for _ in range(steps):
            features = encoder.predict(state[None], verbose=0)
            policy = actor.predict(features, verbose=0)
            expected = value.predict(features, verbose=0)
            force = np.clip(rng.normal(*policy[0]), -1, 1)
            state, reward, *_ = env.step(np.array([force], "float32"))
            # Any loss will do: the time goes into the calls.
            actor.fit(features, policy, verbose=0)
            value.fit(features, expected + reward, verbose=0)
        return steps, steps, None

    return facts(), train


def a2c_environment(args):
    return environment_contender(load_script(CAR).ENV_ID, args.steps)


def contender(name):
    """The function of the parsed flags that returns what `timed` needs."""
    return globals()[name.replace(" ", "_")]


def ratios(contenders):
    """How many times as fast ours is as each other contender of its task, over the rounds.

    Returns:
        {task: {contender: {"median", "least", "greatest"}}}. Less than 1 is slower.
    """
    found = {}
    for name, other in contenders.items():
        task, who = name.split()
        ours = contenders[f"{task} ours"].values
        if who == "ours":
            continue
        if "acting" in other.values:
            columns = (other.values["acting"], other.values["learning"])
            columns += (ours["steps"], ours["updates"])
            theirs = [a * s + u * n for a, u, s, n in zip(*columns, strict=True)]
            own = [step * s for step, s in zip(ours["step"], ours["steps"], strict=True)]
        else:
            theirs, own = other.values["step"], ours["step"]
        times = [a / b for a, b in zip(theirs, own, strict=True)]
        found.setdefault(task, {})[who] = {
            "median": float(f"{statistics.median(times):.4g}"),
            "least": float(f"{min(times):.4g}"),
            "greatest": float(f"{max(times):.4g}"),
        }
    return found


def main(args):
    if args.contender:
        rounds.contend(lambda: timed(*contender(args.contender)(args)))
        return
    rounds.check_output(args.output)
    flags = {"--steps": args.steps, "--episodes": args.episodes}
    names = [name for name in CONTENDERS if name.split()[0] in args.tasks]
    contenders = rounds.play(__file__, names, flags, args.rounds)
    table = {}
    for name, played in contenders.items():
        row = table[name] = {"peak_rss_mb": played.peak_rss_mb}
        for measure, count in MEASURES.items():
            if measure in played.values:
                values = played.values[measure]
                row[count] = float(f"{1000 / statistics.median(values):.5g}")
                row[f"{measure}_ms"] = rounds.times(values, 4)
        shown = (f"{value:>12,.1f} {n}" for n, value in row.items() if n in MEASURES.values())
        print(f"{name:<20}{''.join(shown)}")
    times = ratios(contenders)
    for task, others in times.items():
        for who, ratio in others.items():
            print(f"{task} ours is {ratio['median']:g} times as fast as {who}")
    rounds.record(
        args,
        contenders,
        threads=os.environ.get("OMP_NUM_THREADS", "all"),
        episodes={
            task: args.episodes // (CART_SHARE if task == "dqn" else 1) for task in args.tasks
        },
        book_steps=BOOK_STEPS,
        contenders=table,
        times_as_fast=times,
    )


if __name__ == "__main__":
    program.run(main, parse_args())
