"""Policy gradients on MountainCarContinuous: a car too weak for the hill learns to swing up.

For each state, the policy gives a normal distribution, from which the action is drawn. Actions with
a better outcome than expected become more likely. Four methods differ in the weight of the
log-probability of an action, see `advantages`: REINFORCE, with baseline (-b), actor-critic (-a) and
A2C (-c). The networks see a state as 32 features, the code of an autoencoder that is trained first.

Realizes listing 10.1.1 of "Advanced Deep Learning with Keras" (R. Atienza), with 10.2.1 to 10.5.1.
Papers: Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning (1992), Machine Learning 8; Sutton et al., Policy Gradient Methods for Reinforcement
Learning with Function Approximation (1999), NIPS 12; Mnih et al., Asynchronous Methods for Deep
Reinforcement Learning (2016), arXiv:1602.01783.

With ENCODER for --encoder-weights=car_encoder.h5 (without it, an encoder is trained first):

    python3 policygradient-car-10.1.1.py ENCODER                    REINFORCE, 1,000 episodes
    python3 policygradient-car-10.1.1.py ENCODER -b --seeds 10      with baseline, ten runs
    python3 policygradient-car-10.1.1.py ENCODER -a                 actor-critic
    python3 policygradient-car-10.1.1.py ENCODER -c                 A2C
    python3 policygradient-car-10.1.1.py ENCODER -c --correlation 0     A2C with white noise
    python3 policygradient-car-10.1.1.py ENCODER --learning-rate 0  the untrained policy
    python3 policygradient-car-10.1.1.py -c --book                  A2C in the book's own form
    python3 policygradient-car-10.1.1.py -r                         random actions
    python3 policygradient-car-10.1.1.py ENCODER -c --actor-weights=car_a2c_actor.h5 --record

Result to expect of ten runs, seeds 0 to 9: each method reaches the flag in at least 99.9 % of the
episodes after the 200th. The mean reward of episodes 900 to 999 is 91.1 for A2C, 92.1 for
actor-critic, 92.8 for REINFORCE and 93.4 with baseline. A run takes less than 20 seconds on one CPU
core. In the book, only REINFORCE with baseline holds about 90, after an hour.

Departures from the printed listing. --book switches 2 to 9 off, and a flag switches off one:
 1. The listing scores a newly drawn action, which gives no gradient by the mean, and its entropy
    is a constant. Here the action taken is scored, and the entropy has a gradient.
 2. The listing's encoder sees raw states and neglects the velocity, which is thirty times smaller
    than the position. Here states and features are standardized (--no-standardize).
 3. The listing updates the networks after each step. Here an episode gives one update, the mean
    over its steps (--update-each-step).
 4. The listing's noise is white and hardly moves the car. Here it has the same distribution and a
    correlation of 0.9 from step to step (--correlation). The density of an action accounts for it.
 5. The listing's standard deviation falls to 1e-10, and a policy without noise stops learning.
    Here it is at least 0.1 (--least-std).
 6. The listing's learning rates are 0.001. Here they start at 0.005 for the actor and 0.3 for the
    value network, and decrease linearly to 0 (--learning-rate, --value-learning-rate, --no-decay).
 7. The listing's Adam has an epsilon of 1e-7. Here the actor's is 0.1 (--epsilon): Adam would
    otherwise scale up the small gradients of episodes without a flag.
 8. The listing's actor-critic gives no value to the state at the time limit. Here the critic's
    estimate counts (--no-bootstrap-at-limit).
 9. Except in A2C, the listing weights the value gradient by gamma^t (--discount-value).
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, program
from lib.run.settings import add_flags, changed, chosen, setting

ENV_ID = "MountainCarContinuous-v0"
EPISODES = 1000
GOAL = 90.0  # a run is solved if this is the mean reward of its last episodes
TEST_EPISODES = 100
A2C_GAMMA = 0.95


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters, each of which is a flag."""

    gamma: float = setting(0.99, "discount of later rewards, 0.95 for A2C", flags.fraction)
    beta: float = setting(0.9, "weight of A2C's entropy bonus")
    standardize: bool = setting(True, "standardize states and features")
    update_each_step: bool = setting(False, "update after each step")
    correlation: float = setting(0.9, "of the noise from step to step", flags.fraction)
    least_std: float = setting(0.1, "least standard deviation of the policy")
    learning_rate: float = setting(0.005, "of the actor")
    value_learning_rate: float = setting(0.3, "of the value network")
    decay: bool = setting(True, "let the learning rates decrease linearly to 0")
    epsilon: float = setting(0.1, "of the actor's Adam")
    bootstrap_at_limit: bool = setting(True, "the time limit is not an end for the actor-critic")
    discount_value: bool = setting(False, "weight the value gradient by gamma^t, except in A2C")


BOOK = Settings(
    standardize=False,
    update_each_step=True,
    correlation=0.0,
    least_std=1e-10,
    learning_rate=1e-3,
    value_learning_rate=1e-3,
    decay=False,
    epsilon=1e-7,
    bootstrap_at_limit=False,
    discount_value=True,
)


def parse_args():
    parser = flags.agents_parser(__doc__, env_id=ENV_ID, episodes=EPISODES)
    methods = parser.add_mutually_exclusive_group()
    for letter, method in zip("bacr", ("baseline", "actor_critic", "a2c", "random")):
        names = (f"-{letter}", f"--{method.replace('_', '-')}")
        methods.add_argument(*names, dest="method", action="store_const", const=method)
    for letter, network in zip("wye", ("actor", "value", "encoder")):
        names = (f"-{letter}", f"--{network}-weights", f"--{network}_weights")
        parser.add_argument(*names, metavar="FILE", help=f"weights of the {network}")
    parser.add_argument("-t", "--train", action="store_true", help="continue training the weights")
    parser.add_argument("--book", action="store_true", help="the book's own form, see departures")
    add_flags(parser, Settings)
    parser.set_defaults(method="reinforce")

    def check(args):
        if args.actor_weights and not args.encoder_weights:
            parser.error("--actor-weights needs --encoder-weights, which it was trained with")
        if args.value_weights and args.method in ("reinforce", "random"):
            parser.error(f"--value-weights: the method {args.method} has no value network")
        if args.train and not args.actor_weights:
            parser.error("--train continues the training of --actor-weights, which is missing")

    return parser.parse_args(check=check)


if __name__ == "__main__":
    args = parse_args()  # before the imports that take seconds

import math
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from lib.rl import agent_runs, agents, environments, reports, video
from lib.rl.state_encoder import FEATURES, load_or_train


def build_actor(least_std):
    """Features (batch, 32) -> mean and standard deviation of the action (batch, 2)."""
    features = keras.Input((FEATURES,), name="features")
    mean = layers.Dense(1, kernel_initializer="zeros", name="mean")(features)
    std = layers.Dense(1, "softplus", kernel_initializer="zeros", name="std")(features)
    std = layers.Rescaling(1.0, offset=least_std)(std)
    return keras.Model(features, layers.Concatenate()([mean, std]), name="actor")


def build_value():
    """Features (batch, 32) -> value of the state (batch, 1)."""
    features = keras.Input((FEATURES,), name="features")
    value = layers.Dense(1, kernel_initializer="zeros", name="value")(features)
    return keras.Model(features, value, name="value")


def policy_loss(beta):
    """Returns the loss -(advantage * log pi(a|s) + beta * entropy) of each step.

    Its targets (batch, 4) are the action, mean and standard deviation of the noise given the
    earlier noise, and the advantage. The action is distributed as N(mean + std * noise_mean,
    (std * noise_std)^2).
    """

    def loss(targets, policy):
        action, noise_mean, noise_std, advantage = ops.unstack(targets, axis=-1)
        mean, std = ops.unstack(policy, axis=-1)
        error = ((action - mean) / std - noise_mean) / noise_std
        log_std = ops.log(std * noise_std)
        log_probability = -0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi)
        entropy = log_std + 0.5 * math.log(2 * math.pi * math.e)
        return -(advantage * log_probability + beta * entropy)

    return loss


class Steps(NamedTuple):
    """Some steps of an episode."""

    features: np.ndarray  # (steps, 32) of the states
    next_features: np.ndarray  # (steps, 32) of the next states
    actions: np.ndarray  # (steps, 3) actions, mean and std of their noise given the earlier noise
    rewards: np.ndarray  # (steps,)
    returns: np.ndarray  # (steps,) discounted sums of the rewards from each step on
    discounts: np.ndarray  # (steps,) gamma^t
    ended: np.ndarray  # (steps,) 1 for the last step of an episode, else 0


def advantages(method, steps, values, next_values, gamma):
    """Returns the weights of the log-probabilities and the targets of the values (table 10.6.1).

    All have the shape (steps,). The value network gave `values` and `next_values`.
    """
    if method == "reinforce":
        return steps.discounts * steps.returns, steps.returns
    if method == "baseline":
        return steps.discounts * (steps.returns - values), steps.returns
    if method == "actor_critic":
        targets = steps.rewards + gamma * (1 - steps.ended) * next_values
        return steps.discounts * (targets - values), targets
    return steps.returns - values, steps.returns  # A2C


def discounted_returns(rewards, gamma, last):
    """R_t = r_t + gamma R_{t+1} for all steps; `last` is the return after the last step."""
    returns = np.empty(len(rewards), "float32")
    for t in reversed(range(len(rewards))):
        last = returns[t] = rewards[t] + gamma * last
    return returns


class PolicyAgent:
    """The actor and the value network of one method, and how they learn."""

    def __init__(self, method, encoder, settings):
        self.method, self.settings = method, settings
        self.encoder = agents.fingerprint(encoder)
        self.actor, self.value = build_actor(settings.least_std), build_value()

        beta = settings.beta if method == "a2c" else 0.0
        adam = keras.optimizers.Adam(settings.learning_rate, epsilon=settings.epsilon)
        self.actor.compile(adam, policy_loss(beta))
        adam = keras.optimizers.Adam(settings.value_learning_rate, epsilon=1e-7)
        self.value.compile(adam, "mse")
        self.policy = agents.NumpyPolicy(encoder, self.actor, self.value, settings.least_std)
        critic = {} if method == "reinforce" else {"value": self.value}
        self.networks = {"actor": self.actor, **critic}

    def decay(self, share):
        """Lowers the learning rates to the given share of their first values."""
        self.actor.optimizer.learning_rate = share * self.settings.learning_rate
        self.value.optimizer.learning_rate = share * self.settings.value_learning_rate

    def steps_of(self, episode, flag, limit=True, first=0):
        """Returns the `Steps` of an episode from `run_episode`, of which the first has number t."""
        features, next_features, actions, rewards = (np.array(x, "f") for x in zip(*episode))
        last = self.policy.value(next_features[-1]) if self.method == "a2c" and not flag else 0.0
        ended = np.zeros(len(rewards), "f")
        ended[-1] = flag or (limit and not self.settings.bootstrap_at_limit)
        returns = discounted_returns(rewards, self.settings.gamma, last)
        discounts = self.settings.gamma ** np.arange(first, first + len(rewards), dtype="f")
        return Steps(features, next_features, actions, rewards, returns, discounts, ended)

    def learn(self, steps):
        """Learns from an episode; as the listing does, step by step, for A2C from the last one."""
        if not self.settings.update_each_step:
            return self.update(steps)
        order = range(len(steps.rewards))
        for t in reversed(order) if self.method == "a2c" else order:
            facts = self.update(Steps(*(array[t : t + 1] for array in steps)))
        return facts

    def update(self, steps):
        """Updates the networks once, by the mean over the steps; returns facts for the log."""
        values, next_values = map(self.policy.value, (steps.features, steps.next_features))
        gamma = self.settings.gamma
        advantage, targets = advantages(self.method, steps, values, next_values, gamma)
        actions = np.column_stack([steps.actions, advantage])
        std = self.policy(steps.features)[1]
        entropy = np.log(std).mean() + 0.5 * math.log(2 * math.pi * math.e)
        rate = float(self.actor.optimizer.learning_rate)
        facts = {"learning_rate": rate, "std": std.mean(), "entropy": entropy}
        facts["policy_loss"] = agents.train_on_rows(self.actor, steps.features, actions)
        if self.method != "reinforce":
            discounted = self.settings.discount_value and self.method != "a2c"
            weight = steps.discounts if discounted else None
            facts["value_loss"] = agents.train_on_rows(self.value, steps.features, targets, weight)
            facts["explained_variance"] = 1 - np.var(targets - values) / (np.var(targets) + 1e-9)
        self.policy.update()
        return facts


class Noise:
    """AR(1) noise: z_t = rho z_{t-1} + sqrt(1 - rho^2) N(0, 1), so that each z_t is N(0, 1)."""

    def __init__(self, correlation, rng):
        self.correlation, self.rng = correlation, rng
        self.mean, self.std = 0.0, 1.0

    def __call__(self):
        """Draws z_t; returns it with its mean and standard deviation given z_{t-1}."""
        mean, std = self.mean, self.std
        z = mean + std * self.rng.normal()
        self.mean, self.std = self.correlation * z, math.sqrt(1 - self.correlation**2)
        return z, mean, std


def run_episode(env, policy, rng, noise=None, after_step=None):
    """Plays one episode; without `noise`, each action is the mean of its distribution.

    After each step, `after_step` is called with the steps so far and whether the flag was reached.
    Both are returned. A step is (features, next features, (action, noise mean, noise std), reward).
    """
    low, high = float(env.action_space.low[0]), float(env.action_space.high[0])
    state, _ = env.reset(seed=int(rng.integers(2**31)))
    features = policy.features(state)
    steps, flag, truncated = [], False, False
    while not (flag or truncated):
        mean, std = map(float, policy(features))
        z, noise_mean, noise_std = noise() if noise is not None else (0.0, 0.0, 1.0)
        action = mean + std * z
        force = np.array([min(max(action, low), high)], "float32")
        state, reward, flag, truncated, _ = env.step(force)
        next_features = policy.features(state)
        steps.append((features, next_features, (action, noise_mean, noise_std), float(reward)))
        features = next_features
        if after_step is not None:
            after_step(steps, flag)
    return steps, flag


def train(run, seed, agent, env_id, end):
    """Trains an agent and tests it without noise; returns the `TrainingRun`."""
    rng, settings = np.random.default_rng(seed), agent.settings
    env = environments.make_continuous(env_id, render_mode="human" if run.show else None)
    online = settings.update_each_step and agent.method == "actor_critic"
    facts = {}

    def learn_online(steps, flag):
        limit = len(steps) == env.spec.max_episode_steps
        facts.update(agent.update(agent.steps_of(steps[-1:], flag, limit, len(steps) - 1)))

    about = {"method": agent.method, "environment": env_id, "encoder": agent.encoder}
    fixed = {**about, **asdict(settings), "episodes": run.budget}
    networks = [*agent.networks.values()]
    with agent_runs.TrainingRun(run, seed, networks, rng, fixed) as training:
        agent.policy.update()
        flags = training.log[-1]["flags"] if training.log else 0
        while training.unfinished:
            if settings.decay:
                agent.decay(1 - len(training.log) / run.budget)
            noise, after_step = Noise(settings.correlation, rng), learn_online if online else None
            episode, flag = run_episode(env, agent.policy, rng, noise, after_step)
            if not online:
                facts = agent.learn(agent.steps_of(episode, flag))
            flags += flag
            training.add(
                steps=len(episode),
                reward=round(sum(reward for *_, reward in episode), 3),
                flag=int(flag),
                flags=flags,
                **{name: float(f"{value:.5g}") for name, value in facts.items()},
            )
    training.updates = int(agent.actor.optimizer.iterations)
    training.play = partial(reward_without_noise, policy=agent.policy)
    training.test = reports.test(env_id, training.play, TEST_EPISODES, seed, run.show)
    if seed == run.seed:
        agents.save_networks(run, agent.networks, f"car_{agent.method}", end, **about, seed=seed)
    return training


def reward_without_noise(env, rng, policy):
    """Plays one episode with the mean action of each state; returns its reward."""
    return sum(reward for *_, reward in run_episode(env, policy, rng)[0])


def load(run, agent, encoder, files, env_id):
    """Loads weights, if they are those of this agent; `files` is {network: file, or None}."""
    expected = {"method": agent.method, "environment": env_id, "encoder": agent.encoder}
    expected["least_std"] = agent.settings.least_std
    agents.load_networks(run, agent.networks, files, f"car_{agent.method}", expected, encoder)
    agent.policy.update()


def main(args):
    default = BOOK if args.book else Settings()
    if args.method == "a2c":
        default = replace(default, gamma=A2C_GAMMA)
    settings, differs = chosen(args, default), changed(args, default)
    end = ("-book" if args.book else "") + agent_runs.suffix("", "", differs, args.seed)
    end = agent_runs.suffix(args.env_id, ENV_ID, {}, 0) + end
    run = program.start(args, f"car_{args.method}{end}", __file__, **asdict(settings))
    film = video.filmed(args.env_id, args.record) if args.record else None
    if args.method == "random":
        reports.random_play(run, args.env_id)
        if film is not None:
            video.record(reports.random_reward, film, args.seed, run.folder / "agent", args.record)
        return
    space = environments.make_continuous(args.env_id).observation_space
    encoder_file = run.to_load(args.encoder_weights, "car_encoder.h5")
    saved = f"car_encoder{end}.h5"
    encoder = load_or_train(run, args.env_id, space, settings.standardize, encoder_file, saved)
    actor_file = run.to_load(args.actor_weights, f"car_{args.method}_actor.h5")
    files = {"actor": actor_file, "value": args.value_weights}

    def new_agent(seed):
        keras.utils.set_random_seed(seed)
        agent = PolicyAgent(args.method, encoder, settings)
        load(run, agent, encoder, files, args.env_id)
        return agent

    agent = new_agent(args.seed)
    states = keras.Input(space.shape, name="states")
    policy = keras.Model(states, agent.actor(encoder(states)), name="policy")
    if run.exported({"": policy}, inputs=(space.low, space.high)):
        return
    facts = {"env_id": args.env_id, "method": args.method, "settings": asdict(settings)}
    run.introduce(args.method, args.env_id, encoder, *agent.networks.values())
    if args.actor_weights and not args.train:
        play = partial(reward_without_noise, policy=agent.policy)
        rewards = reports.test(args.env_id, play, TEST_EPISODES, args.seed, run.show)
        reports.evaluation(run, rewards, **facts)
    else:
        trained = agent_runs.run_seeds(
            args.seed, args.seeds, lambda seed: train(run, seed, new_agent(seed), args.env_id, end)
        )
        play = trained[args.seed].play
        reports.policies(run, trained, GOAL, **facts)
    if film is not None:
        video.record(play, film, args.seed, run.folder / "agent", args.record)


if __name__ == "__main__":
    program.run(main, args)
