// The page of suppressions: list, look up, add, remove.

import * as api from "./api.js";
import {announce, confirm, expiryField, field, h, render, select, setError, showMessage} from "./dom.js";
import {NAMES, clock, name, utc, when} from "./format.js";
import {replaceAddress} from "./history.js";
import {exchange} from "./suppression-files.js";

const PAGE = 50;
const REASONS = {
  hard_bounce: "the mail bounced",
  mailbox_unknown: "no such mailbox",
  token_dead: "the app is gone",
  complaint: "complained",
  opted_out: "opted out",
  manual: "by an operator",
};
const ENFORCEMENT = {
  on: "on: suppressed recipients are not sent to",
  warn: "warn: everything is sent, and the timeline says what would have been suppressed",
  off: "off: nothing is looked up, and everything is sent",
};

export function suppressions({root, query, entry, title, again, signal}) {
  title("Suppressions");
  const text = h("input", {id: "text", type: "search", autocomplete: "off", spellcheck: "false", value: entry.typed});
  const channel = select({id: "channel"}, [["", "any"], ...Object.entries(NAMES)], query.channel);
  const reason = select({id: "reason"}, [["", "any"], ...Object.keys(REASONS).map(one => [one, one])], query.reason);
  const scope = h("input", {id: "scope", autocomplete: "off", spellcheck: "false", maxlength: "32", value: query.scope});
  const state = select(
    {id: "state"},
    [
      ["in_force", "in force"],
      ["ended", "expired or removed"],
      ["all", "all"],
    ],
    query.state || "in_force",
  );
  const form = h(
    "form",
    {class: "card search", role: "search", novalidate: true},
    field("Recipient", text, "The full address, number or token:…"),
    field("Channel", channel),
    field("Category", scope),
    field("Reason", reason),
    field("State", state),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Search")),
  );
  const told = h("p", {class: "hint"});
  const done = h("p", {class: "done", role: "status", hidden: true});
  const found = h("div", {class: "found"});
  const say = sentence => {
    done.textContent = sentence;
    done.hidden = !sentence;
  };
  const changed = () => {
    createList();
    again();
  };
  root.append(
    h("div", {class: "heading"}, h("h1", {}, "Suppressions")),
    told,
    form,
    done,
    found,
    h("div", {class: "two"}, addForm(say, changed, signal), exchange(changed, signal)),
  );

  let list;
  const createList = () => {
    const filters = {channel: channel.value, reason: reason.value, scope: scope.value.trim(), state: state.value};
    replaceAddress(`#/suppressions${api.queryString(filters)}`);
    entry.typed = text.value.trim(); // personal data: not in the address
    if (filters.state === "all") delete filters.state;
    list = {filters: {...filters, recipient: entry.typed}, items: null, pages: 0, cursor: null};
  };
  const load = async cursor => {
    const current = list;
    const page = await api.get("suppressions", {...current.filters, limit: PAGE, cursor}, signal);
    if (current !== list) return;
    current.items = cursor ? [...current.items, ...page.suppressions] : page.suppressions;
    current.pages = cursor ? current.pages + 1 : 1;
    current.cursor = page.next_cursor;
    render(told, `Suppression is ${ENFORCEMENT[page.enforcement] || page.enforcement}. This is the setting of the operator API; each channel's function has its own (TIDINGS_SUPPRESSION).`);
    paint();
  };
  const more = async event => {
    event.target.disabled = true;
    await load(list.cursor).catch(error => announce(error.message));
    event.target.disabled = false;
  };
  const remove = async one => {
    const removed = await askAndRemove(one);
    if (!removed) return;
    say(`${removed.recipient}: removed by the API key ${removed.removed_by}. ${whatIsSent(removed)} again.`);
    changed();
  };
  const paint = () => render(found, view(list, more, remove));
  form.onsubmit = event => {
    event.preventDefault();
    changed();
  };
  form.onchange = event => {
    if (event.target !== text) changed();
  };
  createList();
  // Once older pages are shown, the first is not loaded anew: rows would be missing in between.
  return () => (list.pages > 1 ? Promise.resolve() : load());
}

// --- the list --------------------------------------------------------------------------------------------------------

function view({items, cursor}, more, remove) {
  if (!items.length) return h("p", {class: "nothing"}, "No suppressions match.");
  return [
    rows(items, remove),
    h(
      "p",
      {class: "below"},
      cursor ? `${items.length} shown. ` : `All ${items.length} shown.`,
      cursor && h("button", {type: "button", onclick: more}, "Show more"),
    ),
  ];
}

/** Cards in a narrow window, so the roles are explicit. */
function rows(items, remove) {
  const head = text => h("th", {scope: "col", role: "columnheader"}, text);
  return h(
    "table",
    {class: "rows suppressions", role: "table", "aria-label": "Suppressions, newest first"},
    h(
      "thead",
      {role: "rowgroup"},
      h("tr", {role: "row"}, ["Recipient", "Channel", "Category", "Reason", "Since", "Until", "Note", "Action"].map(head)),
    ),
    h(
      "tbody",
      {role: "rowgroup"},
      items.map(one => row(one, remove)),
    ),
  );
}

function row(one, remove) {
  const cell = (label, ...children) =>
    h("td", {role: "cell", "data-label": label, class: label.toLowerCase()}, children);
  return h(
    "tr",
    {key: [one.channel, one.scope, one.recipient].join(" "), role: "row"},
    cell("Recipient", h("bdi", {}, one.recipient)),
    cell("Channel", name(one.channel)),
    cell("Category", one.scope || "all"),
    cell("Reason", h("span", {title: REASONS[one.reason]}, one.reason), ` by ${one.source}`),
    cell("Since", when(one.at)),
    cell("Until", until(one)),
    cell(
      "Note",
      one.note && h("bdi", {}, one.note),
      one.note && one.notification_id && " ",
      one.notification_id && h("a", {href: `#/notifications/${one.notification_id}`}, "its failure"),
    ),
    cell(
      "Action",
      one.in_force &&
        h(
          "button",
          {type: "button", onclick: () => remove(one)},
          "Remove",
          h("span", {class: "unseen"}, ` ${one.recipient}, ${name(one.channel)}, ${one.scope || "all"}`),
        ),
    ),
  );
}

function until(one) {
  if (one.removed_at) return ["removed ", when(one.removed_at), ` by key ${one.removed_by}`];
  if (!one.expires_at) return "it is removed";
  return when(one.expires_at, one.in_force ? clock(one.expires_at) : `expired ${clock(one.expires_at)}`);
}

// --- remove and add --------------------------------------------------------------------------------------------------

const whatIsSent = one => `${one.scope ? `Messages of ${one.scope} are` : "Messages are"} sent on ${name(one.channel)}`;

/** The entry as it is then; null if it was declined or failed. */
async function askAndRemove(one) {
  const sure = await confirm(
    {title: "Remove this suppression?", action: "Remove it", otherwise: "Keep it"},
    h("p", {}, h("bdi", {}, one.recipient), `: ${whatIsSent(one)} again. Suppressed notifications wait until someone replays them.`),
    ["opted_out", "complaint"].includes(one.reason) &&
      h("p", {}, h("strong", {}, "The recipient asked not to be sent to."), " Remove it only if the recipient has changed its mind."),
    h("p", {class: "hint"}, "The entry stays in the list, with the API key that removed it."),
  );
  if (!sure) return null;
  const {channel, recipient, scope} = one;
  try {
    return await api.post("suppressions/remove", {channel, recipient, ...(scope && {scope})});
  } catch (error) {
    await showMessage("Request failed", `${error.message} Repeating it is harmless.`);
    return null;
  }
}

function addForm(say, changed, signal) {
  const channel = select({id: "new-channel"}, Object.entries(NAMES));
  const recipient = h("input", {id: "new-recipient", autocomplete: "off", spellcheck: "false"});
  const scope = h("input", {id: "new-scope", autocomplete: "off", spellcheck: "false", maxlength: "32"});
  const reason = select({id: "new-reason"}, Object.keys(REASONS).map(one => [one, one]), "manual");
  const note = h("input", {id: "new-note", autocomplete: "off", maxlength: "255"});
  const expiry = expiryField("new-expires_at");
  const controls = {channel, recipient, scope, reason, note, expires_at: expiry.control};
  const fault = h("p", {class: "wrong", role: "alert", hidden: true});
  const form = h(
    "form",
    {class: "card inputs", novalidate: true, "aria-labelledby": "add"},
    h("h2", {id: "add"}, "Add one"),
    field("On the channel", channel),
    field("Recipient to suppress", recipient),
    field("Only this category", scope, "Empty: everything on the channel"),
    field("Because of", reason),
    field("Note", note),
    field("Expires at", expiry.control, "Empty: as long as its reason lasts"),
    fault,
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Suppress")),
  );
  form.onsubmit = async event => {
    event.preventDefault();
    fault.hidden = true;
    for (const control of Object.values(controls)) setError(control, "");
    if (!expiry.isValid()) return;
    const given = {...Object.fromEntries(Object.entries(controls).map(([part, {value}]) => [part, value.trim()]))};
    given.expires_at = utc(given.expires_at);
    const body = Object.fromEntries(Object.entries(given).filter(([, value]) => value));
    try {
      const added = await api.post("suppressions", body, {signal});
      recipient.value = note.value = "";
      say(`${added.recipient} is suppressed on ${name(added.channel)}${added.scope ? ` for ${added.scope}` : ""}.`);
      changed();
    } catch (error) {
      if (signal.aborted) return;
      const wrong = (error.errors || []).map(one => [controls[one.field], one.detail]).filter(([control]) => control);
      for (const [control, detail] of wrong) setError(control, detail);
      if (wrong.length) wrong[0][0].focus();
      fault.textContent = wrong.length ? "" : error.message;
      fault.hidden = wrong.length > 0;
    }
  };
  return form;
}
