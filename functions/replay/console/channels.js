// One channel: its chart, its latency, and the button that pauses it.

import * as api from "./api.js";
import {SERIES, chart, columns, sum, table} from "./chart.js";
import {announce, confirm, h, showMessage} from "./dom.js";
import {count, name, relative, span} from "./format.js";

/** The width of a chart in a column of the grid. One unit is one pixel, so that text has its real size. */
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
  detail.handlers.ontoggle = detail.ontoggle = event => {
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
      pauseButton(one, act),
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

/** "accepted" leads to the notifications of that time; every other series to the notifications that have that status now. */
function listOf(channel, series, since) {
  if (series === "accepted") return `#/notifications${api.queryString({channel, since})}`;
  if (series === "failed" || series === "unknown") return `#/dead${api.queryString({status: series, channel})}`;
  return `#/notifications${api.queryString({status: series, channel})}`;
}

function latency({count: number, p50, p95, p99}) {
  if (!number) return h("p", {class: "latency"}, "Nothing was sent.");
  const part = (label, seconds) =>
    h("span", {}, `${label} `, h("b", {}, seconds == null ? "> 2 h" : `≤ ${span(seconds)}`));
  return h("p", {class: "latency"}, "From due to sent: ", part("p50", p50), part("p95", p95), part("p99", p99));
}

function pauseButton(one, {can, again}) {
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
  const sure = await confirm(
    {title: `Pause ${name(channel)}?`, action: `Pause ${name(channel)}`},
    h(
      "p",
      {},
      "New notifications are accepted and wait. Attempts under way finish. Nothing is lost. A notification that expires while it waits is not sent.",
    ),
    h("p", {}, h("strong", {}, "This stops the channel for all tenants"), " until someone resumes it."),
  );
  if (sure) await setPaused(channel, "pause", again);
}

async function resume(channel, again) {
  const sure = await confirm(
    {title: `Resume ${name(channel)}?`, action: `Resume ${name(channel)}`},
    h("p", {}, "Waiting notifications are sent, as fast as the channel can."),
  );
  if (sure) await setPaused(channel, "resume", again);
}

async function setPaused(channel, what, again) {
  try {
    const {paused} = await api.post(`channels/${encodeURIComponent(channel)}/${what}`);
    announce(`${name(channel)} is ${paused ? "paused" : "running"}.`);
  } catch (error) {
    await showMessage("Request failed", error.message);
  }
  again();
}
