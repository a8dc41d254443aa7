// Calls the API with the key of the sign-in form.
//
// The key is kept in this tab's sessionStorage only. There is no cookie, so no other site can make this browser act, and no
// session on the server, so the function stays stateless. The key is gone when the tab closes or on "Sign out".

import {serverTime} from "./format.js";

const KEY = "tidings-key";
const DISMISSED = "tidings-dismissed";
const TIMEOUT = 20_000; // milliseconds
const TIMEOUT_FILE = 300_000; // milliseconds, for a file of 100,000 lines
// Relative to the page, so that it also works behind a gateway's prefix.
const BASE = new URL("../v1/", document.baseURI);

export const key = () => sessionStorage.getItem(KEY) || "";
export const keepKey = value => sessionStorage.setItem(KEY, value);
export const forgetKey = () => [KEY, DISMISSED].forEach(name => sessionStorage.removeItem(name));

/** The number of failed notifications that was dismissed in this tab. */
export const dismissed = () => Number(sessionStorage.getItem(DISMISSED)) || 0;
export const dismiss = number => sessionStorage.setItem(DISMISSED, String(number));

/** The API refused the request; `status` is the HTTP status. */
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

/** No answer, or one that is not from the API. */
export class Unreachable extends Error {}

/** Whether the request may have been carried out all the same: no answer came, or the server failed. */
export const isUncertain = error => error instanceof Unreachable || error.status >= 500;

let refused = () => {};
/** Set the handler that is called when the API answers 401 for the stored key. */
export const onKeyRefused = handler => {
  refused = handler;
};

export const get = (path, query = {}, signal) => request("GET", path + queryString(query), {signal});
export const post = (path, body = {}, {headers = {}, signal} = {}) => request("POST", path, {body, headers, signal});

/** Post a file as it is. It may take long. */
export const postFile = (path, file, type, signal) =>
  request("POST", path, {body: file, headers: {"content-type": type}, signal, within: TIMEOUT_FILE});

/** Lines of JSON as text, and the cursor of the next page, which the last page lacks. */
export async function lines(path, query, signal) {
  const {answer, text} = await ask("GET", path + queryString(query), {signal, within: TIMEOUT_FILE});
  if (!answer.ok) throw refusedBy(answer, text, key());
  return {text, cursor: answer.headers.get("next-cursor")};
}

async function request(method, path, options) {
  const {withKey = key()} = options;
  const {answer, text} = await ask(method, path, {...options, withKey});
  const found = parsed(text);
  if (answer.ok && found) return found;
  throw refusedBy(answer, text, withKey);
}

async function ask(method, path, {body, headers = {}, signal, withKey = key(), within = TIMEOUT}) {
  const timeout = AbortSignal.timeout(within);
  try {
    const answer = await fetch(new URL(path, BASE), {
      method,
      headers: {authorization: `Bearer ${withKey}`, ...(body && {"content-type": "application/json"}), ...headers},
      body: body && !(body instanceof Blob) ? JSON.stringify(body) : body,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const text = await answer.text();
    serverTime(answer.headers.get("date"));
    return {answer, text};
  } catch (error) {
    if (signal && signal.aborted) throw error; // the page was left
    throw new Unreachable(timeout.aborted ? "timed out" : "no answer");
  }
}

/** What to throw for an answer that is not as wanted. */
function refusedBy(answer, text, withKey) {
  const found = parsed(text);
  if (answer.status === 401 && withKey === key()) refused();
  if (!found || answer.status === 502 || answer.status === 504) return new Unreachable(`HTTP ${answer.status}`);
  return new Refused(answer.status, found);
}

/** The tenant and the scopes of a key. Throws Refused or Unreachable. */
export const whoami = withKey => request("GET", "me", {withKey});

function parsed(text) {
  try {
    const found = JSON.parse(text);
    return found && typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

/** "?name=value&…" without the empty values; "" if there are none. */
export function queryString(query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
