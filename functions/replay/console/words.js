// What codes, times and numbers mean, in words.

import {h} from "./dom.js";
import {CHANNELS} from "./registry.js";

export const NAMES = Object.fromEntries(Object.entries(CHANNELS).map(([channel, {label}]) => [channel, label]));
export const name = channel => NAMES[channel] || channel;

export const STATUSES = {
  pending: "stored; waits for its turn or its time",
  sending: "a worker has it",
  retrying: "the last attempt is not known to have succeeded; the next has its time",
  sent: "the provider accepted it",
  delivered: "the provider reported that it arrived",
  undelivered: "the provider reported that it did not arrive",
  failed: "refused for good, or out of attempts; it can be replayed",
  unknown: "the provider may have accepted it; a person decides",
  canceled: "canceled while it waited",
  expired: "its time was over while it waited",
};

export const CLASSES = {
  transient: "This attempt was proven not accepted; trying again may help.",
  permanent: "This attempt was proven not accepted; the same again would be refused again, unless its cause is gone.",
  ambiguous: "It may have been accepted: the answer is missing or says nothing. Sending it again may double it.",
  account:
    "The provider refuses our account, not this notification. Someone has to mend that. Until then it waits, for a day at most, and no attempt counts.",
};

/** Why a whole channel waits. */
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
};

export const DOUBT = "It may have been sent: the provider may have accepted an attempt.";
const BRIEFLY = "may have been sent";

/** Whether a status leaves something to say: `unknown` says it by its name. */
export const isDoubtful = ({status, may_have_been_sent: may}) => Boolean(may) && status !== "unknown";

/** A state as one reads it, of a notification or of an entry of its timeline. `view.state` words it alike. */
export const state = item => (isDoubtful(item) ? `${item.status} (${BRIEFLY})` : item.status);

/** A status as a chip: a mark, a word and a colour, so that none of them is needed alone. */
export function chip(status) {
  return h(
    "span",
    {class: `chip ${status}`, title: STATUSES[status]},
    h("span", {"aria-hidden": "true"}, MARKS[status] || "•"),
    ` ${status}`,
  );
}

/** The same as a chip, with its doubt. */
export const standing = item =>
  h(
    "span",
    {class: "standing"},
    chip(item.status),
    isDoubtful(item) && [" ", h("span", {class: "doubt", title: DOUBT}, BRIEFLY)],
  );

/** What a datetime-local control holds, the reader's own time, as the API takes it. */
export const utc = value => (value ? new Date(value).toISOString() : "");

export const count = number => number.toLocaleString("en");
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

let ahead = 0; // milliseconds by which the server's clock is ahead of this machine's

/** What the server says that it is now, to the second. A difference that may come of the way is none. */
export function serverTime(date) {
  const difference = Date.parse(date) - Date.now();
  if (!Number.isNaN(difference)) ahead = Math.abs(difference) > 2500 ? difference : 0;
}

export const sinceNow = at => (Date.now() + ahead - Date.parse(at)) / 1000;

/** "3 s ago", "in 2 min". Whole seconds: it is looked at every other second. */
export function relative(at) {
  const seconds = sinceNow(at);
  if (Math.abs(seconds) < 1) return "now";
  const whole = span(Math.abs(seconds) < 9.95 ? Math.round(seconds) : seconds);
  return seconds < 0 ? `in ${whole}` : `${whole} ago`;
}

const day = date => date.toLocaleDateString("en-CA"); // 2026-11-25, in the reader's own zone
const sameDay = date => day(date) === day(new Date());

export function clock(at, {fraction = false} = {}) {
  const date = new Date(at);
  const time = date.toLocaleTimeString(
    "en-GB",
    fraction ? {hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3} : {},
  );
  return sameDay(date) ? time : `${day(date)} ${time}`;
}

/** The reader's own, as "Europe/Berlin (UTC+01:00)". */
export function zone() {
  const {timeZone} = Intl.DateTimeFormat().resolvedOptions();
  const ahead = -new Date().getTimezoneOffset(); // minutes
  const digits = number => String(Math.floor(number)).padStart(2, "0");
  const offset = `UTC${ahead < 0 ? "−" : "+"}${digits(Math.abs(ahead) / 60)}:${digits(Math.abs(ahead) % 60)}`;
  return timeZone === "UTC" ? "UTC" : `${timeZone} (${offset})`;
}

export const minute = at => new Date(at).toLocaleTimeString("en-GB", {hour: "2-digit", minute: "2-digit"});

/** A time as one reads it; the exact one in UTC is its title. */
export const when = (at, text = relative(at)) => h("time", {datetime: at, title: at}, text);

export function recipient(shown) {
  if (shown && typeof shown === "object")
    return Object.entries(shown)
      .map(([kind, value]) => `${kind}:${value}`)
      .join(" ");
  return String(shown ?? "");
}
