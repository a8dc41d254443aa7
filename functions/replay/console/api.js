// The API, asked with the key that was typed in.
//
// The key lies in this tab's sessionStorage and nowhere else: no cookie, so no other site can make this browser act; no
// session at the server, so the function stays stateless and keeps no new secret. It ends with the tab or "Sign out".

import {serverTime} from "./words.js";

const KEY = "tidings-key";
const DISMISSED = "tidings-dismissed";
const TIMEOUT = 20_000; // milliseconds
// Relative to the page, so that it is right behind a gateway's prefix as well.
const BASE = new URL("../v1/", document.baseURI);

export const key = () => sessionStorage.getItem(KEY) || "";
export const keepKey = value => sessionStorage.setItem(KEY, value);
export const forgetKey = () => [KEY, DISMISSED].forEach(name => sessionStorage.removeItem(name));

/** How many failed ones this tab was told not to point at. */
export const dismissed = () => Number(sessionStorage.getItem(DISMISSED)) || 0;
export const dismiss = number => sessionStorage.setItem(DISMISSED, String(number));

/** The API said no; `status` is HTTP's. */
export class Refused extends Error {
  constructor(status, problem) {
    const errors = problem.errors || [];
    const sentences = [
      problem.title,
      problem.detail,
      ...errors.map(one => `${one.field || one.pointer}: ${one.detail}`),
    ];
    super(
      sentences
        .filter(Boolean)
        .map(text => text.replace(/\.?$/, "."))
        .join(" ") || `HTTP ${status}.`,
    );
    this.status = status;
    this.errors = errors;
  }
}

/** No answer, or none that comes from the API. */
export class Unreachable extends Error {}

/** Nobody knows what was done: the answer is missing, or the server could not say. */
export const isOpen = error => error instanceof Unreachable || error.status >= 500;

let refused = () => {};
/** What to do when the key is not valid any more. */
export const onKeyRefused = handler => {
  refused = handler;
};

export const get = (path, query = {}, signal) => ask("GET", path + search(query), {signal});
export const post = (path, body = {}, {headers = {}, signal} = {}) => ask("POST", path, {body, headers, signal});

async function ask(method, path, {body, headers = {}, signal, withKey = key()}) {
  const late = AbortSignal.timeout(TIMEOUT);
  let answer, text;
  try {
    answer = await fetch(new URL(path, BASE), {
      method,
      headers: {authorization: `Bearer ${withKey}`, ...(body && {"content-type": "application/json"}), ...headers},
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    text = await answer.text();
    serverTime(answer.headers.get("date"));
  } catch (error) {
    if (signal && signal.aborted) throw error; // the page was left: nobody waits for it
    throw new Unreachable(late.aborted ? "no answer in time" : "no answer");
  }
  const found = parsed(text);
  if (answer.ok && found) return found;
  if (answer.status === 401 && withKey === key()) refused();
  if (!found || answer.status === 502 || answer.status === 504) throw new Unreachable(`HTTP ${answer.status}`);
  throw new Refused(answer.status, found);
}

/** Whose key this is. Raises Refused or Unreachable. */
export const whoHas = withKey => ask("GET", "me", {withKey});

function parsed(text) {
  try {
    const found = JSON.parse(text);
    return found && typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

/** Only what is given. */
export function search(query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
