// How statuses, errors, times and numbers are shown.

import {h} from "./dom.js";
import {CHANNELS} from "./registry.js";

export const NAMES = Object.fromEntries(Object.entries(CHANNELS).map(([channel, {label}]) => [channel, label]));
export const name = channel => NAMES[channel] || channel;

export const STATUSES = {
  pending: "stored; waiting for a worker or for its send time",
  sending: "a worker is sending it",
  retrying: "the last attempt failed, or its outcome is not known; the next is scheduled",
  sent: "the provider accepted it",
  delivered: "the provider reported that it arrived",
  undelivered: "the provider reported that it did not arrive",
  failed: "refused permanently, or out of attempts; can be replayed",
  unknown: "the provider may have accepted it; an operator decides",
  canceled: "canceled while waiting",
  expired: "expired while waiting",
  suppressed: "its recipient is suppressed; the provider was not called; can be replayed",
};

export const CLASSES = {
  transient: "The provider did not accept this attempt. A retry may succeed.",
  permanent: "The provider did not accept this attempt. A retry would fail again unless the cause is fixed.",
  ambiguous: "The provider may have accepted this attempt: its answer is missing or unclear. If it is sent again, it may arrive twice.",
  account:
    "The provider refuses our account, not this notification. Fix the account. Until then the notification waits, for a day at most, and no attempt counts.",
};

/** Why all notifications of a channel wait. */
export const refusal = ({provider, since, code, message}) =>
  `${provider} has refused our account since ${clock(since)} (${code}: ${message.replace(/\.$/, "")}).`;

const MARKS = {
  pending: "○",
  sending: "◐",
  retrying: "↻",
  sent: "✓",
  delivered: "✓",
  undelivered: "✕",
  failed: "✕",
  unknown: "?",
  canceled: "–",
  expired: "–",
  suppressed: "⊘",
};

export const DOUBT = "It may have been sent: the provider may have accepted an attempt.";
const DOUBT_LABEL = "may have been sent";

/** Whether the doubt must be shown beside the status; `unknown` already says it. */
export const isDoubtful = ({status, may_have_been_sent: may}) => Boolean(may) && status !== "unknown";

/** The status and its doubt as text, of a notification or of a timeline entry. The command line words it the same. */
export const state = item => (isDoubtful(item) ? `${item.status} (${DOUBT_LABEL})` : item.status);

/** A status as a chip. It has a mark and a word besides its colour, so that it can be read without the colour. */
export function chip(status) {
  return h(
    "span",
    {class: `chip ${status}`, title: STATUSES[status]},
    h("span", {"aria-hidden": "true"}, MARKS[status] || "•"),
    ` ${status}`,
  );
}

/** A chip, with the doubt beside it. */
export const chipWithDoubt = item =>
  h(
    "span",
    {class: "status"},
    chip(item.status),
    isDoubtful(item) && [" ", h("span", {class: "doubt", title: DOUBT}, DOUBT_LABEL)],
  );

/** A datetime-local control's value, in UTC as the API takes it. */
export const utc = value => (value ? new Date(value).toISOString() : "");

const grouped = new Intl.NumberFormat("en");
export const count = number => grouped.format(number);
export const counted = ({count: number, more}) => count(number) + (more ? "+" : "");
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

/** "40 ms", "2.4 s", "3 min", "2 h", "5 d". */
export function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 0.9995) return `${Math.round(size * 1000)} ms`;
  if (size < 9.95) return `${Math.round(size * 10) / 10} s`;
  if (size < 99.5) return `${Math.round(size)} s`;
  if (size < 3570) return `${Math.round(size / 60)} min`;
  if (size < 34200) return `${Math.round(size / 360) / 10} h`;
  if (size < 172800) return `${Math.round(size / 3600)} h`;
  return `${Math.round(size / 86400)} d`;
}

/** "640 bytes", "12 KB", "3.4 MB". */
export function bytes(size) {
  if (size < 1000) return many(size, "byte");
  return size < 999_500 ? `${Math.round(size / 1000)} KB` : `${Math.round(size / 100_000) / 10} MB`;
}

let clockOffset = 0; // milliseconds by which the server's clock is ahead of this machine's

/** Set the clock offset from a Date header, which has whole seconds. A difference within network delay is ignored. */
export function serverTime(date) {
  const difference = Date.parse(date) - Date.now();
  if (!Number.isNaN(difference)) clockOffset = Math.abs(difference) > 2500 ? difference : 0;
}

export const sinceNow = at => (Date.now() + clockOffset - Date.parse(at)) / 1000;

/** "3 s ago", "in 2 min". Whole seconds: it is refreshed every two seconds. */
export function relative(at) {
  const seconds = sinceNow(at);
  if (Math.abs(seconds) < 1) return "now";
  const whole = span(Math.abs(seconds) < 9.95 ? Math.round(seconds) : seconds);
  return seconds < 0 ? `in ${whole}` : `${whole} ago`;
}

const two = number => String(number).padStart(2, "0");

// In the browser's time zone. Put together here, because an overview has hundreds of times, and Intl takes long for each.
const day = date => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`; // 2026-11-25
const sameDay = date => day(date) === day(new Date());

/** "14:03". */
export function minute(at) {
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** "14:03:07", with the day unless it is today. */
export function clock(at, {fraction = false} = {}) {
  const date = new Date(at);
  const parts = fraction ? `.${String(date.getMilliseconds()).padStart(3, "0")}` : "";
  const time = `${minute(date)}:${two(date.getSeconds())}${parts}`;
  return sameDay(date) ? time : `${day(date)} ${time}`;
}

/** The browser's time zone, like "Europe/Berlin (UTC+01:00)". */
export function zone() {
  const {timeZone} = Intl.DateTimeFormat().resolvedOptions();
  const ahead = -new Date().getTimezoneOffset(); // minutes
  const offset = `UTC${ahead < 0 ? "−" : "+"}${two(Math.floor(Math.abs(ahead) / 60))}:${two(Math.abs(ahead) % 60)}`;
  return timeZone === "UTC" ? "UTC" : `${timeZone} (${offset})`;
}

/** A relative time; its title is the exact time in UTC. */
export const when = (at, text = relative(at)) => h("time", {datetime: at, title: at}, text);

export function recipient(shown) {
  if (shown && typeof shown === "object")
    return Object.entries(shown)
      .map(([kind, value]) => `${kind}:${value}`)
      .join(" ");
  return String(shown ?? "");
}
