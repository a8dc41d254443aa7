// One notification: its timeline, its content, its last error, and what happens next.

import * as api from "./api.js";
import {content} from "./content.js";
import {actions} from "./decisions.js";
import {announce, h, render} from "./dom.js";
import {timeline, why} from "./timeline.js";
import {
  DOUBT,
  STATUSES,
  clock,
  isDoubtful,
  many,
  name,
  recipient,
  refusal,
  relative,
  sinceNow,
  chipWithDoubt,
  state,
  when,
} from "./format.js";

const WAITS = ["pending", "retrying"];

export function notification({root, argument: id, title, again, signal}) {
  title("Notification");
  const parts = Object.fromEntries(
    ["head", "next", "timeline", "content", "details"].map(part => [part, h("div", {class: part})]),
  );
  root.append(
    parts.head,
    h("div", {class: "two"}, h("div", {}, parts.next, parts.timeline), h("div", {}, parts.content, parts.details)),
  );
  render(parts.head, h("h1", {}, "Notification"), h("p", {class: "hint"}, "Loading …"));
  let known = null;
  return async () => {
    let found;
    try {
      found = await api.get(`notifications/${encodeURIComponent(id)}`, {}, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      for (const part of [parts.next, parts.timeline, parts.content, parts.details]) render(part); // it may have been deleted since
      return render(
        parts.head,
        h("h1", {}, "Notification"),
        h(
          "p",
          {class: "nothing"},
          "No notification with the ID ",
          h("code", {}, id),
          ". It may belong to another tenant, or have been deleted.",
        ),
      );
    }
    const channel = WAITS.includes(found.status) ? await channelNow(found.channel, signal) : {};
    title(`${name(found.channel)}, ${state(found)}`);
    if (known && known !== state(found)) announce(`Status: ${state(found)}.`);
    known = state(found);
    render(parts.head, head(found));
    render(parts.next, next(found, channel, again));
    render(parts.timeline, timeline(found));
    render(parts.content, content(found));
    render(parts.details, details(found));
  };
}

async function channelNow(channel, signal) {
  const overview = await api.get("overview", {minutes: 5}, signal);
  return overview.channels.find(one => one.channel === channel) || {};
}

function head(found) {
  return [
    h(
      "div",
      {class: "heading"},
      h("h1", {}, `${name(found.channel)} to `, h("bdi", {}, recipient(found.recipient))),
      chipWithDoubt(found),
    ),
    h("p", {class: "hint id"}, h("code", {}, found.id)),
  ];
}

// --- what happens next -----------------------------------------------------------------------------------------------

function next(found, channel, again) {
  return h(
    "section",
    {class: "card", "aria-labelledby": "what-next"},
    h("h2", {id: "what-next"}, "What happens next"),
    h("p", {class: "big"}, sentence(found, channel)),
    isDoubtful(found) && h("p", {class: "doubt"}, DOUBT),
    found.last_error && !["sent", "delivered"].includes(found.status) && why(found.last_error),
    actions(found, again),
  );
}

function sentence(found, channel) {
  const due = found.next_attempt_at || found.send_at;
  const attempt = `attempt ${found.attempts + 1} of ${found.max_attempts}`;
  if (found.status === "pending" && due && sinceNow(due) < 0) return ["It is due ", when(due), ` (${clock(due)}).`];
  if (channel.paused) return `Waiting: ${name(found.channel)} is paused. It is sent after the channel is resumed.`;
  if (channel.refusal) return `Waiting: ${refusal(channel.refusal)} It is sent once ${channel.refusal.provider} accepts again.`;
  switch (found.status) {
    case "pending":
      return "It is due, waiting for a worker.";
    case "sending":
      return `A worker is sending it: attempt ${found.attempts} of ${found.max_attempts}. If the worker dies, the sweep reclaims it when its lease expires.`;
    case "retrying":
      if (due && sinceNow(due) < 0) return [`Next: ${attempt}, `, when(due), ` (${clock(due)}).`];
      return `Next: ${attempt}, due now.`;
    case "failed":
      return "Nothing, unless an operator replays it.";
    case "unknown":
      return "Waiting for a decision: it may have arrived. Check with the provider, then decide.";
    case "sent":
      if (found.provider === "operator") return `Nothing: an operator marked it as sent ${relative(found.updated_at)}.`;
      return `Nothing: ${found.provider || "the provider"} accepted it ${relative(found.updated_at)}.`;
    case "undelivered":
      return "Nothing, unless an operator replays it.";
    case "suppressed":
      return ["Nothing, unless it is replayed once the recipient is off the list of ", h("a", {href: "#/suppressions"}, "suppressions"), "."];
    default:
      return `Nothing: ${STATUSES[found.status] || found.status}.`;
  }
}

// --- details --------------------------------------------------------------------------------------------------------

function details(found) {
  const list = [
    ["Priority", found.priority],
    ["On ambiguous", found.on_ambiguous],
    ["Attempts", `${found.attempts} of ${found.max_attempts}`],
    [
      "Generation",
      found.generation > 1
        ? `${found.generation}: replayed ${many(found.generation - 1, "time")}`
        : "1: never replayed",
    ],
    ["Accepted", when(found.created_at, `${clock(found.created_at)}, ${relative(found.created_at)}`)],
    ["Updated", when(found.updated_at, `${clock(found.updated_at)}, ${relative(found.updated_at)}`)],
    ["Category", found.category && `${found.category}${found.critical ? " (critical: sent despite opt-outs)" : ""}`],
    ["Send at", found.send_at && when(found.send_at, clock(found.send_at))],
    [
      "Expires",
      found.expires_at && when(found.expires_at, `${clock(found.expires_at)}, ${relative(found.expires_at)}`),
    ],
    ["Provider", found.provider],
    ["Provider message ID", found.provider_message_id && h("code", {}, found.provider_message_id)],
    ...Object.entries(found.metadata || {}).map(([label, value]) => [`metadata ${label}`, h("bdi", {}, value)]),
  ];
  return h(
    "section",
    {class: "card", "aria-labelledby": "details"},
    h("h2", {id: "details"}, "Details"),
    h(
      "dl",
      {},
      list
        .filter(([, value]) => value)
        .map(([label, value]) => h("div", {key: label}, h("dt", {}, label), h("dd", {}, value))),
    ),
  );
}
