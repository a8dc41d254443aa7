// The overview's numbers. A long window is asked for as a whole once a minute; in between, only its last minutes are.

import * as api from "./api.js";

const SHORT = 60; // minutes that are few enough to be asked for each time
const LAST = 5; // minutes that are asked for in between
const WHOLE_EVERY = 60_000; // milliseconds

export class Activity {
  constructor(signal) {
    this.signal = signal;
  }

  async look(minutes) {
    const ask = number => api.get("overview", {minutes: number}, this.signal);
    if (minutes <= SHORT) return ask(minutes);
    if (this.minutes === minutes && Date.now() - this.at < WHOLE_EVERY) return merged(this.whole, await ask(LAST));
    const whole = await ask(minutes);
    return Object.assign(this, {whole, minutes, at: Date.now()}).whole;
  }
}

/** The newer answer, with the older minutes of the whole one. How fast it was is the whole window's. */
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
