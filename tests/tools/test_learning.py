"""The gifs of what agents have learned after some episodes."""

import numpy as np
import pytest

from tools import learning


def test_a_short_episode_waits_at_its_last_frame():
    dark, light = (np.full((60, 90, 3), level, "uint8") for level in (0, 255))
    pictures = learning.side_by_side({"a": [light, dark, dark], "b": [light]})
    assert [picture.size for picture in pictures] == [(60, 20 + learning.LABEL)] * 3
    rows = [np.asarray(picture.convert("L"))[-10] for picture in pictures]
    assert [row[15] for row in rows] == [255, 0, 0]
    assert [row[45] for row in rows] == [255] * 3


@pytest.mark.parametrize("chapter", [9, 10])
def test_the_agent_is_kept_after_some_episodes(chapter, tmp_path, monkeypatch):
    load, agents = learning.load_script, []

    def load_short(path):
        script = load(path)
        script.EPISODES = 3
        return script

    def episode(play, env_id):
        agent = play.__self__
        arrays = agent.weights if chapter == 9 else agent.policy.actor_weights
        agents.append([array.copy() for array in arrays])
        return [env_id]

    monkeypatch.setattr(learning, "AFTER", (0, 2))
    monkeypatch.setattr(learning, "load_script", load_short)
    monkeypatch.setattr(learning, "episode", episode)
    _, train = learning.CHAPTERS[chapter]
    assert sorted(train(tmp_path)) == [0, 2, 3]
    last, first, second = (np.concatenate([a.ravel() for a in each]) for each in agents)
    assert np.any(first != second) and np.any(second != last) and np.any(first != last)


def test_episodes_of_an_agent_start_alike():
    starts = []

    def play(env, rng):
        starts.append(env.reset(seed=int(rng.integers(2**31)))[0])
        env.step(0)
        return 0.0

    frames = [learning.episode(play, "CartPole-v0") for _ in range(2)]
    np.testing.assert_array_equal(*starts)
    assert len(frames[0]) == 2 and frames[0][0].shape == (400, 600, 3)
