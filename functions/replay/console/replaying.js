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
  constructor({filters, total, rate, expires, newest}) {
    Object.assign(this, {filters, total, rate, expires, newest});
    Object.assign(this, {ids: [], queued: 0, open: 0, expired: 0, doubtful: 0, lost: false});
    Object.assign(this, {statuses: {}, phase: "collect", stopped: false});
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

  /** Where no answer comes, it may have been done: then what was named is followed, and says itself where it is. */
  async call(which) {
    try {
      return await api.post("dead-letters/replay", {
        ...this.filters,
        rate: this.rate,
        expires_at: this.expires,
        ...which,
      });
    } catch (error) {
      if (api.isOpen(error)) {
        this.lost = true;
        this.ids.push(...(which.ids || []));
      }
      throw error;
    }
  }

  took(answer) {
    this.ids = [...new Set([...this.ids, ...answer.ids])];
    this.queued += answer.queued;
    this.expired += answer.expired;
    this.open = this.ids.length; // none is settled yet
  }

  /** As many as are to go, in the order in which a replay takes them. */
  async oldest() {
    const ids = [];
    let cursor;
    do {
      const query = {...this.filters, status: this.status, order: "oldest", limit: PAGE, cursor};
      const page = await api.get("dead-letters", query);
      const some = page.notifications.filter(one => one.id <= this.newest);
      ids.push(...some.filter(one => this.takes(one)).map(one => one.id));
      cursor = some.length && page.next_cursor;
    } while (cursor && ids.length < this.total);
    return ids.slice(0, this.total);
  }

  takes({expires_at: at}) {
    return Boolean(this.expires) || !at || sinceNow(at) < 0;
  }

  /** Look what has become of them. */
  async follow(signal) {
    if (this.phase !== "follow") return;
    if (this.ids.length) {
      const found = await api.post("notifications/tally", {ids: this.ids}, {signal});
      Object.assign(this, {statuses: found.statuses, doubtful: found.may_have_been_sent});
    }
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

  /** Saying it twice is harmless, so an answer that is lost is asked for once more. */
  async decide(id) {
    const say = () => api.post(`notifications/${encodeURIComponent(id)}/resolve`, {outcome: "sent"});
    try {
      await say().catch(error => (api.isOpen(error) ? say() : Promise.reject(error)));
      this.ids.push(id);
    } catch (error) {
      if (error.status === 409 || error.status === 404) return;
      if (api.isOpen(error)) {
        this.lost = true;
        this.ids.push(id);
      }
      throw error;
    }
  }
}
