"""Q-learning on a grid of 2x3 cells: a table learns what each move is worth.

The agent starts in the upper left cell. Stepping right from its upper middle cell it finds the goal
(+100), stepping right from the lower middle cell it falls into the hole (-100); both end the
episode, and a wall keeps it where it is. The terminal shows each step and the table after it.

    +-------+-------+-------+
    | start |       | goal  |
    +-------+-------+-------+
    |       |       | hole  |
    +-------+-------+-------+

Realizes listing 9.3.1 of "Advanced Deep Learning with Keras" (R. Atienza).
Thesis: Watkins, Learning from Delayed Rewards (1989).

    python3 q-learning-9.3.1.py              watch 10 wins, one second a step
    python3 q-learning-9.3.1.py --delay 0.1  the same, faster
    python3 q-learning-9.3.1.py --train      2,000 wins without a pause, and the table they leave

Result to expect of --train: the exact values, in 0.1 seconds. The row of the start cell, Left 81.0,
Down 72.9, Right 90.0, Up 81.0, is exact with each of the seeds 0 to 99, the whole table with 35 of
them, 0 among these: with the others a move or two far from the best way was tried too seldom.

Departures from the printed listing, and why:
 1. The screen is cleared by an ANSI code and not by a shell command, and only where it is a
    terminal. Elsewhere nobody watches, so there is no pause between the steps either.
 2. Equal values are told apart by chance. The first of them would be Left, which leads nowhere.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import cli

GAMMA = 0.9
EPSILON = 0.9
EPSILON_DECAY = 0.9  # an episode
EPSILON_MIN = 0.1
EPISODES = 100
WINS = 10
TRAIN_WINS = 2000
DELAY = 1.0  # seconds
ACTIONS = ("Left", "Down", "Right", "Up")
ROWS, COLUMNS = 2, 3
START, GOAL, HOLE = 0, 2, 5
REWARDS = {GOAL: 100.0, HOLE: -100.0}


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "-t", "--train", action="store_true", help=f"{TRAIN_WINS:,} wins, only the table is shown"
    )
    parser.add_argument(
        "--delay",
        type=cli.seconds,
        default=DELAY,
        help=f"seconds between two steps (default {DELAY:g})",
    )
    parser.add_argument(
        "--seed", type=cli.seed_int, default=0, help="makes a run repeat (default %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()  # before the imports, as in every script

import numpy as np
from termcolor import colored


def step(state, action):
    """Returns the cell that the action leads to, the reward, and whether the episode ends."""
    row, column = divmod(state, COLUMNS)
    if ACTIONS[action] == "Left":
        column = max(column - 1, 0)
    elif ACTIONS[action] == "Down":
        row = min(row + 1, ROWS - 1)
    elif ACTIONS[action] == "Right":
        column = min(column + 1, COLUMNS - 1)
    else:
        row = max(row - 1, 0)
    state = row * COLUMNS + column
    return state, REWARDS.get(state, 0.0), state in REWARDS


class QAgent:
    """The table of values, one row a cell and one column an action, and how it is used."""

    def __init__(self, seed):
        self.q_table = np.zeros((ROWS * COLUMNS, len(ACTIONS)))
        self.epsilon = EPSILON
        self.rng = np.random.default_rng(seed)

    def act(self, state):
        """Returns a random action with probability epsilon, else the one of the highest value."""
        if self.rng.random() < self.epsilon:
            return self.rng.integers(len(ACTIONS))
        values = self.q_table[state]
        return self.rng.choice(np.flatnonzero(values == values.max()))

    def update_q_table(self, state, action, reward, next_state):
        """Q(s, a) = r + gamma max Q(s', .). The rows of goal and hole stay zero: they end it."""
        self.q_table[state, action] = reward + GAMMA * self.q_table[next_state].max()

    def update_epsilon(self):
        """Explores less after each episode."""
        self.epsilon = max(EPSILON_MIN, self.epsilon * EPSILON_DECAY)


def format_world(agent_at):
    """The grid, with the agent in it."""
    marks = {START: " ", GOAL: colored("G", "green"), HOLE: colored("H", "red")}
    line = "-" * (4 * COLUMNS + 1)
    lines = [line]
    for row in range(ROWS):
        cells = range(row * COLUMNS, (row + 1) * COLUMNS)
        shown = [colored("o", "blue") if c == agent_at else marks.get(c, " ") for c in cells]
        lines += ["| " + " | ".join(shown) + " |", line]
    return "\n".join(lines)


def format_q_table(q_table):
    """The table, the best value of each row in green."""
    lines = ["Q-table (epsilon-greedy)", "  cell" + "".join(f"{name:>8}" for name in ACTIONS)]
    for state, values in enumerate(q_table):
        cells = [
            colored(f"{value:8.1f}", "green") if value == values.max() > 0 else f"{value:8.1f}"
            for value in values
        ]
        lines.append(f" ({state // COLUMNS},{state % COLUMNS})" + "".join(cells))
    return "\n".join(lines)


def show(agent, state, title, delay):
    """Draws grid and table, over the former ones where there is a terminal, and waits."""
    in_terminal = sys.stdout.isatty()
    print("\x1b[2J\x1b[H" if in_terminal else "", end="")
    print(f"{title}\n{format_world(state)}\n{format_q_table(agent.q_table)}\n", flush=True)
    if in_terminal:
        time.sleep(delay)


def main(args):
    agent = QAgent(args.seed)
    wins = episode = 0
    most_wins = TRAIN_WINS if args.train else WINS
    while wins < most_wins and (args.train or episode < EPISODES):
        state, done, steps = START, False, 0
        episode += 1
        while not done:
            action = agent.act(state)
            next_state, reward, done = step(state, action)
            agent.update_q_table(state, action, reward, next_state)
            state = next_state
            steps += 1
            if not args.train:
                title = f"episode {episode}, wins {wins}, epsilon {agent.epsilon:.2f}, step {steps}"
                show(agent, state, f"{title}: {ACTIONS[action]}, reward {reward:g}", args.delay)
        wins += state == GOAL
        agent.update_epsilon()
    print(f"{wins:,} wins in {episode:,} episodes")
    print(format_q_table(agent.q_table))


if __name__ == "__main__":
    cli.run(main, args)
