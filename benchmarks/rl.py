"""Speed of whole trainings of the agents, side by side in one run.

    taskset -c 0 python3 benchmarks/rl.py           5 rounds on one core
    python3 benchmarks/rl.py --output FILE.json

The tasks are DQN on CartPole-v0, and A2C and REINFORCE on MountainCarContinuous-v0, with the
default settings of the scripts. A training includes the start of the agent, acting and learning.
The contenders:

    ours          `train` of the script
    torch         the same algorithm in PyTorch, where a NumPy copy of the networks also acts; both
                  frameworks compute on as many threads
    book          the shape of the book's loops on the same networks: predict() for each state and
                  for each sample of a batch, fit() for each update; only a short stretch
    environment   the bare environment, with one action for all steps

The contenders take turns, see rounds.py. A ratio of two contenders is the median over the rounds.
It compares the time per environment step. How many steps a DQN takes per update depends on what it
has learned. Its acting and its learning are therefore timed apart, and the ratio is that for the
steps and updates of ours. The book's loop makes one update after an episode, so its ratio counts
one update for each episode of ours.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from lib.run import kinds, program
from tools.scripts import ROOT, load_script

ROUNDS = 5
EPISODES = 1000  # as in the script of chapter 10
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
        type=kinds.positive_int,
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


def script_run(script, episodes):
    """The run of a script that saves no weights, because the seeds are not the first one."""
    folder = Path(tempfile.mkdtemp())
    path = Path(script.__file__)
    return program.Run(script=path, folder=folder, output_dir=folder, seed=-1, budget=episodes)


def environment_contender(env_id, steps):
    from lib.rl import environments

    env = environments.make(env_id)
    env.action_space.seed(0)
    action = env.action_space.sample()  # drawing one for each step would take most of the time

    def train(seed):
        env.reset(seed=seed)
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps, 0, None

    return {}, train


# DQN


def dqn_ours(args):
    script = load_script(CART)
    script.TEST_EPISODES = 0
    acting, run = clock_acting(script), script_run(script, args.episodes // CART_SHARE)

    def train(seed):
        acting[0] = 0.0
        training = script.train(run, seed, script.Settings(), "dqn", script.ENV_ID)
        return training.steps, training.log[-1]["updates"], acting[0]

    return facts(), train


def dqn_torch(args):
    import torch
    from torch import nn

    from lib.rl import agent_runs, agents, environments

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
            self.update_weights()

        def update_weights(self):
            arrays = [p.detach().numpy().copy() for p in self.q_network.parameters()]
            self.weights = [a.T if a.ndim == 2 else a for a in arrays]

        def act(self, state, epsilon, rng):
            if rng.random() < epsilon:
                return int(rng.integers(actions))
            return int(np.argmax(agents.dense_layers(self.weights, state)))

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
        memory = agent_runs.Memory(state_size)
        for episode in range(args.episodes // CART_SHARE):
            epsilon = script.epsilon_at(episode, settings)
            taken, reward = script.run_episode(env, agent, epsilon, rng, memory)
            steps += taken
            if memory.size >= settings.batch_size and reward < environments.goal(env):
                for _ in range(settings.replays):
                    agent.update(memory, rng)
                agent.update_weights()
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
    memory, rng = agent_runs.Memory(sizes[0]), np.random.default_rng(0)
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
    encoder = state_encoder.build_encoder(2)
    weights.load(encoder, ENCODER)
    run, settings = script_run(script, args.episodes), policy_settings(script, method)

    def train(seed):
        agent = script.make_agent(run, seed, method, encoder, settings, script.ENV_ID, {})
        training = script.train(run, seed, agent, script.ENV_ID)
        return training.steps, training.updates, None

    return facts(), train


def policy_settings(script, method):
    return script.Settings(**(script.A2C if method == "a2c" else {}))


def policy_torch(method, args):
    import torch
    from torch import nn

    from lib.files import weights
    from lib.rl import agents, environments, state_encoder

    script = load_script(CAR)
    settings = policy_settings(script, method)
    env = environments.make_continuous(script.ENV_ID)
    encoder = state_encoder.build_encoder(2)
    weights.load(encoder, ENCODER)
    encoder_weights = encoder.get_weights()
    rho = settings.correlation

    def zeros(outputs):
        layer = nn.Linear(state_encoder.FEATURES, outputs)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    class Agent:
        """Acts in NumPy, as the script does, and learns in PyTorch."""

        def __init__(self):
            self.actor, self.value = zeros(2), zeros(1)
            self.optimizers = [torch.optim.Adam(n.parameters()) for n in (self.actor, self.value)]
            self.updates = 0
            self.copy()

        def copy(self):
            pair = self.actor.weight.detach().numpy().T, self.actor.bias.detach().numpy()
            self.actor_weights = [array.copy() for array in pair]

        def features(self, state):
            return agents.dense_layers(encoder_weights, state)

        def __call__(self, features):
            policy = agents.dense_layers(self.actor_weights, features)
            return policy[..., 0], np.logaddexp(0, policy[..., 1]) + settings.least_std

        def learn(self, features, actions, rewards, flag, share):
            self.updates += 1
            # PyTorch adds epsilon after the correction of the bias, Keras before.
            correction = math.sqrt(1 - 0.999**self.updates)
            rates = settings.learning_rate, settings.value_learning_rate
            epsilons = settings.epsilon, 1e-7
            for optimizer, rate, epsilon in zip(self.optimizers, rates, epsilons, strict=True):
                optimizer.param_groups[0].update(lr=share * rate, eps=epsilon / correction)
            features, steps = torch.from_numpy(np.array(features, "float32")), len(rewards)
            with torch.no_grad():
                values = self.value(features)[:, 0]
            last = float(values[-1]) if method == "a2c" and not flag else 0.0
            returns = script.discounted_returns(rewards, settings.gamma, last)
            columns = rewards, returns, settings.gamma ** np.arange(steps)
            known = [torch.tensor(np.asarray(c, "float32")) for c in columns]
            ended = torch.zeros(steps)
            ended[-1] = flag
            pair = script.advantages(method, values[:-1], values[1:], *known, ended, settings.gamma)
            self.descend(0, self.policy_loss(features[:-1], actions, pair[0]))
            if method != "reinforce":
                errors = pair[1] - self.value(features[:-1])[:, 0]
                self.descend(1, (errors**2).sum() / script.STEPS)
            self.copy()

        def policy_loss(self, features, actions, advantage):
            mean, raw = self.actor(features).unbind(-1)
            std = nn.functional.softplus(raw) + settings.least_std
            noise = (torch.tensor(actions, dtype=torch.float32) - mean) / std
            spread = torch.full_like(noise, math.sqrt(1 - rho**2))
            spread[0] = 1
            earlier = torch.cat([torch.zeros(1), noise[:-1]])
            density = -0.5 * ((noise - rho * earlier) / spread) ** 2 - torch.log(std * spread)
            entropy = settings.beta * torch.log(std)
            return -(advantage * density + entropy).sum() / script.STEPS

        def descend(self, network, loss):
            self.optimizers[network].zero_grad()
            loss.backward()
            self.optimizers[network].step()

    def train(seed):
        torch.manual_seed(seed)
        rng, agent, steps = np.random.default_rng(seed), Agent(), 0
        for episode in range(args.episodes):
            noise = script.correlated_noise(rho, rng)
            *played, flag = script.run_episode(env, agent, rng, noise)
            agent.learn(*played, flag, share=1 - episode / args.episodes)
            steps += len(played[-1])
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


def ratios(contenders, dqn_episodes=None):
    """How many times as fast ours is as each other contender of its task, over the rounds.

    Args:
        contenders: from `rounds.play`.
        dqn_episodes: of a DQN's training, which are the updates of the book's loop; as many
            updates as ours if missing.

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
            book = [dqn_episodes] * len(ours["updates"])
            columns += (ours["steps"], book if who == "book" and dqn_episodes else ours["updates"])
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
    times = ratios(contenders, args.episodes // CART_SHARE)
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
