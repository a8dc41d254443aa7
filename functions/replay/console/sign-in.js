// The sign-in form: checks an API key, and stores it if it has the scope operate.

import * as api from "./api.js";
import {announce, field, h, setError} from "./dom.js";

const LACKS_SCOPE = "This API key lacks the scope operate, which the console needs.";

/** Show the form in `parent`, with the `reason` for it. Once a key is stored, call `signedIn` with its tenant and scopes. */
export function signInForm(parent, reason, signedIn) {
  document.title = "Sign in · Tidings";
  const input = h("input", {id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true});
  const button = h("button", {class: "primary"}, "Sign in");
  const form = h(
    "form",
    {class: "card sign-in", novalidate: true},
    h("h1", {}, "Sign in"),
    h("p", {class: "hint"}, reason || "Use an API key with the scope operate."),
    field("API key", input, "Kept in this tab only, until you close it."),
    button,
  );
  form.onsubmit = async event => {
    event.preventDefault();
    button.disabled = true;
    const {account, fault} = await check(input.value.trim());
    button.disabled = false;
    if (account) return signedIn(account);
    setError(input, fault);
    announce(fault);
    input.select();
    return input.focus();
  };
  parent.replaceChildren(form);
  input.focus();
}

/** The tenant and scopes of the key, or what is wrong with it. */
async function check(key) {
  if (!key) return {fault: "Enter an API key."};
  if (!/^[\x21-\x7e]+$/.test(key)) return {fault: "Not an API key: a key has no spaces and no accented letters."};
  try {
    const account = await api.whoami(key);
    if (!account.scopes.includes("operate")) return {fault: LACKS_SCOPE};
    api.keepKey(key);
    return {account};
  } catch (error) {
    if (error.status === 401) return {fault: "This API key is not valid."};
    if (error.status === 403) return {fault: LACKS_SCOPE};
    return {fault: `The API key could not be checked: ${error.message}.`};
  }
}
