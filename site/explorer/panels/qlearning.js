// Chapter 9: the Q-table of listing 9.3.1 learns step by step.
import { ACTIONS, COLUMNS, GAMMA, GOAL, HOLE, QAgent, ROWS, START, step } from "../gridworld.js";
import { generator } from "../random.js";
import { announcer, player, slider } from "../ui.js";

const CELL = 150;
// Left, down, right, up: the triangle of an action within its cell, and where its value is written.
const TRIANGLES = [
  ["0,0 75,75 0,150", 31, 76],
  ["0,150 75,75 150,150", 75, 132],
  ["150,0 75,75 150,150", 119, 76],
  ["0,0 75,75 150,0", 75, 18],
];

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const number = (value) => value.toFixed(1).replace("-", "−");

/** The grid as SVG: each cell with the values of its four actions. */
function drawWorld(table, agentAt) {
  const parts = [];
  for (let cell = 0; cell < ROWS * COLUMNS; cell++) {
    const [x, y] = [(cell % COLUMNS) * CELL, Math.floor(cell / COLUMNS) * CELL];
    parts.push(`<g transform="translate(${x},${y})">`);
    if (cell === GOAL || cell === HOLE) {
      const [name, fill] = cell === GOAL ? ["goal", "--good"] : ["hole", "--bad"];
      parts.push(`<rect width="${CELL}" height="${CELL}" fill="var(${fill})" opacity="0.25"/>`);
      parts.push(`<text x="75" y="38" text-anchor="middle" font-size="24">${name}</text>`);
    } else {
      TRIANGLES.forEach(([points, tx, ty], action) => {
        const value = table[cell][action];
        const fill = value < 0 ? "--bad" : "--good";
        const strength = Math.min(Math.abs(value) / 100, 1) * 0.75;
        parts.push(`<polygon points="${points}" fill="var(${fill})" fill-opacity="${strength}" stroke="var(--line)"/>`);
        parts.push(
          `<text x="${tx}" y="${ty}" text-anchor="middle" dominant-baseline="middle" font-size="14">${number(value)}</text>`,
        );
      });
    }
    parts.push(`<rect width="${CELL}" height="${CELL}" fill="none" stroke="var(--soft)"/></g>`);
  }
  const [x, y] = [(agentAt % COLUMNS) * CELL + 75, Math.floor(agentAt / COLUMNS) * CELL + 75];
  parts.push(`<circle class="agent" cx="${x}" cy="${y}" r="17" fill="var(--accent)" stroke="var(--panel)" stroke-width="4"/>`);
  return `<svg viewBox="-2 -2 ${COLUMNS * CELL + 4} ${ROWS * CELL + 4}">${parts.join("")}</svg>`;
}

function tableRows(table, changed) {
  return table
    .map((values, cell) => {
      const best = Math.max(...values);
      const cells = values.map((value, action) => {
        const marks = [
          value === best && value > 0 ? "best" : "",
          changed && changed[0] === cell && changed[1] === action ? "changed" : "",
        ];
        return `<td class="${marks.join(" ").trim()}">${number(value)}</td>`;
      });
      const place = `${Math.floor(cell / COLUMNS)}, ${cell % COLUMNS}`;
      return `<tr><th scope="row">${place}</th>${cells.join("")}</tr>`;
    })
    .join("");
}

export async function start(panel) {
  const find = (name) => panel.querySelector(name);
  const announce = announcer(find(".status"));
  let agent;
  let state;
  let counts;
  let seed = 2; // its first episode ends in the hole

  function show({ text, changed }) {
    find(".world").innerHTML = drawWorld(agent.table, state);
    const place = `row ${Math.floor(state / COLUMNS) + 1}, column ${(state % COLUMNS) + 1}`;
    find(".world").setAttribute("aria-label", `grid of 2 x 3 cells, the agent in ${place}`);
    find(".q tbody").innerHTML = tableRows(agent.table, changed);
    find(".facts").textContent =
      `${counted(counts.episodes, "episode")}, ${counted(counts.wins, "win")}, ` +
      `${Math.round(100 * agent.epsilon)} % of the actions are random`;
    find(".update").textContent = text;
    announce(text);
  }

  /** One step of the agent, or a new episode after the last one; returns what `show` needs. */
  function move() {
    if (state === GOAL || state === HOLE) {
      state = START;
      return { text: "A new episode begins." };
    }
    const from = state;
    const action = agent.act(from);
    const { next, reward, done } = step(from, action);
    const best = Math.max(...agent.table[next]);
    agent.update(from, action, reward, next);
    state = next;
    if (done) {
      counts.episodes += 1;
      counts.wins += next === GOAL;
      agent.endEpisode();
    }
    const cell = `(${Math.floor(from / COLUMNS)}, ${from % COLUMNS})`;
    const text =
      `Q(${cell}, ${ACTIONS[action]}) ← ${number(reward)} + ${GAMMA} × ${number(best)}` +
      ` = ${number(agent.table[from][action])}`;
    return { text, changed: [from, action] };
  }

  function reset() {
    agent = new QAgent(generator(seed));
    state = START;
    counts = { episodes: 0, wins: 0 };
    show({ text: "All values are 0. Take a step." });
  }

  const speed = slider(find(".speed"), () => {});
  let waited = 0;
  const play = player(find(".play"), ["Play", "Pause"], async (seconds) => {
    waited += seconds;
    if (waited < 1 / speed()) return;
    waited = 0;
    show(move());
  });
  find(".step").addEventListener("click", () => {
    play(false);
    show(move());
  });
  find(".many").addEventListener("click", () => {
    play(false);
    const end = counts.episodes + 100;
    let last;
    while (counts.episodes < end) last = move();
    show(last);
  });
  find(".reset").addEventListener("click", () => {
    play(false);
    seed += 1;
    reset();
  });
  reset();
}
