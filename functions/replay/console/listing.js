// A list of notifications, newest first: its first page is looked at again and again, older ones on demand.

import * as api from "./api.js";
import {h, say} from "./dom.js";
import {name, recipient, sinceNow, standing, when} from "./words.js";

const PAGE = 50;

export class Listing {
  /** `place`: the history's entry that it is on. Where that has the same list already, it goes on from there. */
  constructor(path, filters, signal, place) {
    const which = JSON.stringify([path, filters]);
    const {items = [], cursor} = place.list?.which === which ? place.list : {};
    Object.assign(this, {path, filters, signal, place, which, items, cursor, asked: items.length > 0});
  }

  /** The first page anew; what was loaded below it stays. */
  async refresh() {
    const {notifications: first, next_cursor: next} = await this.page();
    const last = first.at(-1)?.id;
    const older = next ? this.items.filter(item => item.id < last) : [];
    const meets = this.items.length && this.items[0].id >= last; // else there may be some in between
    this.items = [...first, ...(meets ? older : [])];
    if (!(meets && older.length)) this.cursor = next;
    this.asked = true;
    this.keep();
  }

  keep() {
    const {which, items, cursor} = this;
    this.place.list = {which, items, cursor};
  }

  async more() {
    const {notifications: found, next_cursor: next} = await this.page(this.cursor);
    this.items.push(...found);
    this.cursor = next;
    this.keep();
    say(`${found.length} more.`);
  }

  page(cursor) {
    return api.get(this.path, {...this.filters, limit: PAGE, cursor}, this.signal);
  }

  /** `changed` is called when there is more to show. */
  view(changed, nothing) {
    if (!this.asked) return h("p", {class: "hint"}, "Looking …");
    if (!this.items.length) return h("p", {class: "nothing"}, nothing);
    const more = async event => {
      event.target.disabled = true;
      await this.more().catch(error => say(error.message));
      event.target.disabled = false;
      changed();
    };
    return [
      rows(this.items),
      h(
        "p",
        {class: "below"},
        `${this.items.length} shown${this.cursor ? "" : ", that is all"}. `,
        this.cursor && h("button", {type: "button", onclick: more}, "Show more"),
      ),
    ];
  }
}

/** A table that a narrow window shows as cards: its roles are named, for they would get lost with its layout. */
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
        head("Last error, next time"),
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
    cell("Status", standing(item)),
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

/** When it goes on, if it waits for that. */
function next(item) {
  const due =
    item.status === "retrying"
      ? item.next_attempt_at
      : item.status === "pending" && (item.next_attempt_at || item.send_at);
  return (
    due &&
    sinceNow(due) < 0 &&
    h("b", {}, item.status === "retrying" ? "next try " : "due ", when(due), item.last_error && ": ")
  );
}
