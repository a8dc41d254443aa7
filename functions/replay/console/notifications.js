// Search.

import {search} from "./api.js";
import {field, h, say, select, show} from "./dom.js";
import {Listing} from "./listing.js";
import {readdress} from "./places.js";
import {NAMES, STATUSES, utc, zone} from "./words.js";

const ID = /^\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s*$/i;

export function notifications({root, query, place, title, again, signal}) {
  title("Notifications");
  const text = h("input", {id: "text", type: "search", autocomplete: "off", spellcheck: "false", value: place.typed});
  const status = select({id: "status"}, [["", "any"], ...Object.keys(STATUSES).map(one => [one, one])], query.status);
  const channel = select({id: "channel"}, [["", "any"], ...Object.entries(NAMES)], query.channel);
  const since = h("input", {id: "since", type: "datetime-local", value: local(query.since)});
  const until = h("input", {id: "until", type: "datetime-local", value: local(query.until)});
  const half = node => {
    node.classList.add("half");
    return node;
  };
  const form = h(
    "form",
    {class: "card search", role: "search", novalidate: true},
    field("Id or recipient", text, "In full; of a push: token:…"),
    half(field("Status", status)),
    half(field("Channel", channel)),
    field("Accepted since", since, `In ${zone()}`),
    field("Accepted before", until),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Search"), h("button", {type: "reset"}, "Clear")),
  );
  const found = h("div", {class: "found"});
  root.append(h("div", {class: "heading"}, h("h1", {}, "Notifications")), form, found);

  let listing,
    toTell = false;
  const ask = () => {
    const filters = {status: status.value, channel: channel.value, since: utc(since.value), until: utc(until.value)};
    readdress(`#/notifications${search(filters)}`);
    // A recipient is personal: it is kept in memory, not in the address, which the browser's history remembers.
    place.typed = text.value.trim();
    listing = new Listing("notifications", {...filters, recipient: place.typed}, signal, place);
  };
  const paint = () => show(found, listing.view(paint, "No notifications match."));
  const anew = () => {
    ask();
    toTell = true;
    again();
  };
  const straight = () => {
    const id = ID.exec(text.value);
    if (id) location.hash = `#/notifications/${id[1].toLowerCase()}`;
    return Boolean(id);
  };
  text.oninput = straight;
  form.onsubmit = event => {
    event.preventDefault();
    if (!straight()) anew();
  };
  form.onchange = event => {
    if (event.target !== text) anew();
  };
  form.onreset = () =>
    setTimeout(() => {
      for (const one of [text, status, channel, since, until]) one.value = "";
      anew();
    });
  ask();
  if (listing.asked) paint();
  return async () => {
    const current = listing;
    await current.refresh();
    if (current !== listing) return;
    paint();
    if (toTell) say(`${current.items.length}${current.cursor ? " or more" : ""} found.`);
    toTell = false;
  };
}

/** As a datetime-local control wants it: the reader's own time, to the minute. */
function local(at) {
  const date = new Date(at || NaN);
  if (Number.isNaN(date.getTime())) return undefined;
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
