// The search page.

import {queryString} from "./api.js";
import {announce, field, h, render, select} from "./dom.js";
import {Listing} from "./listing.js";
import {replaceAddress} from "./history.js";
import {NAMES, STATUSES, utc, zone} from "./format.js";

const ID = /^\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s*$/i;

export function notifications({root, query, entry, title, again, signal}) {
  title("Notifications");
  const text = h("input", {id: "text", type: "search", autocomplete: "off", spellcheck: "false", value: entry.typed});
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
    field("ID or recipient", text, "The full value; for push, token:…"),
    half(field("Status", status)),
    half(field("Channel", channel)),
    field("Accepted since", since, `In ${zone()}`),
    field("Accepted before", until),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Search"), h("button", {type: "reset"}, "Clear")),
  );
  const found = h("div", {class: "found"});
  root.append(h("div", {class: "heading"}, h("h1", {}, "Notifications")), form, found);

  let listing,
    shouldAnnounce = false;
  const createListing = () => {
    const filters = {status: status.value, channel: channel.value, since: utc(since.value), until: utc(until.value)};
    replaceAddress(`#/notifications${queryString(filters)}`);
    // A recipient is personal data: it is kept in memory, not in the address, which the browser's history stores.
    entry.typed = text.value.trim();
    listing = new Listing("notifications", {...filters, recipient: entry.typed}, signal, entry);
  };
  const paint = () => render(found, listing.view(paint, "No notifications match."));
  const searchAgain = () => {
    createListing();
    shouldAnnounce = true;
    again();
  };
  const openById = () => {
    const id = ID.exec(text.value);
    if (id) location.hash = `#/notifications/${id[1].toLowerCase()}`;
    return Boolean(id);
  };
  text.oninput = openById;
  form.onsubmit = event => {
    event.preventDefault();
    if (!openById()) searchAgain();
  };
  form.onchange = event => {
    if (event.target !== text) searchAgain();
  };
  form.onreset = () =>
    setTimeout(() => {
      for (const one of [text, status, channel, since, until]) one.value = "";
      searchAgain();
    });
  createListing();
  if (listing.loaded) paint();
  return async () => {
    const current = listing;
    await current.refresh();
    if (current !== listing) return;
    paint();
    if (shouldAnnounce) announce(`${current.items.length}${current.cursor ? " or more" : ""} found.`);
    shouldAnnounce = false;
  };
}

/** The value of a datetime-local control: browser's time zone, to the minute. */
function local(at) {
  const date = new Date(at || NaN);
  if (Number.isNaN(date.getTime())) return undefined;
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
