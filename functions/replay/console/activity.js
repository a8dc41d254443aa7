// Loads the overview's numbers. A long window is loaded whole once a minute; in between, only its last minutes are.

import * as api from "./api.js";

const SHORT = 60; // minutes; a window up to this is loaded whole each time
const LAST = 5; // minutes loaded in between
const RELOAD_EVERY = 60_000; // milliseconds between two loads of a long window

export class Activity {
  constructor(signal) {
    this.signal = signal;
  }

  async load(minutes) {
    const fetched = number => api.get("overview", {minutes: number}, this.signal);
    if (minutes <= SHORT) return fetched(minutes);
    if (this.minutes === minutes && Date.now() - this.at < RELOAD_EVERY) return merged(this.whole, await fetched(LAST));
    const whole = await fetched(minutes);
    return Object.assign(this, {whole, minutes, at: Date.now()}).whole;
  }
}

/** The last minutes, appended to the older minutes of the whole window. The latency stays that of the whole window. */
function merged(whole, last) {
  const size = whole.minutes.length;
  const older = whole.minutes.filter(at => at < last.minutes[0]).length;
  const join = (old, now) => [...old.slice(0, older), ...now].slice(-size);
  const channels = last.channels.map(one => {
    const before = whole.channels.find(other => other.channel === one.channel);
    const counts = Object.entries(one.counts).map(([what, now]) => [what, join(before.counts[what], now)]);
    return {...one, counts: Object.fromEntries(counts), latency: before.latency};
  });
  return {...last, minutes: join(whole.minutes, last.minutes), channels};
}
