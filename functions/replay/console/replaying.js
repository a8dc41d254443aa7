// A replay under way: which ones, a call after the other, and what becomes of them.

import * as api from "./api.js";
import {sinceNow} from "./words.js";

export const MOST = 10_000; // a replay, by the API
const A_CALL = 500;
const IDS = 1000; // named in a call, by the API
const PAGE = 200; // of a list, by the API
const OPEN = ["pending", "sending", "retrying"];

const AT_ONCE = 4; // decisions

/** `phase` is "collect", "revive" (of Arrivals: "decide"), "follow" or "over". */
export class Run {
  /** `newest` is the id of the newest that the dry run saw: what has died since is not taken. */
  constructor({filters, total, rate, seen, newest}) {
    Object.assign(this, {filters, total, rate, seen, newest});
    Object.assign(this, {ids: [], queued: 0, open: 0, statuses: {}, phase: "collect", stopped: false});
  }

  /** What a replay takes unless it is told: what is unknown is replayed only by its name. */
  get status() {
    return this.filters.status || "failed";
  }

  get settled() {
    return this.ids.length - this.open;
  }

  /** Set them back to pending. It goes on when its page is left. `changed` is called after each step. */
  async begin(changed) {
    try {
      await this.act(changed);
    } finally {
      this.total = this.open = this.ids.length;
      this.phase = "follow";
    }
  }

  /** Named by their ids: one that fails again at once is a dead letter again, and must not be taken a second time by the
   * next call. A rate for more than can be named is one call, for only in one call the seconds follow each other. */
  async act(changed) {
    if (this.rate && this.total > IDS) {
      this.phase = "revive";
      return this.took(await this.call({limit: this.total}));
    }
    const ids = await this.oldest();
    this.phase = "revive";
    const share = this.rate ? IDS : A_CALL;
    for (let at = 0; at < ids.length && !this.stopped; at += share) {
      changed();
      const some = ids.slice(at, at + share);
      this.took(await this.call({ids: some, limit: some.length}));
    }
    return null;
  }

  call(which) {
    return api.post("dead-letters/replay", {...this.filters, rate: this.rate, ...which});
  }

  took(answer) {
    this.ids = [...new Set([...this.ids, ...answer.ids])];
    this.queued += answer.queued;
    this.open = this.ids.length; // none is settled yet
  }

  /** The list has the newest first. */
  async oldest() {
    const ids = [];
    let cursor;
    do {
      const page = await api.get("dead-letters", {...this.filters, status: this.status, limit: PAGE, cursor});
      const some = page.notifications.filter(one => one.id <= this.newest);
      ids.push(...some.filter(one => !one.expires_at || sinceNow(one.expires_at) < 0).map(one => one.id));
      cursor = page.next_cursor;
    } while (cursor && ids.length < this.seen);
    return ids.reverse().slice(0, this.total);
  }

  /** Look what has become of them. */
  async follow(signal) {
    if (this.phase !== "follow") return;
    if (this.ids.length) this.statuses = (await api.post("notifications/tally", {ids: this.ids}, {signal})).statuses;
    this.open = OPEN.reduce((sum, status) => sum + (this.statuses[status] || 0), 0);
    if (!this.open) this.phase = "over";
  }
}

/** What is unknown and had arrived. It is decided one by one, by the API's route for one: each decision is checked and
 * written by itself, so stopping halfway leaves nothing half done, and what somebody else has decided is left alone. */
export class Arrivals extends Run {
  async act(changed) {
    const ids = await this.oldest();
    this.phase = "decide";
    for (let at = 0; at < ids.length && !this.stopped; at += AT_ONCE) {
      changed();
      const ends = await Promise.allSettled(ids.slice(at, at + AT_ONCE).map(id => this.decide(id)));
      for (const {reason} of ends) if (reason) throw reason;
    }
  }

  async decide(id) {
    try {
      await api.post(`notifications/${encodeURIComponent(id)}/resolve`, {outcome: "sent"});
      this.ids.push(id);
    } catch (error) {
      if (error.status !== 409 && error.status !== 404) throw error;
    }
  }
}
