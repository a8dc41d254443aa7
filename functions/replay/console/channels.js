// A channel: what it did, how fast, and its switch.

import * as api from "./api.js";
import {SERIES, chart, columns, sum, table} from "./chart.js";
import {confirmed, h, say, told} from "./dom.js";
import {count, name, relative, span} from "./words.js";

/** Of a chart in one of the grid's columns: one unit is one pixel, so that its text is as large as it says. */
export function widthIn(grid) {
  const column = parseFloat(getComputedStyle(grid).gridTemplateColumns) || grid.clientWidth;
  return Math.max(200, Math.floor(column - 34));
}

export function channel(one, minutes, width, {open, act}) {
  const all = columns(minutes, one.counts);
  const detail = h(
    "details",
    {class: "numbers"},
    h("summary", {}, "As numbers", h("span", {class: "unseen"}, `: ${name(one.channel)}`)),
    h(
      "div",
      {class: "scroll", tabindex: "0", role: "region", "aria-label": `${name(one.channel)} as numbers`},
      open.has(one.channel) && table(one.channel, all),
    ),
  );
  detail.listens.ontoggle = detail.ontoggle = event => {
    if (event.target.open !== open.has(one.channel)) {
      open[event.target.open ? "add" : "delete"](one.channel);
      act.again();
    }
  };
  return h(
    "section",
    {key: one.channel, class: "card channel", "aria-labelledby": `channel-${one.channel}`},
    h(
      "div",
      {class: "heading"},
      h("h2", {id: `channel-${one.channel}`}, name(one.channel)),
      h(
        "span",
        {class: `state ${one.paused || one.refusal ? "paused" : "running"}`},
        one.paused
          ? `paused${one.paused_at ? `, ${relative(one.paused_at)}` : ""}`
          : one.refusal
            ? `refused by ${one.refusal.provider}, ${relative(one.refusal.since)}`
            : "running",
      ),
      switchOf(one, act),
    ),
    chart(one.channel, all, width),
    h(
      "ul",
      {class: "legend"},
      Object.entries(SERIES).map(([series, text]) =>
        h(
          "li",
          {class: series},
          h("span", {class: "swatch", "aria-hidden": "true"}),
          h("a", {href: listOf(one.channel, series, minutes[0])}, text),
          " ",
          h("b", {}, count(sum(one.counts[series] || []))),
        ),
      ),
    ),
    latency(one.latency),
    detail,
  );
}

/** What was accepted are rows of that time; the others are changes, and lead to what is like that now. */
function listOf(channel, series, since) {
  if (series === "accepted") return `#/notifications${api.search({channel, since})}`;
  if (series === "failed" || series === "unknown") return `#/dead${api.search({status: series, channel})}`;
  return `#/notifications${api.search({status: series, channel})}`;
}

function latency({count: number, p50, p95, p99}) {
  if (!number) return h("p", {class: "latency"}, "Nothing was sent.");
  const part = (label, seconds) =>
    h("span", {}, `${label} `, h("b", {}, seconds == null ? "> 2 h" : `≤ ${span(seconds)}`));
  return h("p", {class: "latency"}, "From due to sent: ", part("half", p50), part("95%", p95), part("99%", p99));
}

function switchOf(one, {can, again}) {
  const id = `may-${one.channel}`;
  const text = one.paused ? "Resume" : "Pause";
  return [
    h(
      "button",
      {
        type: "button",
        disabled: !can,
        "aria-describedby": can ? undefined : id,
        onclick: () => (one.paused ? resume : pause)(one.channel, again),
      },
      text,
      h("span", {class: "unseen"}, ` ${name(one.channel)}`),
    ),
    !can && h("small", {id}, "needs a key with the scope admin"),
  ];
}

async function pause(channel, again) {
  const sure = await confirmed(
    `Pause ${name(channel)}?`,
    `Pause ${name(channel)}`,
    h(
      "p",
      {},
      "New notifications are accepted and wait. What a worker has already is finished. Nothing is lost, and what expires while it waits is not sent.",
    ),
    h("p", {}, h("strong", {}, "It stops this channel for all tenants"), " until someone resumes it."),
  );
  if (sure) await turn(channel, "pause", again);
}

async function resume(channel, again) {
  const sure = await confirmed(
    `Resume ${name(channel)}?`,
    `Resume ${name(channel)}`,
    h("p", {}, "What has waited is sent from now on, as fast as the channel can."),
  );
  if (sure) await turn(channel, "resume", again);
}

async function turn(channel, what, again) {
  try {
    const {paused} = await api.post(`channels/${encodeURIComponent(channel)}/${what}`);
    say(`${name(channel)} is ${paused ? "paused" : "running"}.`);
  } catch (error) {
    await told("That did not work", error.message);
  }
  again();
}
