// Dead letters: grouped by their error, and the letters of one group with their replay.

import * as api from "./api.js";
import {h, field, select, show} from "./dom.js";
import {Listing} from "./listing.js";
import {readdress} from "./places.js";
import {replayPanel} from "./replay.js";
import {CLASSES, NAMES, chip, count, many, name, when} from "./words.js";

const FILTERS = ["status", "channel", "error_class", "code"];

export function deadLetters({root, query, title, again, signal}) {
  title("Dead letters");
  const status = select(
    {id: "status"},
    [
      ["", "failed and unknown"],
      ["failed", "failed"],
      ["unknown", "unknown"],
    ],
    query.status,
  );
  const channel = select({id: "channel"}, [["", "all"], ...Object.entries(NAMES)], query.channel);
  const found = h("div", {class: "found"});
  const filters = () => ({status: status.value, channel: channel.value});
  status.onchange = channel.onchange = () => {
    readdress(`#/dead${api.search(filters())}`);
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
    show(found, groups(await api.get("dead-letters/groups", chosen, signal), chosen));
  };
}

function groups({groups: list, more, looked_at: looked}, filters) {
  if (!list.length) {
    const narrowed = Object.values(filters).some(Boolean);
    return h("p", {class: "nothing"}, narrowed ? "No dead letters match." : "There are no dead letters. Good.");
  }
  const all = list.reduce((sum, one) => sum + one.count, 0);
  return [
    h(
      "p",
      {},
      more ? `The newest ${count(looked)} of more, ` : `${many(all, "dead letter")}, `,
      `by their last error. `,
      h("a", {href: `#/dead/group${api.search(filters)}`}, "Open all of them"),
    ),
    h(
      "ul",
      {class: "groups"},
      list.map(one => summary(one, all)),
    ),
  ];
}

function summary(one, all) {
  const target = `#/dead/group${api.search(Object.fromEntries(FILTERS.map(part => [part, one[part]])))}`;
  const share = h("span", {class: "share", "aria-hidden": "true"}, h("i", {keep: true}));
  share.firstChild.style.width = `${Math.max(2, (one.count / all) * 100)}%`;
  return h(
    "li",
    {key: target, class: `card ${one.status}`},
    h("div", {class: "amount"}, h("b", {}, count(one.count)), share),
    h(
      "div",
      {class: "reason"},
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

export function group({root, query, place, title, again, signal}) {
  const filters = Object.fromEntries(FILTERS.filter(part => query[part]).map(part => [part, query[part]]));
  const heading = headline(filters);
  title([heading, filters.status].filter(Boolean).join(", "));
  const letters = h("div", {class: "found"});
  const listing = new Listing("dead-letters", filters, signal, place);
  const paint = () => show(letters, h("h2", {}, "The letters"), listing.view(paint, "None is left."));
  const replay = replayPanel({filters, signal, again});
  show(
    root,
    h("p", {class: "up"}, h("a", {href: "#/dead"}, "← Dead letters")),
    h("div", {class: "heading"}, h("h1", {}, heading), filters.status && chip(filters.status)),
    filters.error_class &&
      h("p", {class: "hint"}, h("b", {}, `${filters.error_class}. `), CLASSES[filters.error_class] || ""),
    replay.panel,
    letters,
  );
  if (listing.asked) paint();
  return async () => {
    await listing.refresh();
    paint();
    await replay.refresh();
  };
}

function headline({channel, code, status}) {
  return [channel && name(channel), code].filter(Boolean).join(" ") || (status ? `All ${status}` : "All dead letters");
}
