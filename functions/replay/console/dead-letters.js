// Dead letters grouped by error, and the page of one group with its replay.

import * as api from "./api.js";
import {field, h, render, select} from "./dom.js";
import {Listing} from "./listing.js";
import {replaceAddress} from "./history.js";
import {replayPanel} from "./replay-panel.js";
import {CLASSES, NAMES, chip, count, many, name, when} from "./format.js";

const FILTERS = ["status", "channel", "error_class", "code"];

export function deadLetters({root, query, title, again, signal}) {
  title("Dead letters");
  const status = select(
    {id: "status"},
    [
      ["", "failed and unknown"],
      ["failed", "failed"],
      ["unknown", "unknown"],
      ["undelivered", "undelivered (no dead letters)"],
      ["suppressed", "suppressed (no dead letters)"],
    ],
    query.status,
  );
  const channel = select({id: "channel"}, [["", "all"], ...Object.entries(NAMES)], query.channel);
  const found = h("div", {class: "found"});
  const filters = () => ({status: status.value, channel: channel.value});
  status.onchange = channel.onchange = () => {
    replaceAddress(`#/dead${api.queryString(filters())}`);
    again();
  };
  root.append(
    h(
      "div",
      {class: "heading"},
      h("h1", {}, "Dead letters"),
      h("div", {class: "inline"}, field("Status", status), field("Channel", channel)),
    ),
    found,
  );
  return async () => {
    const chosen = filters();
    render(found, groups(await api.get("dead-letters/groups", chosen, signal), chosen));
  };
}

function groups({groups: list, more, looked_at: looked}, filters) {
  if (!list.length) {
    const narrowed = Object.values(filters).some(Boolean);
    return h("p", {class: "nothing"}, narrowed ? "No dead letters match." : "No dead letters.");
  }
  const all = list.reduce((sum, one) => sum + one.count, 0);
  return [
    h(
      "p",
      {},
      more ? `The newest ${count(looked)} dead letters` : many(all, "dead letter"),
      ", grouped by last error. ",
      h("a", {href: `#/dead/group${api.queryString(filters)}`}, "Show all"),
    ),
    h(
      "ul",
      {class: "groups"},
      list.map(one => summary(one, all)),
    ),
  ];
}

function summary(one, all) {
  const target = `#/dead/group${api.queryString(Object.fromEntries(FILTERS.map(part => [part, one[part]])))}`;
  const share = h("span", {class: "share", "aria-hidden": "true"}, h("i", {keep: true}));
  share.firstChild.style.width = `${Math.max(2, (one.count / all) * 100)}%`;
  return h(
    "li",
    {key: target, class: `card ${one.status}`},
    h("div", {class: "amount"}, h("b", {}, count(one.count)), share),
    h(
      "div",
      {},
      h("p", {}, chip(one.status), " ", name(one.channel), " ", h("code", {}, one.code || "no code")),
      h("h2", {}, h("a", {href: target}, h("bdi", {}, one.message || "no message"))),
      h("p", {class: "hint"}, h("b", {}, `${one.error_class || "no class"}. `), CLASSES[one.error_class] || ""),
    ),
    h(
      "p",
      {class: "hint times"},
      h("span", {}, "newest ", when(one.newest)),
      " ",
      h("span", {}, "oldest ", when(one.oldest)),
    ),
  );
}

export function group({root, query, entry, title, again, signal}) {
  const filters = Object.fromEntries(FILTERS.filter(part => query[part]).map(part => [part, query[part]]));
  const heading = headline(filters);
  title([heading, filters.status].filter(Boolean).join(", "));
  const letters = h("div", {class: "found"});
  const listing = new Listing("dead-letters", filters, signal, entry);
  const paint = () => render(letters, h("h2", {}, "Dead letters"), listing.view(paint, "None left."));
  const replay = replayPanel({filters, signal, again});
  render(
    root,
    h("p", {class: "up"}, h("a", {href: "#/dead"}, "← Dead letters")),
    h("div", {class: "heading"}, h("h1", {}, heading), filters.status && chip(filters.status)),
    filters.error_class &&
      h("p", {class: "hint"}, h("b", {}, `${filters.error_class}. `), CLASSES[filters.error_class] || ""),
    replay.panel,
    letters,
  );
  if (listing.loaded) paint();
  return async () => {
    await listing.refresh();
    paint();
    await replay.refresh();
  };
}

function headline({channel, code, status}) {
  return [channel && name(channel), code].filter(Boolean).join(" ") || (status ? `All ${status}` : "All dead letters");
}
