// The timeline of a notification: each change of its status, and why.

import {h} from "./dom.js";
import {CLASSES, clock, span, chipWithDoubt, when} from "./format.js";

/** Who says so, where that is not the provider's answer to the attempt. */
const SOURCES = {
  receipt: "the provider reported it later (receipt)",
  lookup: "the provider, when it was asked (lookup)",
  operator: "an operator, or the caller",
  sweep: "Tidings itself",
};

const WITHOUT_CALL = ["canceled", "expired", "suppressed"]; // happens without a provider call

export function timeline(found) {
  const events = found.events || [];
  return h(
    "section",
    {class: "card", "aria-labelledby": "timeline"},
    h("h2", {id: "timeline"}, "Timeline"),
    h(
      "ol",
      {class: "events"},
      events.map((event, n) => step(event, events[n - 1], n)),
    ),
  );
}

function step(event, before, n) {
  const later = before ? (Date.parse(event.at) - Date.parse(before.at)) / 1000 : null;
  const again = before && event.generation > before.generation;
  const label =
    n === 0
      ? "accepted"
      : again
        ? `replayed: generation ${event.generation}`
        : event.provider === "operator"
          ? "by an operator"
          : event.attempt && !WITHOUT_CALL.includes(event.status)
            ? `attempt ${event.attempt}`
            : "";
  const by = [event.provider !== "operator" && event.provider, event.provider_message_id].filter(Boolean).join(" ");
  return h(
    "li",
    {key: `${n}`, class: event.status},
    h(
      "div",
      {class: "moment"},
      h("time", {datetime: event.at, title: event.at}, clock(event.at, {fraction: true})),
      later !== null && h("small", {}, `+${span(later)}`),
    ),
    h(
      "div",
      {},
      chipWithDoubt(event),
      " ",
      h("span", {class: "label"}, label),
      SOURCES[event.by] && h("p", {class: "hint"}, `Source: ${SOURCES[event.by]}`),
      by && h("p", {class: "hint id"}, "by ", h("bdi", {}, by)),
      event.provider_response && h("p", {class: "hint id"}, "Provider response: ", h("bdi", {}, event.provider_response)),
      event.note && h("p", {class: "hint"}, h("bdi", {}, event.note)),
      event.error && why(event.error),
      event.next_attempt_at &&
        h("p", {class: "hint"}, "Next attempt at ", when(event.next_attempt_at, clock(event.next_attempt_at))),
    ),
  );
}

/** An error: its code, its message, and the meaning of its class. */
export function why(error) {
  return h(
    "div",
    {class: "why"},
    h("p", {}, h("code", {}, error.code), " ", h("bdi", {}, error.message)),
    h("p", {class: "hint"}, h("b", {}, `${error.error_class}. `), CLASSES[error.error_class] || ""),
  );
}
