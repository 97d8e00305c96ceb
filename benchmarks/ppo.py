"""PPO on MountainCarContinuous, a modern reference for the policy gradients of chapter 10.

    taskset -c 0 python3 benchmarks/ppo.py                     three runs of 131,072 steps
    python3 benchmarks/ppo.py --seeds 1 --steps 20480          # a short one
    python3 benchmarks/ppo.py --output FILE.json

Proximal policy optimization clips the change of the policy, so that several passes over the same
steps stay safe. The advantages are a mean over horizons (generalized advantage estimation).
Papers: Schulman et al., Proximal Policy Optimization Algorithms (2017), arXiv:1707.06347; Schulman
et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation (2016),
arXiv:1506.02438.

The settings are the defaults of cleanrl's ppo_continuous_action.py, with two differences: eight
environments take 256 steps each before an update, where cleanrl has one with 2,048 steps; and a run
has 131,072 steps, over which the learning rate decreases to 0. It uses the states without an
encoder. After the training, 100 test episodes take the mean action of each state. The seconds are
those of the processor, so that other work on the machine does not count.
"""

import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, kinds, program

ENV_ID = "MountainCarContinuous-v0"
TOTAL_STEPS = 131_072  # about as many as 1,000 episodes of A2C
ENVIRONMENTS = 8
STEPS = 256  # of each environment, before an update
EPOCHS = 10
BATCH_SIZE = 64
GAMMA = 0.99
LAMBDA = 0.95
CLIP = 0.2
VALUE_WEIGHT = 0.5
LEARNING_RATE = 3e-4
GRADIENT_NORM = 0.5
TEST_EPISODES = 100
LARGEST = 10  # of a normalized state or reward


def parse_args():
    parser = flags.Parser(__doc__, keras=True)
    parser.add_argument("--seed", type=kinds.seed_int, default=0, help="the first one (default 0)")
    parser.add_argument("--seeds", type=kinds.positive_int, default=3, help="(default 3)")
    parser.add_argument("--steps", type=kinds.positive_int, default=TOTAL_STEPS, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()

import gymnasium as gym
import keras
import numpy as np
from keras import layers, ops

from lib.engine.backends import feed
from lib.engine.step import AlternatingModel
from lib.files import records
from lib.measure.intervals import with_interval
from lib.rl import reports


class Deviation(layers.Layer):
    """Appends the logarithm of the standard deviation, which is the same for all states."""

    def build(self, input_shape):
        self.log_std = self.add_weight(shape=(1,), initializer="zeros", name="log_std")

    def call(self, means):
        return ops.concatenate([means, ops.broadcast_to(self.log_std, ops.shape(means))], axis=-1)


def build_network(state_size, gain, name):
    """States (batch, state_size) -> one number (batch, 1)."""
    states = x = keras.Input((state_size,), name="states")
    for units, scale in ((64, math.sqrt(2)), (64, math.sqrt(2)), (1, gain)):
        activation = "tanh" if units > 1 else None
        start = keras.initializers.Orthogonal(scale)
        x = layers.Dense(units, activation, kernel_initializer=start)(x)
    return keras.Model(states, x, name=name)


def tanh_layers(arrays, x):
    """Applies Dense layers in NumPy: tanh after all but the last."""
    for kernel, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        x = np.tanh(x @ kernel + bias)
    return (x @ arrays[-2] + arrays[-1])[..., 0]


def log_density(means, log_std, actions):
    """The log-density (batch,) of actions of a normal distribution."""
    return -0.5 * ((actions - means) / ops.exp(log_std)) ** 2 - log_std - math.log(2 * math.pi) / 2


class Normal:
    """Running mean and variance, and values that they rescale."""

    def __init__(self, shape=()):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def add(self, values):
        """Adds values (rows, ...)."""
        mean, var, rows = values.mean(0), values.var(0), len(values)
        total, delta = self.count + rows, mean - self.mean
        spread = delta**2 * self.count * rows / total
        self.var = (self.var * self.count + var * rows + spread) / total
        self.mean, self.count = self.mean + delta * rows / total, total

    def scale(self, values, center=True):
        """Divides by the deviation, after subtracting the mean if `center`."""
        shifted = values - self.mean if center else values
        return np.clip(shifted / np.sqrt(self.var + 1e-8), -LARGEST, LARGEST).astype("float32")


class PPO(AlternatingModel):
    """Actor, critic, and the update of a batch of steps."""

    def __init__(self, state_size, updates):
        super().__init__("ppo")
        self.mean_network = build_network(state_size, 0.01, "actor")
        self.actor = keras.Model(self.mean_network.input, Deviation()(self.mean_network.output))
        self.critic = build_network(state_size, 1.0, "critic")
        rate = keras.optimizers.schedules.PolynomialDecay(LEARNING_RATE, updates, 0.0)
        adam = keras.optimizers.Adam(rate, epsilon=1e-5, global_clipnorm=GRADIENT_NORM)
        self.adam = self.bind(adam, self.actor, self.critic)
        self.copy()

    def copy(self):
        """Copies the weights into NumPy arrays, which act and value states."""
        *self.actor_weights, log_std = self.actor.get_weights()
        self.critic_weights, self.std = self.critic.get_weights(), math.exp(log_std[0])

    def step(self, states, columns):
        """One update from a batch; the columns are those of `learn`."""
        actions, densities, advantages, returns, values = ops.unstack(columns, axis=1)
        advantages = (advantages - ops.mean(advantages)) / (ops.std(advantages) + 1e-8)

        def loss():
            means, log_std = ops.unstack(self.actor(states), axis=-1)
            ratio = ops.exp(log_density(means, log_std, actions) - densities)
            clipped = ops.clip(ratio, 1 - CLIP, 1 + CLIP)
            gain = ops.minimum(ratio * advantages, clipped * advantages)
            value = self.critic(states)[:, 0]
            near = values + ops.clip(value - values, -CLIP, CLIP)
            errors = ops.maximum((value - returns) ** 2, (near - returns) ** 2)
            return -ops.mean(gain) + VALUE_WEIGHT * 0.5 * ops.mean(errors)

        self.log(loss=self.minimize(self.adam, loss))

    def learn(self, states, columns, rng):
        """Learns from steps in several passes.

        Args:
            states: (steps, state_size).
            columns: (steps, 5): the actions, their log-densities, the advantages, the returns and
                the values of the states.
            rng: NumPy generator.
        """
        rows = np.concatenate([rng.permutation(len(states)) for _ in range(EPOCHS)])
        self.fit(**feed({"x": (states[rows], columns[rows])}, BATCH_SIZE), verbose=0)
        self.copy()


def advantages_and_returns(rewards, ended, values, last):
    """Generalized advantage estimation, for arrays (steps, environments).

    Args:
        rewards, ended, values: of each step, and of the state before it.
        last: the values (environments,) after the last step.
    """
    advantages, later = np.zeros_like(values), 0.0
    for t in reversed(range(len(values))):
        going_on = 1 - ended[t]
        error = rewards[t] + GAMMA * going_on * last - values[t]
        advantages[t] = later = error + GAMMA * LAMBDA * going_on * later
        last = values[t]
    return advantages, advantages + values


def train(seed, total):
    """Trains an agent; returns the facts of the run."""
    keras.utils.set_random_seed(seed)
    rng, started = np.random.default_rng(seed), time.process_time()
    env = gym.make_vec(
        ENV_ID,
        ENVIRONMENTS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    iterations = max(1, total // (ENVIRONMENTS * STEPS))
    updates = iterations * EPOCHS * (ENVIRONMENTS * STEPS // BATCH_SIZE)
    size = env.single_observation_space.shape[0]
    agent, of_states, of_returns = PPO(size, updates), Normal((size,)), Normal()
    low, high = env.single_action_space.low, env.single_action_space.high
    raw, _ = env.reset(seed=seed)
    running, discounted = np.zeros(ENVIRONMENTS), np.zeros(ENVIRONMENTS)
    finished, flags, first_flag, steps = [], 0, None, 0
    for _ in range(iterations):
        rows = []
        for _ in range(STEPS):
            of_states.add(raw)
            states = of_states.scale(raw)
            means = tanh_layers(agent.actor_weights, states)
            actions = means + agent.std * rng.normal(size=ENVIRONMENTS)
            densities = np.asarray(log_density(means, math.log(agent.std), actions))
            values = tanh_layers(agent.critic_weights, states)
            raw, rewards, terminated, truncated, _ = env.step(np.clip(actions[:, None], low, high))
            ended = terminated | truncated
            steps += ENVIRONMENTS
            running += rewards
            discounted = GAMMA * discounted + rewards
            of_returns.add(discounted)
            scaled = of_returns.scale(rewards, center=False)
            rows.append((states, actions, densities, values, scaled, ended))
            finished += running[ended].tolist()
            flags += int(terminated.sum())
            if first_flag is None and terminated.any():
                first_flag = steps
            running[ended] = discounted[ended] = 0.0
        states, actions, densities, values, scaled, ended = map(np.array, zip(*rows, strict=True))
        last = tanh_layers(agent.critic_weights, of_states.scale(raw))
        pair = advantages_and_returns(scaled, ended, values, last)
        columns = np.stack([actions, densities, *pair, values], axis=-1).astype("float32")
        agent.learn(states.reshape(-1, size), columns.reshape(-1, columns.shape[-1]), rng)
    seconds = time.process_time() - started

    def play(env, rng):
        state, _ = env.reset(seed=int(rng.integers(2**31)))
        reward, done = 0.0, False
        while not done:
            action = tanh_layers(agent.actor_weights, of_states.scale(state))
            state, gained, terminated, truncated, _ = env.step(np.clip([action], low, high))
            reward, done = reward + float(gained), terminated or truncated
        return reward

    test = reports.test(ENV_ID, play, TEST_EPISODES, seed)
    return {
        "environment_steps": steps,
        "episodes": len(finished),
        "flag_reached": round(flags / max(1, len(finished)), 4),
        "first_flag_step": first_flag,
        "reward_last": round(float(np.mean(finished[-100:])), 2) if finished else None,
        "test_reward": round(float(np.mean(test)), 2),
        "cpu_seconds": round(seconds, 1),
    }


def main(args):
    seeds = {}
    for seed in range(args.seed, args.seed + args.seeds):
        seeds[seed] = train(seed, args.steps)
        print(f"seed {seed}: {seeds[seed]}", flush=True)
    if args.output:
        records.record(
            args.output,
            seed=args.seed,
            env_id=ENV_ID,
            runs=len(seeds),
            environment_steps=seeds[args.seed]["environment_steps"],
            test_episodes=TEST_EPISODES,
            test_reward=with_interval([each["test_reward"] for each in seeds.values()]),
            cpu_seconds=with_interval([each["cpu_seconds"] for each in seeds.values()]),
            seeds=seeds,
        )


if __name__ == "__main__":
    program.run(main, args)
