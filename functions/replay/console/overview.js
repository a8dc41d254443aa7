// What is stuck, and what goes well.

import {Activity} from "./activity.js";
import * as api from "./api.js";
import {channel, widthIn} from "./channels.js";
import {h, select, show} from "./dom.js";
import {readdress} from "./places.js";
import {queues} from "./queues.js";
import {clock, count, counted, many, name, refusal, sinceNow, span} from "./words.js";

const WINDOWS = [
  ["15", "15 minutes"],
  ["60", "hour"],
  ["360", "6 hours"],
  ["1440", "24 hours"],
];
const LATE = 30; // seconds that one may be due before it is worth a word

export function overview({root, query, me, title, again, signal}) {
  title("Overview");
  const choice = select(
    {id: "minutes"},
    WINDOWS,
    WINDOWS.some(([value]) => value === query.minutes) ? query.minutes : "60",
  );
  choice.onchange = () => {
    readdress(`#/?minutes=${choice.value}`);
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
    parts.queues,
  );
  const open = new Set(); // the channels whose numbers are shown as a table
  const act = {can: me.scopes.includes("admin"), again};
  const activity = new Activity(signal);
  let at = null; // of what is shown
  const look = async () => {
    const found = await activity.look(Number(choice.value));
    at = clock(found.at);
    state.className = "fresh";
    root.classList.remove("stale");
    show(state, `Live. ${at}`);
    show(parts.needs, needs(found, again));
    show(parts.now, now(found));
    show(parts.happened, happened(WINDOWS.find(([value]) => value === choice.value)[1]));
    show(
      parts.channels,
      found.channels.map(one => channel(one, found.minutes, widthIn(parts.channels), {open, act})),
    );
    show(parts.queues, queues(found, act.can));
  };
  look.stale = () => {
    state.className = "fresh stale";
    root.classList.add("stale");
    show(state, at ? `Not live. This is from ${at}.` : "Not live.");
    parts.needs.querySelector(".well")?.remove(); // nobody knows
  };
  return look;
}

const happened = window => [
  h("h2", {}, `What happened in the last ${window}`),
  h(
    "p",
    {class: "hint"},
    "Counted are events: one notification may be retried often, and what failed may have been replayed since. What was canceled or has expired may have been sent all the same, where an attempt was ambiguous: the lists say of which. The numbers above count notifications, as they are now.",
  ),
];

// --- what needs a person ---------------------------------------------------------------------------------------------

function needs(found, again) {
  const list = [...concerns(found)];
  if (!list.length) return h("p", {class: "well"}, h("span", {"aria-hidden": "true"}, "✓ "), "Nothing needs you.");
  return [
    h("h2", {class: "unseen"}, "What needs you"),
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
      "The broker does not answer. What comes in is stored and waits; the sweep queues it when the broker is back.",
    ];
  for (const one of found.channels) {
    if (one.paused)
      yield [
        "warn",
        `${name(one.channel)} is paused${one.paused_at ? ` since ${clock(one.paused_at)}` : ""}: what comes in waits.`,
      ];
  }
  for (const one of found.channels) {
    if (one.refusal)
      yield [
        "bad",
        `${name(one.channel)}: ${refusal(one.refusal)} What waits is sent once it accepts again; until then one at a time is tried.`,
      ];
  }
  for (const queue of found.queues) {
    if (queue.kind === "work" && queue.consumers === 0)
      yield ["bad", `Nobody takes from ${queue.queue}: does its trigger run?`];
    if (queue.kind === "parking" && queue.ready)
      yield ["bad", `${many(queue.ready, "message")} in ${queue.queue}: cannot be read, or kept crashing a worker.`];
  }
  if (found.oldest_waiting && sinceNow(found.oldest_waiting) > LATE) {
    yield [
      "bad",
      `The oldest that is due has waited for ${span(sinceNow(found.oldest_waiting))}.`,
      "See it",
      `#/notifications/${found.oldest_waiting_id}`,
    ];
  }
  if (found.now.unknown.count)
    yield [
      "warn",
      `${counted(found.now.unknown)} unknown: may have arrived, and will not be sent again unless you decide.`,
      "Decide",
      "#/dead?status=unknown",
    ];
  const {failed} = found.now;
  if (failed.count < api.dismissed()) api.dismiss(failed.count); // replayed: the next that fails is news again
  if (failed.more || failed.count > api.dismissed())
    yield [
      "bad",
      `${counted(failed)} failed.`,
      "See why",
      "#/dead?status=failed",
      // More than can be counted cannot be told from more still.
      !failed.more && (() => api.dismiss(failed.count)),
    ];
}

// --- now -------------------------------------------------------------------------------------------------------------

const TILES = [
  ["pending", pending, "#/notifications?status=pending"],
  ["sending", "at a worker", "#/notifications?status=sending"],
  ["retrying", "wait for their next try", "#/notifications?status=retrying"],
  ["failed", "dead letters", "#/dead?status=failed"],
  ["unknown", "wait for you", "#/dead?status=unknown"],
];

function pending({now: {pending: all}, scheduled}) {
  if (!all.count) return "none waits";
  if (!scheduled) return "due: a worker takes them";
  return scheduled === all.count && !all.more ? "all for later" : `${count(scheduled)} of them for later`;
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
          h("small", {}, oldest ? `due ${clock(oldest)}` : "none is due"),
        ),
      ),
    ),
  ];
}
