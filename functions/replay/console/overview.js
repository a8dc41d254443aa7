// The overview: what needs attention, counts by status, the channels' charts, the queues.

import {Activity} from "./activity.js";
import * as api from "./api.js";
import {books} from "./books.js";
import {channel, widthIn} from "./channels.js";
import {h, render, select} from "./dom.js";
import {replaceAddress} from "./history.js";
import {queues} from "./queues.js";
import {clock, count, counted, many, name, refusal, sinceNow, span} from "./format.js";

const WINDOWS = [
  ["15", "15 minutes"],
  ["60", "hour"],
  ["360", "6 hours"],
  ["1440", "24 hours"],
];
const LATE = 30; // seconds that a notification may be due before it is reported

export function overview({root, query, me, title, again, signal}) {
  title("Overview");
  const choice = select(
    {id: "minutes"},
    WINDOWS,
    WINDOWS.some(([value]) => value === query.minutes) ? query.minutes : "60",
  );
  choice.onchange = () => {
    replaceAddress(`#/?minutes=${choice.value}`);
    again();
  };
  const state = h("p", {class: "fresh"});
  const parts = Object.fromEntries(["now", "needs", "happened", "channels", "queues"].map(part => [part, h("div", {class: part})]));
  root.append(
    h(
      "div",
      {class: "heading"},
      h("h1", {}, "Overview"),
      state,
      h("div", {class: "inline"}, h("label", {for: "minutes"}, "The last"), choice),
    ),
    parts.needs,
    parts.now,
    parts.happened,
    parts.channels,
    books(signal),
    parts.queues,
  );
  const open = new Set(); // channels whose numbers are shown as a table
  const act = {can: me.scopes.includes("admin"), again};
  const activity = new Activity(signal);
  let at = null; // the time of what is shown
  const load = async () => {
    const found = await activity.load(Number(choice.value));
    at = clock(found.at);
    state.className = "fresh";
    root.classList.remove("stale");
    render(state, `Live. ${at}`);
    render(parts.needs, needs(found, again));
    render(parts.now, now(found));
    render(parts.happened, happened(WINDOWS.find(([value]) => value === choice.value)[1]));
    render(
      parts.channels,
      found.channels.map(one => channel(one, found.minutes, widthIn(parts.channels), {open, act})),
    );
    render(parts.queues, queues(found, act.can));
  };
  load.stale = () => {
    state.className = "fresh stale";
    root.classList.add("stale");
    render(state, at ? `Not live. Last updated ${at}.` : "Not live.");
    parts.needs.querySelector(".well")?.remove(); // not known now
  };
  return load;
}

const happened = window => [
  h("h2", {}, `What happened in the last ${window}`),
  h(
    "p",
    {class: "hint"},
    "These are counts of events: one notification can be retried many times, and a failed one may have been replayed since. A canceled or expired notification may have been sent if an attempt was ambiguous; the lists show which. The tiles above count notifications by their current status.",
  ),
];

// --- what needs attention ---------------------------------------------------------------------------------------------

function needs(found, again) {
  const list = [...concerns(found)];
  if (!list.length) return h("p", {class: "well"}, h("span", {"aria-hidden": "true"}, "✓ "), "Nothing needs attention.");
  return [
    h("h2", {class: "unseen"}, "Needs attention"),
    h(
      "ul",
      {},
      list.map(([level, text, link, target, dismiss]) =>
        h(
          "li",
          {key: link || text, class: level},
          h("span", {"aria-hidden": "true", class: "mark"}, level === "bad" ? "!" : "?"),
          h("span", {}, text, link && [" ", h("a", {href: target}, link)]),
          dismiss && h("button", {type: "button", class: "quiet", onclick: () => again(dismiss())}, "Dismiss"),
        ),
      ),
    ),
  ];
}

function* concerns(found) {
  if (found.broker !== "ok")
    yield [
      "bad",
      "The broker does not answer. New notifications are stored and wait; the sweep queues them when the broker is back.",
    ];
  for (const one of found.channels) {
    if (one.paused)
      yield [
        "warn",
        `${name(one.channel)} is paused${one.paused_at ? ` since ${clock(one.paused_at)}` : ""}: new notifications wait.`,
      ];
  }
  for (const one of found.channels) {
    if (one.refusal)
      yield [
        "bad",
        `${name(one.channel)}: ${refusal(one.refusal)} Waiting notifications are sent once it accepts again; until then one at a time is tried.`,
      ];
  }
  for (const queue of found.queues) {
    if (queue.kind === "work" && queue.consumers === 0)
      yield ["bad", `${queue.queue} has no consumer: is its trigger running?`];
    if (queue.kind === "parking" && queue.ready)
      yield ["bad", `${many(queue.ready, "message")} in ${queue.queue}: unreadable, or crashed a worker repeatedly.`];
  }
  if (found.oldest_waiting && sinceNow(found.oldest_waiting) > LATE) {
    yield [
      "bad",
      `The oldest due notification has waited for ${span(sinceNow(found.oldest_waiting))}.`,
      "Show it",
      `#/notifications/${found.oldest_waiting_id}`,
    ];
  }
  if (found.now.unknown.count)
    yield [
      "warn",
      `${counted(found.now.unknown)} unknown: they may have arrived, and are not sent again unless you decide so.`,
      "Decide",
      "#/dead?status=unknown",
    ];
  const {failed} = found.now;
  if (failed.count < api.dismissed()) api.dismiss(failed.count); // some were replayed: report the next failure again
  if (failed.more || failed.count > api.dismissed())
    yield [
      "bad",
      `${counted(failed)} failed.`,
      "See why",
      "#/dead?status=failed",
      // The count is capped, so a new failure would not show: no dismissing.
      !failed.more && (() => api.dismiss(failed.count)),
    ];
}

// --- now -------------------------------------------------------------------------------------------------------------

const TILES = [
  ["pending", pending, "#/notifications?status=pending"],
  ["sending", "a worker is sending them", "#/notifications?status=sending"],
  ["retrying", "waiting for the next attempt", "#/notifications?status=retrying"],
  ["failed", "dead letters", "#/dead?status=failed"],
  ["unknown", "waiting for a decision", "#/dead?status=unknown"],
];

function pending({now: {pending: all}, scheduled}) {
  if (!all.count) return "none waiting";
  if (!scheduled) return "due, waiting for a worker";
  return scheduled === all.count && !all.more ? "all scheduled for later" : `${count(scheduled)} scheduled for later`;
}

function now(found) {
  const oldest = found.oldest_waiting;
  return [
    h("h2", {class: "unseen"}, "Now"),
    h(
      "ul",
      {class: "tiles"},
      TILES.map(([status, meaning, target]) => {
        const some = found.now[status] || {count: 0};
        return h(
          "li",
          {key: status},
          h(
            "a",
            {href: target, class: `tile ${some.count ? status : "none"}`},
            h("b", {}, counted(some)),
            h("span", {}, status),
            " ",
            h("small", {}, typeof meaning === "string" ? meaning : meaning(found)),
          ),
        );
      }),
      h(
        "li",
        {key: "oldest"},
        h(
          oldest ? "a" : "div",
          {href: oldest && `#/notifications/${found.oldest_waiting_id}`, class: `tile ${oldest && sinceNow(oldest) > LATE ? "failed" : "none"}`},
          h("b", {}, oldest ? span(Math.max(0, Math.round(sinceNow(oldest)))) : "–"),
          h("span", {}, "oldest waiting"),
          h("small", {}, oldest ? `due ${clock(oldest)}` : "none due"),
        ),
      ),
    ),
  ];
}
