// A channel's chart, minute by minute. Upper part: accepted and sent. Lower part, on its own scale: what went wrong, so that
// three failures among three thousand are visible.

import {h, s} from "./dom.js";
import {count, minute, name} from "./format.js";

/** Labels of the events that are counted: a retry is one attempt, and a failure may have been replayed since. */
export const SERIES = {
  accepted: "accepted",
  sent: "sent",
  delivered: "delivered",
  retrying: "retries",
  failed: "failures",
  undelivered: "undelivered",
  unknown: "unknown",
  expired: "expired",
  suppressed: "suppressed",
  canceled: "canceled",
};
const NAMES = Object.keys(SERIES);
const TROUBLE = ["retrying", "failed", "undelivered", "unknown", "expired"];
const PATTERNS = ["retrying", "unknown"];
const MAX_COLUMNS = 60; // more minutes are added up
const UPPER = 76,
  GAP = 22,
  LOWER = 36,
  AXIS = 18; // heights
const HEAD = 16; // height above the upper part, for its scale's text
const HEIGHT = UPPER + GAP + LOWER + AXIS;

/** One column per minute, or per `each` minutes: {at, each, accepted, sent, …}. */
export function columns(minutes, counts) {
  const each = Math.max(1, Math.ceil(minutes.length / MAX_COLUMNS));
  // The oldest column takes the remainder: the newest one is always whole, so that the columns do not jump.
  const first = minutes.length % each;
  const starts = [
    ...(first ? [0] : []),
    ...Array.from({length: Math.floor(minutes.length / each)}, (_, n) => first + n * each),
  ];
  return starts.map((start, n) => {
    const end = n + 1 < starts.length ? starts[n + 1] : minutes.length;
    const sums = NAMES.map(series => [series, sum((counts[series] || []).slice(start, end))]);
    return {at: minutes[start], each, ...Object.fromEntries(sums)};
  });
}

export const sum = numbers => numbers.reduce((all, one) => all + one, 0);

export function chart(channel, all, width) {
  const step = width / all.length,
    gap = step > 4 ? 1 : 0;
  const most = Math.max(1, ...all.map(one => Math.max(one.accepted, one.sent)));
  const worst = Math.max(1, ...all.map(one => sum(TROUBLE.map(series => one[series]))));
  const per = all[0]?.each > 1 ? `per ${all[0].each} min` : "per minute";
  const floor = UPPER + GAP + LOWER;
  const drawn = all.map((one, n) =>
    column(one, {x: n * step, wide: Math.max(step - gap, 0.5), most, worst, floor, channel}),
  );
  const told = NAMES.map(series => `${count(sum(all.map(one => one[series])))} ${SERIES[series]}`).join(", ");
  const troubled = all.some(one => TROUBLE.some(series => one[series]));
  return s(
    "svg",
    {
      class: "chart",
      role: "img",
      viewBox: `0 0 ${width} ${HEIGHT}`,
      "aria-labelledby": `chart-${channel} told-${channel}`,
    },
    s("title", {id: `chart-${channel}`}, `${name(channel)}, minute by minute`),
    s("desc", {id: `told-${channel}`}, told),
    pattern(`retrying-${channel}`, "retrying", s("path", {d: "M0 4L4 0"})),
    pattern(`unknown-${channel}`, "unknown", s("circle", {cx: 2, cy: 2, r: 1})),
    s("line", {class: "base", x1: 0, x2: width, y1: UPPER + 0.5, y2: UPPER + 0.5}),
    s("line", {class: "base", x1: 0, x2: width, y1: floor + 0.5, y2: floor + 0.5}),
    drawn,
    s("path", {class: "line accepted", d: steps(all, step, most)}),
    s("text", {x: 0, y: 10}, `${count(most)} ${per}`),
    s("text", {x: 0, y: UPPER + GAP - 5}, troubled ? `${count(worst)} ${per}` : "no retries, failures, undelivered, unknown or expired"),
    axis(all, step, width),
  );
}

function column(one, {x, wide, most, worst, floor, channel}) {
  const told =
    NAMES.filter(series => one[series])
      .map(series => `${count(one[series])} ${SERIES[series]}`)
      .join(", ") || "nothing";
  let y = floor;
  const stacked = TROUBLE.filter(series => one[series]).map(series => {
    const high = Math.max((one[series] / worst) * LOWER, 2);
    y -= high;
    // An attribute: in a stylesheet, url(#…) would be resolved against the stylesheet, not the page.
    const fill = PATTERNS.includes(series) ? `url(#${series}-${channel})` : undefined;
    return s("rect", {key: series, class: series, fill, x, y, width: wide, height: high});
  });
  const high = one.sent ? Math.max((one.sent / most) * (UPPER - HEAD), 1) : 0;
  return s(
    "g",
    {key: one.at},
    s("title", {}, `${minute(one.at)}: ${told}`),
    s("rect", {key: "hit", class: "hit", x, y: 0, width: wide, height: floor}),
    s("rect", {key: "sent", class: "sent", x, y: UPPER - high, width: wide, height: high}),
    stacked,
  );
}

function steps(all, step, most) {
  return all
    .map((one, n) => `${n ? "L" : "M"}${n * step} ${UPPER - (one.accepted / most) * (UPPER - HEAD)}H${(n + 1) * step}`)
    .join("");
}

function pattern(id, series, mark) {
  return s(
    "pattern",
    {key: id, id, class: series, width: 4, height: 4, patternUnits: "userSpaceOnUse"},
    s("rect", {class: "ground", width: 4, height: 4}),
    mark,
  );
}

function axis(all, step, width) {
  const places = [
    [0, "start"],
    [Math.floor(all.length / 2), "middle"],
  ].filter(([n]) => all[n]);
  const y = HEIGHT - 3;
  return [
    ...places.map(([n, anchor]) => s("text", {x: n * step, y, "text-anchor": anchor}, minute(all[n].at))),
    s("text", {x: width, y, "text-anchor": "end"}, "now"),
  ];
}

/** The same numbers as a table, newest first. A series without events has no column: a phone has room for few. */
export function table(channel, all) {
  const some = NAMES.filter(series => series === "accepted" || series === "sent" || all.some(one => one[series]));
  return h(
    "table",
    {},
    h("caption", {}, `${name(channel)}, newest first`),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", {scope: "col"}, "From"),
        some.map(series => h("th", {scope: "col", class: "number"}, SERIES[series])),
      ),
    ),
    h(
      "tbody",
      {},
      [...all].reverse().map(one =>
        h(
          "tr",
          {key: one.at},
          h("th", {scope: "row"}, minute(one.at)),
          some.map(series => h("td", {class: "number"}, count(one[series]))),
        ),
      ),
    ),
  );
}
