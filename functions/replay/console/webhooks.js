// The endpoints of webhooks, and the page of one: its state, its last failures, and its replay.

import * as api from "./api.js";
import {announce, confirm, field, h, render, select, setError, showMessage} from "./dom.js";
import {chip, count, many, utc, when} from "./format.js";

const REASONS = {
  operator: "disabled by an operator",
  gone: "disabled: it answered 410",
  failing: "disabled: it failed for five days",
};
const ONLY = [
  ["missing", "events without a webhook"],
  ["failed", "webhooks that ended without a success"],
  ["all", "every event again"],
];
const MAX_HELD = 1000; // the API counts no further
const DAY = 86_400_000; // milliseconds

const held = one => `${count(one.held)}${one.held >= MAX_HELD ? "+" : ""} held`;

function state(one) {
  const text = one.state === "enabled" ? (one.failing_since ? "enabled, failing" : "enabled") : REASONS[one.reason] || one.state;
  return h("span", {class: `state ${one.state === "enabled" && !one.failing_since ? "running" : "paused"}`}, text);
}

function facts(one) {
  return h(
    "p",
    {class: "hint times"},
    h("span", {}, one.events.length ? many(one.events.length, "type of event", "types of events") : "no event types"),
    one.held > 0 && [" ", h("span", {}, held(one))],
    one.last_success_at && [" ", h("span", {}, "last success ", when(one.last_success_at))],
    one.failing_since && [" ", h("span", {}, "failing since ", when(one.failing_since))],
  );
}

export function webhooks({root, title, signal}) {
  title("Webhooks");
  const found = h("div", {class: "found"});
  root.append(h("div", {class: "heading"}, h("h1", {}, "Webhooks")), found);
  return async () => {
    const {webhooks: list} = await api.get("webhooks", {}, signal);
    render(
      found,
      list.length
        ? h(
            "ul",
            {class: "groups"},
            list.map(one =>
              h(
                "li",
                {key: one.id, class: "card"},
                h("div", {}, state(one)),
                h("div", {}, h("h2", {}, h("a", {href: `#/webhooks/${one.id}`}, h("bdi", {}, one.url))), facts(one)),
              ),
            ),
          )
        : h("p", {class: "nothing"}, "No webhooks. ", h("code", {}, "tidings webhooks create URL"), " creates one."),
    );
  };
}

export function webhook({root, argument: id, title, signal, again}) {
  title("Webhook");
  const top = h("div", {class: "found"});
  const failures = h("div", {class: "found"});
  root.append(h("p", {class: "up"}, h("a", {href: "#/webhooks"}, "← Webhooks")), top, replayForm(id, again), failures);
  return async () => {
    const one = await api.get(`webhooks/${encodeURIComponent(id)}`, {}, signal);
    title(one.url);
    render(
      top,
      h("div", {class: "heading"}, h("h1", {}, h("bdi", {}, one.url)), state(one)),
      facts(one),
      h("div", {class: "buttons"}, toggle(one, again), testButton(one)),
    );
    render(failures, h("h2", {}, "Last failures"), failureTable(one.failures));
  };
}

function toggle(one, again) {
  const off = one.state === "enabled";
  return h("button", {type: "button", onclick: () => (off ? disable(one, again) : act(one, "enable", again))}, off ? "Disable" : "Enable");
}

async function disable(one, again) {
  const sure = await confirm(
    {title: "Disable this webhook?", action: "Disable webhook"},
    h("p", {}, "New webhooks for it are held, and sent when you enable it. Nothing is lost."),
  );
  if (sure) await act(one, "disable", again);
}

async function act(one, what, again) {
  try {
    const changed = await api.post(`webhooks/${one.id}/${what}`);
    announce(`The webhook is ${changed.state}.`);
  } catch (error) {
    await showMessage("Request failed", error.message);
  }
  again();
}

function testButton(one) {
  return h("button", {type: "button", onclick: () => sendTest(one)}, "Send a test event");
}

async function sendTest(one) {
  try {
    const {id} = await api.post(`webhooks/${one.id}/test`);
    location.hash = `#/notifications/${id}`;
  } catch (error) {
    await showMessage("Request failed", error.message);
  }
}

function failureTable(list) {
  if (!list.length) return h("p", {class: "nothing"}, "No webhook of this endpoint has failed.");
  const cells = one => [
    h("a", {href: `#/notifications/${one.id}`}, when(one.at)),
    chip(one.status),
    h("code", {}, one.code),
    h("bdi", {}, one.message),
    count(one.attempts),
  ];
  return h(
    "div",
    {class: "scroll", tabindex: "0", role: "region", "aria-label": "Last failures"},
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["When", "Status", "Code", "Message", "Attempts"].map(text => h("th", {scope: "col"}, text)))),
      h("tbody", {}, list.map(one => h("tr", {key: one.id}, cells(one).map(cell => h("td", {}, cell))))),
    ),
  );
}

// --- replay ----------------------------------------------------------------------------------------------------------

const local = at => new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

function replayForm(id, again) {
  const since = h("input", {id: "since", type: "datetime-local", required: true, value: local(Date.now() - DAY)});
  const only = select({id: "only"}, ONLY, "missing");
  const result = h("p", {role: "status"});
  const run = async dry => {
    setError(since, since.value ? "" : "Enter a time.");
    if (!since.value) return since.focus();
    if (!dry && !(await confirm({title: "Replay these events?", action: "Replay events"}, h("p", {}, "A receiver knows a repeated event by its webhook-id.")))) return null;
    try {
      result.textContent = "…";
      result.textContent = await replay(id, {since: utc(since.value), only: only.value, dry_run: dry});
    } catch (error) {
      result.textContent = error.message;
    }
    return again();
  };
  return h(
    "section",
    {class: "card", "aria-labelledby": "replay-title"},
    h("h2", {id: "replay-title"}, "Replay"),
    h("div", {class: "inline"}, field("Events since", since), field("Which", only)),
    h(
      "div",
      {class: "buttons"},
      h("button", {type: "button", onclick: () => run(true)}, "Count"),
      h("button", {type: "button", class: "primary", onclick: () => run(false)}, "Replay"),
    ),
    result,
  );
}

/** Page by page. */
async function replay(id, body) {
  const total = {written: 0, replayed: 0};
  for (let cursor = 0; cursor !== undefined; ) {
    const page = await api.post(`webhooks/${encodeURIComponent(id)}/replay`, {...body, cursor});
    total.written += page.written;
    total.replayed += page.replayed;
    cursor = page.next_cursor;
  }
  const would = body.dry_run ? "would be " : "";
  return `${count(total.written)} missing ${would}written, ${count(total.replayed)} ${would}sent again.`;
}
