// The ledger of two days: loaded when it is opened, because it counts every row of these days.

import * as api from "./api.js";
import {h, render} from "./dom.js";
import {STATUSES, count, name} from "./format.js";

export function books(signal) {
  const table = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "The ledger"});
  const details = h("details", {class: "card books"}, h("summary", {}, "Ledger: notifications accepted today and yesterday, by status"), table);
  details.ontoggle = async () => {
    if (!details.open) return;
    render(table, h("p", {class: "hint"}, "Adding up …"));
    try {
      render(table, ledger(await api.get("ledger", {days: 2}, signal)));
    } catch (error) {
      if (!signal.aborted) render(table, h("p", {class: "wrong"}, error.message));
    }
  };
  return details;
}

function ledger({lines}) {
  if (!lines.length) return h("p", {class: "nothing"}, "Nothing was accepted.");
  const statuses = Object.keys(STATUSES).filter(status => lines.some(line => line.statuses[status]));
  const head = (text, number = true) => h("th", {scope: "col", class: number && "number"}, text);
  return h(
    "table",
    {class: "plain"},
    h("caption", {}, "Days in UTC. Each notification counts once, in the status that it has now, on the day on which it was accepted."),
    h("thead", {}, h("tr", {}, head("Day", false), head("Channel", false), head("accepted"), statuses.map(status => head(status)), head("deleted"))),
    h(
      "tbody",
      {},
      lines.map(line =>
        h(
          "tr",
          {},
          h("th", {scope: "row"}, line.day),
          h("td", {}, name(line.channel)),
          [line.accepted, ...statuses.map(status => line.statuses[status] || 0), line.deleted ?? "?"].map(number =>
            h("td", {class: "number"}, typeof number === "number" ? count(number) : number),
          ),
        ),
      ),
    ),
  );
}
