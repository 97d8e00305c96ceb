// Shows episodes at the pace of their world, while the training runs ahead.

const PAUSE = 0.3; // seconds between two episodes

export class Replay {
  /**
   * @param {HTMLElement} panel outside of the window, nothing is drawn
   * @param {Object} start the state that is shown before the first episode
   * @param {number} pace steps a second
   * @param {function(Object): void} draw draws {path, episode, at: number of the step}
   */
  constructor(panel, start, pace, draw) {
    Object.assign(this, { start, pace, draw, previous: 0 });
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.clear();
    let visible = false;
    const frame = (now) => {
      if (!visible) return;
      this.move((now - this.previous) / 1000);
      this.previous = now;
      requestAnimationFrame(frame);
    };
    new IntersectionObserver(([{ isIntersecting }]) => {
      if (isIntersecting && !visible && !this.still) requestAnimationFrame(frame);
      visible = isIntersecting;
    }).observe(panel);
  }

  /** Shows no episode. */
  clear() {
    this.newest = null;
    this.shown = { path: [this.start], episode: 0 };
    this.place = this.waited = 0;
    this.show();
  }

  /** Takes an episode. It is shown when the one before it is over, or its end at once. */
  add(path, episode) {
    this.newest = { path, episode };
    if (this.still) {
      this.shown = this.newest;
      this.place = path.length - 1;
      this.show();
    }
  }

  move(seconds) {
    const last = this.shown.path.length - 1;
    if (this.place < last) {
      this.place = Math.min(last, this.place + this.pace * Math.min(seconds, 0.1));
      this.waited = 0;
      this.show();
      return;
    }
    this.waited += Math.min(seconds, 0.1);
    if (this.waited > PAUSE && this.newest && this.newest !== this.shown) {
      this.shown = this.newest;
      this.place = 0;
    }
  }

  /** Draws the step that is shown, also after a change of colors or sizes. */
  show() {
    this.draw({ ...this.shown, at: Math.floor(this.place) });
  }
}
