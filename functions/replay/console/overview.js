// What is stuck, and what goes well.

import * as api from "./api.js";
import {channel, widthIn} from "./channels.js";
import {sum} from "./chart.js";
import {h, select, show} from "./dom.js";
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
    history.replaceState(null, "", `#/?minutes=${choice.value}`);
    again();
  };
  const state = h("p", {class: "fresh"});
  const parts = Object.fromEntries(["now", "needs", "channels", "queues"].map(part => [part, h("div", {class: part})]));
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
    parts.channels,
    parts.queues,
  );
  const open = new Set(); // the channels whose numbers are shown as a table
  const act = {can: me.scopes.includes("admin"), again};
  return async () => {
    const minutes = choice.value;
    const found = await api.get("overview", {minutes}, signal);
    show(state, `Live. ${clock(found.at)}`);
    show(parts.needs, needs(found, minutes));
    show(parts.now, now(found));
    show(
      parts.channels,
      found.channels.map(one => channel(one, found.minutes, widthIn(parts.channels), {open, act})),
    );
    show(parts.queues, queues(found));
  };
}

// --- what needs a person ---------------------------------------------------------------------------------------------

function needs(found, minutes) {
  const list = [...concerns(found, minutes)];
  if (!list.length) return h("p", {class: "well"}, h("span", {"aria-hidden": "true"}, "✓ "), "Nothing needs you.");
  return [
    h("h2", {class: "unseen"}, "What needs you"),
    h(
      "ul",
      {},
      list.map(([level, text, link, target]) =>
        h(
          "li",
          {key: link || text, class: level},
          h("span", {"aria-hidden": "true", class: "mark"}, level === "bad" ? "!" : "?"),
          h("span", {}, text, link && [" ", h("a", {href: target}, link)]),
        ),
      ),
    ),
  ];
}

function* concerns(found, minutes) {
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
      "See what waits",
      "#/notifications?status=pending",
    ];
  }
  if (found.now.unknown.count)
    yield [
      "warn",
      `${counted(found.now.unknown)} unknown: may have arrived, and will not be sent again unless you decide.`,
      "Decide",
      "#/dead?status=unknown",
    ];
  const failed = sum(found.channels.flatMap(one => one.counts.failed));
  if (failed)
    yield [
      "bad",
      `${count(failed)} failed in the last ${WINDOWS.find(([value]) => value === minutes)[1]}.`,
      "See why",
      "#/dead?status=failed",
    ];
}

// --- now -------------------------------------------------------------------------------------------------------------

const TILES = [
  ["pending", "wait for their turn", "#/notifications?status=pending"],
  ["sending", "at a worker", "#/notifications?status=sending"],
  ["retrying", "have a next time", "#/notifications?status=retrying"],
  ["failed", "dead letters", "#/dead?status=failed"],
  ["unknown", "wait for you", "#/dead?status=unknown"],
];

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
            h("small", {}, meaning),
          ),
        );
      }),
      h(
        "li",
        {key: "oldest"},
        h(
          "div",
          {class: `tile ${oldest && sinceNow(oldest) > LATE ? "failed" : "none"}`},
          h("b", {}, oldest ? span(Math.max(0, Math.round(sinceNow(oldest)))) : "–"),
          h("span", {}, "oldest waiting"),
          h("small", {}, oldest ? `due ${clock(oldest)}` : "none is due"),
        ),
      ),
    ),
  ];
}
