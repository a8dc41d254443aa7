// One notification: what it is, how it went, why, and what happens next.

import * as api from "./api.js";
import {content} from "./content.js";
import {actions} from "./decisions.js";
import {h, say, show} from "./dom.js";
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
  standing,
  state,
  when,
} from "./words.js";

const WAITS = ["pending", "retrying"];

export function notification({root, argument: id, title, again, signal}) {
  title("A notification");
  const parts = Object.fromEntries(
    ["head", "next", "timeline", "content", "facts"].map(part => [part, h("div", {class: part})]),
  );
  root.append(
    parts.head,
    h("div", {class: "two"}, h("div", {}, parts.next, parts.timeline), h("div", {}, parts.content, parts.facts)),
  );
  show(parts.head, h("h1", {}, "A notification"), h("p", {class: "hint"}, "Looking …"));
  let known = null;
  return async () => {
    let found;
    try {
      found = await api.get(`notifications/${encodeURIComponent(id)}`, {}, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      for (const part of [parts.next, parts.timeline, parts.content, parts.facts]) show(part); // it may have been there
      return show(
        parts.head,
        h("h1", {}, "A notification"),
        h(
          "p",
          {class: "nothing"},
          "There is none with the id ",
          h("code", {}, id),
          ". It may belong to another tenant, or be deleted.",
        ),
      );
    }
    const channel = WAITS.includes(found.status) ? await channelNow(found.channel, signal) : {};
    title(`${name(found.channel)}, ${state(found)}`);
    if (known && known !== state(found)) say(`It is ${state(found)} now.`);
    known = state(found);
    show(parts.head, head(found));
    show(parts.next, next(found, channel, again));
    show(parts.timeline, timeline(found));
    show(parts.content, content(found));
    show(parts.facts, facts(found));
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
      standing(found),
    ),
    h("p", {class: "hint id"}, h("code", {}, found.id)),
  ];
}

// --- what happens next -----------------------------------------------------------------------------------------------

function next(found, channel, again) {
  return h(
    "section",
    {class: `card status-${found.status}`, "aria-labelledby": "what-next"},
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
  if (channel.paused) return `It waits: ${name(found.channel)} is paused. It goes on when someone resumes the channel.`;
  if (channel.refusal) return `It waits: ${refusal(channel.refusal)} It is sent once ${channel.refusal.provider} accepts again.`;
  switch (found.status) {
    case "pending":
      return "It is due, and waits for a worker.";
    case "sending":
      return `A worker has it: attempt ${found.attempts} of ${found.max_attempts}. If the worker dies, the sweep takes it back when its lease is over.`;
    case "retrying":
      if (due && sinceNow(due) < 0) return [`The next try, ${attempt}, comes `, when(due), ` (${clock(due)}).`];
      return `The next try, ${attempt}, is due.`;
    case "failed":
      return "Nothing, unless someone replays it.";
    case "unknown":
      return "It waits for a decision: it may have arrived. Look at the provider's side, then say what happened.";
    case "sent":
      if (found.provider === "operator") return `Nothing: an operator said that it was sent, ${relative(found.updated_at)}.`;
      return `Nothing: ${found.provider || "the provider"} accepted it ${relative(found.updated_at)}.`;
    default:
      return `Nothing: ${STATUSES[found.status] || found.status}.`;
  }
}

// --- the rest --------------------------------------------------------------------------------------------------------

function facts(found) {
  const list = [
    ["Priority", found.priority],
    ["If ambiguous", found.on_ambiguous],
    ["Attempts", `${found.attempts} of ${found.max_attempts}`],
    [
      "Generation",
      found.generation > 1
        ? `${found.generation}: replayed ${many(found.generation - 1, "time")}`
        : "1: never replayed",
    ],
    ["Accepted", when(found.created_at, `${clock(found.created_at)}, ${relative(found.created_at)}`)],
    ["Changed", when(found.updated_at, `${clock(found.updated_at)}, ${relative(found.updated_at)}`)],
    ["To be sent at", found.send_at && when(found.send_at, clock(found.send_at))],
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
    {class: "card", "aria-labelledby": "facts"},
    h("h2", {id: "facts"}, "Facts"),
    h(
      "dl",
      {},
      list
        .filter(([, value]) => value)
        .map(([label, value]) => h("div", {key: label}, h("dt", {}, label), h("dd", {}, value))),
    ),
  );
}
