// A list of notifications, newest first. The first page is refreshed; older pages are loaded on demand.

import * as api from "./api.js";
import {announce, h} from "./dom.js";
import {name, recipient, sinceNow, chipWithDoubt, when} from "./format.js";

const PAGE = 50;

export class Listing {
  /** `entry`: the history entry of the page. If it holds the same list already, its rows are shown at once. */
  constructor(path, filters, signal, entry) {
    const which = JSON.stringify([path, filters]);
    const {items = [], cursor} = entry.list?.which === which ? entry.list : {};
    Object.assign(this, {path, filters, signal, entry, which, items, cursor, loaded: items.length > 0});
  }

  /** Load the first page again; older rows stay. */
  async refresh() {
    const {notifications: first, next_cursor: next} = await this.page();
    const last = first.at(-1)?.id;
    const older = next ? this.items.filter(item => item.id < last) : [];
    const meets = this.items.length && this.items[0].id >= last; // else rows may be missing in between
    this.items = [...first, ...(meets ? older : [])];
    if (!(meets && older.length)) this.cursor = next;
    this.loaded = true;
    this.keep();
  }

  keep() {
    const {which, items, cursor} = this;
    this.entry.list = {which, items, cursor};
  }

  async more() {
    const {notifications: found, next_cursor: next} = await this.page(this.cursor);
    this.items.push(...found);
    this.cursor = next;
    this.keep();
    announce(`${found.length} more.`);
  }

  page(cursor) {
    return api.get(this.path, {...this.filters, limit: PAGE, cursor}, this.signal);
  }

  /** `changed` is called when older rows were loaded; `nothing` is shown if there are no rows. */
  view(changed, nothing) {
    if (!this.loaded) return h("p", {class: "hint"}, "Loading …");
    if (!this.items.length) return h("p", {class: "nothing"}, nothing);
    const more = async event => {
      event.target.disabled = true;
      await this.more().catch(error => announce(error.message));
      event.target.disabled = false;
      changed();
    };
    return [
      rows(this.items),
      h(
        "p",
        {class: "below"},
        this.cursor ? `${this.items.length} shown. ` : `All ${this.items.length} shown.`,
        this.cursor && h("button", {type: "button", onclick: more}, "Show more"),
      ),
    ];
  }
}

/** A table that a narrow window shows as cards. The roles are explicit: the card layout would drop the implicit ones. */
export function rows(items) {
  const head = (text, props) => h("th", {scope: "col", role: "columnheader", ...props}, text);
  return h(
    "table",
    {class: "rows", role: "table", "aria-label": "Notifications, newest first"},
    h(
      "thead",
      {role: "rowgroup"},
      h(
        "tr",
        {role: "row"},
        head("Status"),
        head("Channel"),
        head("Recipient"),
        head("Accepted"),
        head("Attempts", {class: "number"}),
        head("Last error, next attempt"),
      ),
    ),
    h("tbody", {role: "rowgroup"}, items.map(row)),
  );
}

function row(item) {
  const cell = (label, ...children) =>
    h("td", {role: "cell", "data-label": label, class: label.toLowerCase().replace(" ", "-")}, children);
  const error = item.last_error;
  return h(
    "tr",
    {key: item.id, role: "row"},
    cell("Status", chipWithDoubt(item)),
    cell("Channel", name(item.channel)),
    cell(
      "Recipient",
      h("a", {href: `#/notifications/${item.id}`, title: item.id}, h("bdi", {}, recipient(item.recipient))),
    ),
    cell("Accepted", when(item.created_at)),
    cell("Attempts", String(item.attempts)),
    cell("Last error", next(item), error && [h("code", {}, error.code), " ", h("bdi", {}, error.message)]),
  );
}

/** The time of the next attempt, if it is in the future. */
function next(item) {
  const due =
    item.status === "retrying"
      ? item.next_attempt_at
      : item.status === "pending" && (item.next_attempt_at || item.send_at);
  return (
    due &&
    sinceNow(due) < 0 &&
    h("b", {}, item.status === "retrying" ? "next attempt " : "due ", when(due), item.last_error && ": ")
  );
}
