"""Environment steps per second of the agents that learn, side by side in one run.

    python3 benchmarks/rl.py                          5 rounds of 2,000 steps
    python3 benchmarks/rl.py --output FILE.json

Two tasks, `dqn` on CartPole-v0 and `policy`, A2C on MountainCarContinuous-v0. The contenders:

    ours     the script's own episodes and updates
    torch    DQN alone: a plain PyTorch loop of the shape that cleanrl's dqn.py has, with a call of
             the network for each step and the same number of updates on batches of the same size;
             with one thread and with all, shown in the faster
    book     the shape of the book's loops on the same networks: predict() for each state and for
             each sample of a batch, fit() for each update; on a short stretch only

The DQN learns from one batch of 64 for every two steps in all contenders. The policy gradient
learns once an episode in ours, and at each step in the book's. The contenders take turns, see
rounds.py.
"""

import itertools
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from benchmarks.rounds import load_script
from lib import cli

ROUNDS = 5
STEPS = 2000
BOOK_STEPS = 4  # of the book's loops, in a round
STEPS_PER_UPDATE = 2
CART = "chapter9-drl/dqn-cartpole-9.6.1.py"
CAR = "chapter10-policy/policygradient-car-10.1.1.py"
CONTENDERS = ("dqn ours", "dqn torch", "dqn book", "policy ours", "policy book")
EPSILON = 0.1


def parse_args():
    return rounds.parser(__doc__, ROUNDS, STEPS).parse_args()


def keras_facts():
    import keras
    import tensorflow as tf

    from lib import results

    return {
        "device": results.device(),
        "commit": results.COMMIT,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def timed(play, steps):
    """Milliseconds per step of `play(steps)`, which returns how many it really took."""
    started = time.perf_counter()
    taken = play(steps)
    return 1000 * (time.perf_counter() - started) / taken


def dqn_ours(steps):
    script = load_script(CART)
    env, state_size, actions = script.make_env(script.ENV_ID)
    settings = script.Settings()
    dqn = script.build_dqn(state_size, actions, settings)
    memory = script.Memory(10_000, state_size)
    rng = np.random.default_rng(0)

    def play(steps):
        taken = replayed = 0
        while taken < steps:
            arrays = dqn.q_network.get_weights()
            taken += int(script.run_episode(env, arrays, EPSILON, rng, memory))
            while replayed + settings.replays <= taken // STEPS_PER_UPDATE:
                _, replayed = script.replay(dqn, memory, rng, replayed)
        return taken

    play(200)
    return keras_facts(), lambda: {"": timed(play, steps)}


def dqn_torch(steps):
    import torch
    from torch import nn

    script = load_script(CART)
    env, state_size, actions = script.make_env(script.ENV_ID)
    settings = script.Settings()

    def network():
        sizes = (state_size, *script.HIDDEN_LAYERS)
        hidden = [
            layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())
        ]
        return nn.Sequential(*hidden, nn.Linear(sizes[-1], actions))

    q_network, target_network = network(), network()
    target_network.load_state_dict(q_network.state_dict())
    optimizer = torch.optim.Adam(q_network.parameters(), lr=settings.learning_rate)
    memory = script.Memory(10_000, state_size)
    rng = np.random.default_rng(0)

    def update():
        batch = memory.sample(script.BATCH_SIZE, rng)
        states, chosen, rewards, next_states, ended = (torch.from_numpy(part) for part in batch)
        with torch.no_grad():
            best = target_network(next_states).max(dim=1).values
            targets = rewards + settings.gamma * best * (1 - ended)
        values = q_network(states).gather(1, chosen.long()[:, None]).squeeze()
        loss = nn.functional.huber_loss(values, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def play(steps):
        state, _ = env.reset(seed=0)
        for step in range(1, steps + 1):
            if rng.random() < EPSILON:
                action = int(rng.integers(actions))
            else:
                with torch.no_grad():
                    action = int(q_network(torch.from_numpy(state)).argmax())
            next_state, reward, terminated, truncated, _ = env.step(action)
            memory.remember(state, action, reward, next_state, terminated)
            state = env.reset()[0] if terminated or truncated else next_state
            if step % STEPS_PER_UPDATE == 0:
                update()
            if step % (STEPS_PER_UPDATE * settings.target_update) == 0:
                target_network.load_state_dict(q_network.state_dict())
        return steps

    play(200)
    threads = sorted({1, torch.get_num_threads()})

    def round_of_all():
        values = {}
        for count in threads:
            torch.set_num_threads(count)
            values[f"{count} thread{'s' if count > 1 else ''}"] = timed(play, steps)
        return values

    return {"versions": {"torch": torch.__version__}}, round_of_all


def dqn_book(steps):
    script = load_script(CART)
    env, state_size, actions = script.make_env(script.ENV_ID)
    q_network = script.build_q_network(state_size, actions)
    target_network = script.build_q_network(state_size, actions, "target_network")
    q_network.compile(optimizer="adam", loss="mse")
    memory = script.Memory(10_000, state_size)
    rng = np.random.default_rng(0)

    def values(network, state):
        # A call for each state is what the book's loop does, and what is measured here.
        return network.predict(state[None], verbose=0)[0]

    def play(steps):
        state, _ = env.reset(seed=0)
        for step in range(1, steps + 1):
            action = int(values(q_network, state).argmax())
            next_state, reward, terminated, truncated, _ = env.step(action)
            memory.remember(state, action, reward, next_state, terminated or truncated)
            state = env.reset()[0] if terminated or truncated else next_state
            if step % STEPS_PER_UPDATE == 0:
                batch = memory.sample(script.BATCH_SIZE, rng)
                wanted = []
                for s, a, r, following, ended in zip(*batch, strict=True):
                    q = values(q_network, s)
                    q[a] = r + 0.9 * (1 - ended) * values(target_network, following).max()
                    wanted.append(q)
                q_network.fit(batch[0], np.array(wanted), batch_size=64, verbose=0)
        return steps

    play(2)
    return keras_facts(), lambda: {"": timed(play, min(steps, BOOK_STEPS))}


def car_networks(script):
    """The mountain car, an untrained encoder and the script's agent."""
    env = script.make_env(script.ENV_ID)
    encoder = script.build_encoder(env.observation_space.shape[0])
    return env, encoder, script.build_agent("a2c", script.Settings(), 1000)


def policy_ours(steps):
    script = load_script(CAR)
    env, encoder, agent = car_networks(script)
    networks = script.Networks(encoder, agent)
    rng = np.random.default_rng(0)
    settings = script.Settings()
    noise = script.Noise(settings.correlation, rng)

    def play(steps):
        taken = 0
        while taken < steps:
            episode = script.run_episode(env, networks, rng, settings, noise)
            taken += len(episode.rewards)
            script.learn(agent, script.steps_of(episode, agent, networks, settings), settings)
            networks.update()
        return taken

    play(steps)
    return keras_facts(), lambda: {"": timed(play, steps)}


def policy_book(steps):
    script = load_script(CAR)
    env, encoder, agent = car_networks(script)
    agent.actor.compile(optimizer="adam", loss=["mse", "mse"])
    agent.value.compile(optimizer="adam", loss="mse")

    def play(steps):
        state, _ = env.reset(seed=0)
        for _ in range(steps):
            features = encoder.predict(state[None], verbose=0)
            mean, deviation = agent.actor.predict(features, verbose=0)
            value = agent.value.predict(features, verbose=0)
            force = np.clip(np.random.normal(mean, deviation), -1, 1).astype("float32")
            state, reward, *_ = env.step(force)
            # Any loss will do: the time goes into the calls.
            agent.actor.fit(features, [mean, deviation], verbose=0)
            agent.value.fit(features, value + reward, verbose=0)
        return steps

    play(2)
    return keras_facts(), lambda: {"": timed(play, min(steps, BOOK_STEPS))}


def main(args):
    if args.contender:
        play = globals()[args.contender.replace(" ", "_")]
        rounds.contend(lambda: play(args.steps))
        return
    rounds.check_output(args.output)
    contenders = rounds.play(__file__, CONTENDERS, {"--steps": args.steps}, args.rounds)
    table = {}
    for name, contender in contenders.items():
        variant, values = contender.fastest()
        table[name] = {
            "steps_per_second": round(1000 / statistics.median(values), 3),
            **rounds.times(values, 4),
            "peak_rss_mb": round(contender.peak_rss_mb),
        }
        if variant:
            table[name]["threads"] = variant
        print(f"{name:<14}{table[name]['steps_per_second']:>12,.1f} steps per second")
    times = {
        task: round(
            table[f"{task} ours"]["steps_per_second"] / table[f"{task} book"]["steps_per_second"]
        )
        for task in ("dqn", "policy")
    }
    print(f"Faster than the book's loops: DQN {times['dqn']} times, A2C {times['policy']} times")
    rounds.record(
        args,
        contenders,
        threads=os.environ.get("OMP_NUM_THREADS", "all"),
        book_steps=BOOK_STEPS,
        contenders=table,
        times_the_book=times,
    )


if __name__ == "__main__":
    args = parse_args()
    cli.run(main, args)
