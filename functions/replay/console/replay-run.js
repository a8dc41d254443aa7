// Runs a replay: collects the IDs, replays them in batches, and counts their statuses until all have settled.

import * as api from "./api.js";
import {sinceNow} from "./format.js";

export const MAX_REPLAY = 10_000; // notifications of one replay: the API's limit
const BATCH = 500; // IDs of one request
const MAX_IDS = 1000; // IDs of one request: the API's limit
const PAGE = 200; // rows of a list: the API's limit
const UNSETTLED = ["pending", "sending", "retrying"];

const CONCURRENCY = 4; // decisions at once

/** `phase`: "collect", "replay" ("decide" for ArrivalRun), "follow" or "over". */
export class ReplayRun {
  /** `newest`: the ID of the newest dead letter of the dry run; later ones are not replayed. */
  constructor({filters, total, rate, expires, newest}) {
    Object.assign(this, {filters, total, rate, expires, newest});
    Object.assign(this, {ids: [], queued: 0, open: 0, expired: 0, doubtful: 0, lost: false});
    Object.assign(this, {statuses: {}, phase: "collect", stopped: false});
  }

  /** The status that is replayed. The default is the API's. */
  get status() {
    return this.filters.status || "failed";
  }

  get settled() {
    return this.ids.length - this.open;
  }

  /** Replay all. Goes on when its page is left. `changed` is called after each batch. */
  async begin(changed) {
    try {
      await this.act(changed);
    } finally {
      this.isUntouched = this.phase === "collect"; // it failed before the first request that changes anything
      this.total = this.open = this.ids.length;
      this.phase = "follow";
    }
  }

  /** Replay by ID: one that fails again at once is a dead letter again, and the next request must not replay it a second
   * time. A rate for more than MAX_IDS needs one request, because a rate holds within one request only. */
  async act(changed) {
    if (this.rate && this.total > MAX_IDS) {
      this.phase = "replay";
      return this.record(await this.request({limit: this.total}));
    }
    const ids = await this.oldest();
    this.phase = "replay";
    const share = this.rate ? MAX_IDS : BATCH;
    for (let at = 0; at < ids.length && !this.stopped; at += share) {
      changed();
      const some = ids.slice(at, at + share);
      this.record(await this.request({ids: some, limit: some.length}));
    }
    return null;
  }

  /** Without an answer the replay may have happened: the IDs of the request are then followed as well. */
  async request(which) {
    try {
      return await api.post("dead-letters/replay", {
        ...this.filters,
        rate: this.rate,
        expires_at: this.expires,
        ...which,
      });
    } catch (error) {
      if (api.isUncertain(error)) {
        this.lost = true;
        this.ids.push(...(which.ids || []));
      }
      throw error;
    }
  }

  record(answer) {
    this.ids = [...new Set([...this.ids, ...answer.ids])];
    this.queued += answer.queued;
    this.expired += answer.expired;
    this.open = this.ids.length; // none is settled yet
  }

  /** The IDs to replay, in the order of the API's replay. */
  async oldest() {
    const ids = [];
    let cursor;
    do {
      const query = {...this.filters, status: this.status, order: "oldest", limit: PAGE, cursor};
      const page = await api.get("dead-letters", query);
      const some = page.notifications.filter(one => one.id <= this.newest);
      ids.push(...some.filter(one => this.includes(one)).map(one => one.id));
      cursor = some.length && page.next_cursor;
    } while (cursor && ids.length < this.total);
    return ids.slice(0, this.total);
  }

  includes({expires_at: at}) {
    return Boolean(this.expires) || !at || sinceNow(at) < 0;
  }

  /** Count the statuses. */
  async follow(signal) {
    if (this.phase !== "follow") return;
    if (this.ids.length) {
      const found = await api.post("notifications/tally", {ids: this.ids}, {signal});
      Object.assign(this, {statuses: found.statuses, doubtful: found.may_have_been_sent});
    }
    this.open = UNSETTLED.reduce((sum, status) => sum + (this.statuses[status] || 0), 0);
    if (!this.open) this.phase = "over";
  }
}

/** Marks unknown notifications as arrived, one request each: every decision is checked and stored by itself, so it is safe
 * to stop halfway, and a decision that someone else made is left alone. */
export class ArrivalRun extends ReplayRun {
  async act(changed) {
    const ids = await this.oldest();
    this.phase = "decide";
    for (let at = 0; at < ids.length && !this.stopped; at += CONCURRENCY) {
      changed();
      const ends = await Promise.allSettled(ids.slice(at, at + CONCURRENCY).map(id => this.decide(id)));
      for (const {reason} of ends) if (reason) throw reason;
    }
  }

  /** Repeating a decision is harmless, so a request without an answer is sent once more. */
  async decide(id) {
    const resolve = () => api.post(`notifications/${encodeURIComponent(id)}/resolve`, {outcome: "sent"});
    try {
      await resolve().catch(error => (api.isUncertain(error) ? resolve() : Promise.reject(error)));
      this.ids.push(id);
    } catch (error) {
      if (error.status === 409 || error.status === 404) return;
      if (api.isUncertain(error)) {
        this.lost = true;
        this.ids.push(id);
      }
      throw error;
    }
  }
}
